//! A job whose results are not what the operator wrote: its agent is stopped at once, and the job ends when it has
//! waited for them.

use std::time::Duration;

use cocoon_api::{
    Bill, NanoTon,
    crd::{FullName, InferenceJob, job::Assignment},
};
use cocoon_core::{
    agents::AgentPod,
    job::{
        landing::Landing,
        plan::{Lost, lost},
    },
    ledger,
};
use kube::{ResourceExt as _, runtime::controller::Action};
use tracing::{debug, info};

use super::{
    apply,
    context::{Jobs, WAITING_INTERVAL},
    observe, status,
};
use crate::{
    dispatch::{JobKey, Unreadable, meter_and_release},
    error::{self, Error, Result},
};

/// While the garbage collector removes the results of an earlier job of the name, which takes it about a second.
const EARLIER_RESULTS_INTERVAL: Duration = Duration::from_millis(500);

/// Does what follows, and says what the job waits for.
pub(super) async fn handle(job: &InferenceJob, why: &Unreadable, jobs: &Jobs) -> Result<Action> {
    let rejection = observe::unusable(why);
    let stored = job.status.clone().unwrap_or_default();
    match lost(job, &stored, jobs.ctx.now().as_second()) {
        Lost::Wait => status::wait(job, &rejection, None, jobs).await?,
        Lost::Stop(active) => {
            stop(job, &active, jobs).await;
            status::wait(job, &rejection, Some(active.attempt), jobs).await?;
        }
        Lost::End(end) => {
            let settles_at = match apply::paying(job) {
                // Nothing is counted of what can still be read; the budget goes back.
                Some(channel) => {
                    let nothing = Landing::default();
                    meter_and_release(&jobs.ctx.client, &JobKey::of(job)?, channel, &nothing).await?
                }
                None => None,
            };
            status::end_without_results(job, &end, (metered(job, jobs)?, settles_at), jobs).await?;
        }
    }
    Ok(Action::requeue(match why {
        Unreadable::Earlier { .. } => EARLIER_RESULTS_INTERVAL,
        Unreadable::Foreign { .. } | Unreadable::Gone { .. } | Unreadable::Damaged { .. } => WAITING_INTERVAL,
    }))
}

/// Asks the agent to stop, whoever follows it. One that does not answer has nothing to give, and is not asked again: it
/// stops when what it was asked for is computed.
async fn stop(job: &InferenceJob, active: &Assignment, jobs: &Jobs) {
    let uid = job.uid().unwrap_or_default();
    jobs.dispatcher.forget(&uid);
    jobs.queue.release(&uid);
    let provider = FullName::parse(&active.provider, &job.namespace().unwrap_or_default());
    let pods = jobs.ctx.watches.pods.in_namespace(&provider.namespace);
    let is_its = |agent: &AgentPod| agent.uid == active.pod_uid;
    let now = jobs.ctx.now();
    let Some(pod) = pods
        .iter()
        .filter_map(|pod| AgentPod::from_pod(pod, now))
        .find(is_its)
    else {
        return;
    };
    let client = match jobs.agent(&provider, &pod, pod.ready_address()) {
        Ok(client) => client,
        Err(error) => {
            debug!(agent = %pod.name, error = error::chain(&error), "agent was not told to stop");
            return;
        }
    };
    match client.cancel(&uid, active.attempt).await {
        Ok(_) => {
            info!(job = %job.name_any(), attempt = active.attempt, "stopped: its results cannot be stored");
        }
        Err(error) => debug!(agent = %pod.name, error = error::chain(&error), "agent was not told to stop"),
    }
}

/// What the ledger counts of the job; none where another object has its budget.
fn metered(job: &InferenceJob, jobs: &Jobs) -> Result<NanoTon> {
    let uid = job.uid().unwrap_or_default();
    let bound = job.status.as_ref().and_then(|status| status.channel_uid.clone());
    let namespace = job.namespace().unwrap_or_default();
    let channel = apply::paying(job)
        .and_then(|channel| jobs.channel(&namespace, channel))
        .filter(|channel| bound.is_none() || channel.uid() == bound);
    let Some(status) = channel.and_then(|channel| channel.status.clone()) else {
        return Ok(NanoTon::ZERO);
    };
    ledger::used(&status, &Bill::job(uid)).map_err(|source| Error::Money {
        object: error::describe(job),
        source,
    })
}
