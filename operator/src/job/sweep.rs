//! Stops attempts whose job is gone and that nobody follows: it went while no operator ran, and had no finalizer.
//!
//! What such an attempt delivered was metered when it was stored, so that nothing is left to bill.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use cocoon_api::{Subject, crd::FullName, names, receipt::ChainId};
use cocoon_core::agents::AgentPod;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::context::Jobs;
use crate::{
    dispatch::{AgentClient, ClientError},
    error::{self, Result},
};

/// Between two looks at all agents: what an orphaned attempt computes meanwhile is nobody's, and each look asks every
/// agent.
const INTERVAL: Duration = Duration::from_mins(1);

/// An attempt that was told to stop: UID of the job, number of the attempt.
type Told = BTreeSet<(String, u32)>;

/// One agent that serves.
struct Serving {
    provider: FullName,
    pod: AgentPod,
}

/// Looks at all agents again and again, until `stop`.
pub(super) async fn run(jobs: Arc<Jobs>, stop: CancellationToken) {
    let sweeps = async {
        let mut told = Told::new();
        loop {
            sleep(INTERVAL).await;
            match sweep(&jobs, &told).await {
                Ok(still) => told = still,
                Err(error) => debug!(
                    error = error::chain(&error),
                    "agents cannot be looked at for orphaned attempts"
                ),
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = sweeps => {}
    }
}

/// Answers which attempts of jobs that are gone are on agents; `told` are not told again.
async fn sweep(jobs: &Jobs, told: &Told) -> Result<Told> {
    let now = jobs.ctx.now();
    let serving = |pod: &Arc<Pod>| {
        let agent = AgentPod::from_pod(pod, now)?;
        agent.ready_address()?;
        Some(Serving {
            provider: FullName::new(pod.namespace()?, pod.labels().get(names::PROVIDER_LABEL)?),
            pod: agent,
        })
    };
    let pods = jobs.ctx.watches.pods.state();
    let mut still = Told::new();
    for agent in pods.iter().filter_map(serving) {
        let Serving { provider, pod } = agent;
        let client = jobs.agent(&provider, &pod, pod.ready_address())?;
        match stop_orphans(jobs, &client, told).await {
            Ok(orphans) => still.extend(orphans),
            Err(error) => debug!(agent = %pod.name, error = error::chain(&error), "agent was not looked at"),
        }
    }
    Ok(still)
}

async fn stop_orphans(jobs: &Jobs, client: &AgentClient, told: &Told) -> Result<Told, ClientError> {
    let known = client.attempts().await?;
    // Read after the agent was asked: a job that was dispatched before is in memory by now.
    let there: BTreeSet<String> = jobs
        .ctx
        .watches
        .jobs
        .state()
        .iter()
        .filter_map(|job| job.uid())
        .collect();
    let orphans = orphans(&known, &there);
    for (job, attempt) in orphans.difference(told) {
        client.cancel(job, *attempt).await?;
        info!(job_uid = %job, attempt, "an attempt whose job is gone was stopped");
    }
    Ok(orphans)
}

/// Attempts of jobs that are not there. A session is none of a job's.
fn orphans(known: &[ChainId], there: &BTreeSet<String>) -> Told {
    let attempts = known.iter().filter_map(|chain| match &chain.subject {
        Subject::Job { uid, attempt } => Some((uid, *attempt)),
        Subject::Session { .. } => None,
    });
    attempts
        .filter(|(uid, _)| !there.contains(*uid))
        .map(|(uid, attempt)| (uid.clone(), attempt))
        .collect()
}

#[cfg(test)]
mod tests {
    use cocoon_api::receipt::AgentKey;

    use super::*;

    #[test]
    fn attempts_of_jobs_that_are_gone_are_found_and_no_others() {
        let chain = |subject| ChainId {
            agent: AgentKey([1; 32]),
            subject,
            channel: None,
        };
        let attempt = |job| chain(Subject::job(job, 2));
        let there = BTreeSet::from(["there".to_owned()]);
        let found = orphans(
            &[
                attempt("there"),
                attempt("gone"),
                chain(Subject::session("gone as well")),
            ],
            &there,
        );
        assert_eq!(found, Told::from([("gone".to_owned(), 2)]));
    }
}
