//! Has an attempt followed: the request as it is asked, and what may land of it.

use std::time::Duration;

use cocoon_api::{
    NanoTon, Subject,
    agent::{AttemptRequest, RequestItem},
    crd::{Agreement, FullName, InferenceJob, job::Assignment},
    receipt::{AgentKey, ChainId, Sha256Digest},
};
use cocoon_core::job::{
    certificate::{self, Uncertified},
    landing::Terms,
    plan::{Following, remaining},
    validate::{Billing, ValidatedJob},
};
use cocoon_ton::Address;
use kube::ResourceExt as _;
use tracing::warn;

use super::{
    context::Jobs,
    observe::{self, Seen},
};
use crate::{
    dispatch::{Attempt, JobKey},
    error::{self, Error, Result, describe},
};

/// What a plan says about the attempt that is to be followed.
pub(super) struct Followed<'a> {
    pub(super) assignment: &'a Assignment,
    pub(super) agreed: &'a Agreement,
    pub(super) budget: Option<NanoTon>,
    pub(super) may_begin: bool,
}

pub(super) fn follow(
    job: &InferenceJob,
    valid: &ValidatedJob,
    seen: &Seen,
    followed: &Followed<'_>,
    jobs: &Jobs,
) -> Result<()> {
    let Followed {
        assignment,
        agreed,
        budget,
        may_begin,
    } = followed;
    let agent = seen
        .agents
        .iter()
        .find(|agent| agent.pod.uid == assignment.pod_uid);
    let (Some(agent), Some(requests)) = (agent, &seen.requests) else {
        return Ok(());
    };
    // Whether it serves or not: one that hangs is found out by asking it, and then removed.
    let address = agent.pod.address;
    if address.is_none() || seen.known.following != Following::No {
        return Ok(());
    }
    let namespace = job.namespace().unwrap_or_default();
    let (paying, whole) = match &valid.billing {
        Billing::Free => (None, None),
        Billing::Channel { name, budget, .. } => (Some(name.clone()), Some(*budget)),
    };
    let model: Sha256Digest = agreed
        .model_sha256
        .parse()
        .map_err(|_| hexadecimal(job, "status.agreed.modelSHA256"))?;
    // A step of payment at a time; all that is left where there are none.
    let most = valid
        .step
        .and_then(|step| usize::try_from(step).ok())
        .unwrap_or(usize::MAX);
    let left: Vec<u32> = remaining(valid, &seen.landing).take(most).collect();
    let is_left = |item: &&RequestItem| left.contains(&item.index);
    jobs.dispatcher.follow(Attempt {
        job: JobKey::of(job)?,
        number: assignment.attempt,
        pod_uid: assignment.pod_uid.clone(),
        agent: jobs.agent(
            &FullName::parse(&assignment.provider, &namespace),
            &agent.pod,
            address,
        )?,
        chain: chain(job, valid, assignment, agreed)?,
        request: AttemptRequest {
            model: valid.model.clone(),
            model_sha256: model,
            endpoint: valid.endpoint,
            channel: agreed.terms.contract_address.clone(),
            prices: agreed.prices,
            budget: *budget,
            sampling: valid.sampling,
            parallelism: valid.parallelism,
            requests: requests.items.iter().filter(is_left).cloned().collect(),
        },
        may_begin: *may_begin,
        terms: Terms::new(
            requests,
            whole,
            (model, agreed.prices),
            certified(assignment, &namespace, jobs),
        ),
        time_left: time_left(valid, seen),
        channel: paying,
        results: observe::results(job, jobs)?,
        stored: seen.stored.clone(),
        client: jobs.ctx.client.clone(),
        metrics: jobs.ctx.metrics.clone(),
    });
    Ok(())
}

/// The agent of an assignment, where the wallet that the provider names signed for its key. What stands beside the key
/// in the status is not taken on trust: nothing of an agent without it is paid for.
fn certified(assignment: &Assignment, namespace: &str, jobs: &Jobs) -> Option<AgentKey> {
    let FullName { namespace: of, name } = FullName::parse(&assignment.provider, namespace);
    let provider = jobs.ctx.watches.providers.get(&of, &name)?;
    let wallet: Address = provider.spec.payout.signer().parse().ok()?;
    match certificate::verify(assignment, namespace, &wallet) {
        Ok(()) => assignment.agent.parse().ok(),
        // Agents that work for free need no wallet.
        Err(Uncertified::Missing) => None,
        Err(refused) => {
            warn!(
                provider = %assignment.provider, namespace, agent = %assignment.pod, error = error::chain(&refused),
                "an agent's certificate is not its provider's: nothing of it is paid for"
            );
            None
        }
    }
}

/// How long the job may still run.
fn time_left(valid: &ValidatedJob, seen: &Seen) -> Option<Duration> {
    let started = seen.status.start_time.as_ref()?.0.as_second();
    let ran = Duration::from_secs(u64::try_from(seen.now - started).unwrap_or_default());
    Some(valid.deadline?.saturating_sub(ran))
}

fn hexadecimal(job: &InferenceJob, field: &'static str) -> Error {
    Error::Incomplete {
        object: describe(job),
        field,
    }
}

/// The chain of the attempt's receipts, with the agent's key as it was recorded.
fn chain(
    job: &InferenceJob,
    valid: &ValidatedJob,
    assignment: &Assignment,
    agreed: &Agreement,
) -> Result<ChainId> {
    Ok(ChainId {
        agent: assignment
            .agent
            .parse()
            .map_err(|_| hexadecimal(job, "status.assignments[].agent"))?,
        subject: Subject::job(&valid.uid, assignment.attempt),
        channel: agreed.terms.contract_address.clone(),
    })
}
