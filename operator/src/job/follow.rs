//! Has an attempt followed: the request as it is asked, and what may land of it.

use cocoon_api::{
    NanoTon,
    agent::AttemptRequest,
    crd::{InferenceJob, job::Assignment},
    receipt::{ChainId, Sha256Digest},
    units::Prices,
};
use cocoon_core::job::{
    landing::Terms,
    plan::{Following, Step, remaining},
    validate::{Billing, ValidatedJob},
};
use kube::ResourceExt as _;

use super::{
    Jobs, Result,
    apply::{Applied, client},
    observe::{self, Seen},
};
use crate::{
    dispatch::{Attempt, JobKey},
    error::{Error, describe},
};

pub(super) fn follow(
    job: &InferenceJob,
    valid: &ValidatedJob,
    seen: &Seen,
    step: &Step,
    jobs: &Jobs,
) -> Result<Applied> {
    let Step::Follow {
        assignment,
        model_sha256,
        prices,
        budget,
        channel,
        may_begin,
    } = step
    else {
        return Ok(Applied::Nothing);
    };
    let Some(agent) = seen
        .agents
        .iter()
        .find(|agent| agent.pod.uid == assignment.pod_uid)
    else {
        return Ok(Applied::Nothing);
    };
    // Whether it serves or not: one that hangs is found out by asking it, and then removed.
    let address = agent.pod.address;
    if address.is_none() || seen.known.following != Following::No {
        return Ok(Applied::Following);
    }
    let namespace = job.namespace().unwrap_or_default();
    let (paying, whole) = match &valid.billing {
        Billing::Free => (None, None),
        Billing::Channel { name, budget } => (Some(name.clone()), Some(*budget)),
    };
    jobs.dispatcher.follow(Attempt {
        job: JobKey::of(job)?,
        number: assignment.attempt,
        agent: client(jobs, &assignment.provider, &namespace, &agent.pod, address)?,
        chain: chain(job, valid, assignment, channel.clone())?,
        request: request(job, valid, seen, model_sha256, *prices, *budget, channel.clone())?,
        may_begin: *may_begin,
        terms: Terms {
            custom_ids: valid.requests.custom_ids.clone(),
            budget: whole,
        },
        channel: paying,
        secret: observe::results(job, jobs)?,
        client: jobs.ctx.client.clone(),
        metrics: jobs.ctx.metrics.clone(),
    });
    Ok(Applied::Following)
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
    channel: Option<String>,
) -> Result<ChainId> {
    Ok(ChainId {
        agent: assignment
            .agent
            .parse()
            .map_err(|_| hexadecimal(job, "status.assignments[].agent"))?,
        job: valid.uid.clone(),
        attempt: assignment.attempt,
        channel,
    })
}

/// What is asked of the agent: the requests that have not ended.
fn request(
    job: &InferenceJob,
    valid: &ValidatedJob,
    seen: &Seen,
    model_sha256: &str,
    prices: Prices,
    budget: Option<NanoTon>,
    channel: Option<String>,
) -> Result<AttemptRequest> {
    let model_sha256: Sha256Digest = model_sha256
        .parse()
        .map_err(|_| hexadecimal(job, "the model's sha256"))?;
    let left: Vec<u32> = remaining(valid, &seen.stored.landing).collect();
    let requests = valid
        .requests
        .items
        .iter()
        .filter(|item| left.contains(&item.index))
        .cloned()
        .collect();
    Ok(AttemptRequest {
        model: valid.model.clone(),
        model_sha256,
        endpoint: valid.endpoint,
        channel,
        prices,
        budget,
        sampling: valid.sampling,
        parallelism: valid.parallelism,
        requests,
    })
}
