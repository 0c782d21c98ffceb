//! Carries out the one step of a plan.

use cocoon_api::{
    NanoTon,
    agent::AttemptRequest,
    crd::{
        InferenceJob, PaymentChannel,
        job::{Assignment, AssignmentState},
    },
    receipt::{AgentKey, ChainId, Sha256Digest},
};
use cocoon_core::{
    agents::AgentPod,
    job::{
        plan::{End, Plan, Step, remaining},
        validate::{Billing, ValidatedJob},
    },
    ledger::{self as channel_ledger, Refusal},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Preconditions},
};
use tracing::info;

use super::{
    Jobs, Result,
    observe::{self, Seen},
};
use crate::{
    dispatch::{AgentClient, Attempt, JobKey},
    error::{Error, KubeContext as _, describe},
    ledger,
};

/// What became of a step.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Applied {
    /// There was nothing to do.
    Nothing,
    /// The budget is reserved.
    Reserved,
    /// Another job was faster.
    Refused,
    /// An attempt is to be recorded.
    Assigned(Assignment),
    /// The attempt is followed.
    Following,
    /// The attempt is to be marked.
    Closed(u32, AssignmentState),
    /// Everything that landed is metered.
    Finished(End),
    /// A change that the next reconcile sees in the world.
    Acted,
}

impl Applied {
    /// Whether the next step can be planned at once.
    pub(super) fn is_progress(&self) -> bool {
        matches!(
            self,
            Self::Reserved | Self::Assigned(_) | Self::Closed(..) | Self::Finished(_)
        )
    }
}

pub(super) async fn apply(
    job: &InferenceJob,
    valid: &ValidatedJob,
    seen: &Seen,
    plan: &Plan,
    jobs: &Jobs,
) -> Result<Applied> {
    match &plan.step {
        Step::Wait => Ok(Applied::Nothing),
        Step::Reserve { channel, budget } => reserve(job, valid, channel, *budget, jobs).await,
        Step::Assign { pod, provider } => assign(job, seen, pod, provider, jobs).await,
        Step::Follow { .. } => follow(job, valid, seen, &plan.step, jobs),
        Step::Cancel { attempt } => {
            jobs.dispatcher.cancel(&valid.uid, *attempt);
            Ok(Applied::Acted)
        }
        Step::Close { attempt, state } => {
            jobs.dispatcher.forget(&valid.uid);
            if *state == AssignmentState::Lost {
                jobs.ctx.metrics.attempts_lost.inc();
            }
            Ok(Applied::Closed(*attempt, *state))
        }
        Step::Fence { pod, uid } => fence(job, pod, uid, jobs).await,
        Step::Release => {
            if let Billing::Channel { name, .. } = &valid.billing {
                release(job, name, jobs).await?;
            }
            Ok(Applied::Nothing)
        }
        Step::Finish(end) => {
            jobs.dispatcher.forget(&valid.uid);
            if let Billing::Channel { name, .. } = &valid.billing {
                meter_and_release(job, name, seen, jobs).await?;
            }
            Ok(Applied::Finished(end.clone()))
        }
    }
}

fn channels(job: &InferenceJob, jobs: &Jobs) -> Api<PaymentChannel> {
    Api::namespaced(jobs.ctx.client.clone(), &job.namespace().unwrap_or_default())
}

async fn reserve(
    job: &InferenceJob,
    valid: &ValidatedJob,
    channel: &str,
    budget: NanoTon,
    jobs: &Jobs,
) -> Result<Applied> {
    let mut refused: Option<Refusal> = None;
    ledger::update(&channels(job, jobs), channel, |_, status| {
        let reserved =
            channel_ledger::reserve(status, &valid.uid, &valid.name, budget).map_err(|source| {
                Error::Money {
                    object: describe(job),
                    source,
                }
            })?;
        refused = reserved.err();
        Ok(refused.is_none())
    })
    .await?;
    Ok(if refused.is_none() {
        Applied::Reserved
    } else {
        Applied::Refused
    })
}

async fn release(job: &InferenceJob, channel: &str, jobs: &Jobs) -> Result<()> {
    let uid = job.uid().unwrap_or_default();
    ledger::update(&channels(job, jobs), channel, |_, status| {
        channel_ledger::release(status, &uid);
        Ok(true)
    })
    .await?;
    Ok(())
}

/// Everything that landed is in the channel's counters, and the rest of the budget is free again.
async fn meter_and_release(job: &InferenceJob, channel: &str, seen: &Seen, jobs: &Jobs) -> Result<()> {
    let money = |source| Error::Money {
        object: describe(job),
        source,
    };
    let counters = seen.stored.landing.counters(&job.name_any()).map_err(money)?;
    let uid = job.uid().unwrap_or_default();
    ledger::update(&channels(job, jobs), channel, |_, status| {
        for counter in counters.clone() {
            channel_ledger::merge(status, counter).map_err(|source| Error::Ledger {
                object: describe(job),
                source,
            })?;
        }
        channel_ledger::release(status, &uid);
        Ok(true)
    })
    .await?;
    Ok(())
}

/// Asks the agent who it is. The attempt is recorded with the answer before anything is asked of it.
async fn assign(
    job: &InferenceJob,
    seen: &Seen,
    pod: &AgentPod,
    provider: &str,
    jobs: &Jobs,
) -> Result<Applied> {
    let namespace = job.namespace().unwrap_or_default();
    let client = client(jobs, provider, &namespace, pod)?;
    let identity = client.identity().await.map_err(|source| Error::Agent {
        action: "ask the identity",
        agent: pod.name.clone(),
        source: source.into(),
    })?;
    let attempt = seen
        .status
        .assignments
        .iter()
        .map(|assignment| assignment.attempt)
        .max()
        .unwrap_or_default()
        + 1;
    info!(job = %job.name_any(), namespace, attempt, agent = %pod.name, "assigned");
    Ok(Applied::Assigned(Assignment {
        attempt,
        provider: provider.to_owned(),
        pod: pod.name.clone(),
        pod_uid: pod.uid.clone(),
        agent: identity.agent.to_string(),
        requests: 0,
        completion_tokens: 0,
        nano: NanoTon::ZERO,
        state: AssignmentState::Active,
    }))
}

fn client(jobs: &Jobs, provider: &str, namespace: &str, pod: &AgentPod) -> Result<AgentClient> {
    let missing = || Error::Incomplete {
        object: format!("Pod {namespace}/{}", pod.name),
        field: "status.podIP",
    };
    let address = pod.ready_address().ok_or_else(missing)?;
    jobs.ctx.agent_client(provider, namespace, address)
}

fn follow(
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
    } = step
    else {
        return Ok(Applied::Nothing);
    };
    let namespace = job.namespace().unwrap_or_default();
    let Some(agent) = seen
        .agents
        .iter()
        .find(|agent| agent.pod.uid == assignment.pod_uid)
    else {
        return Ok(Applied::Nothing);
    };
    if agent.pod.ready_address().is_none() || seen.known.following != cocoon_core::job::plan::Following::No {
        return Ok(Applied::Following);
    }
    let hexadecimal = |field| Error::Incomplete {
        object: describe(job),
        field,
    };
    let agent_key: AgentKey = assignment
        .agent
        .parse()
        .map_err(|_| hexadecimal("status.assignments[].agent"))?;
    let model_sha256: Sha256Digest = model_sha256
        .parse()
        .map_err(|_| hexadecimal("the model's sha256"))?;
    let left: Vec<u32> = remaining(valid, &seen.stored.landing).collect();
    let requests = valid
        .requests
        .items
        .iter()
        .filter(|item| left.contains(&item.index))
        .cloned()
        .collect();
    jobs.dispatcher.follow(Attempt {
        job: JobKey {
            namespace: namespace.clone(),
            name: valid.name.clone(),
            uid: valid.uid.clone(),
        },
        number: assignment.attempt,
        agent: client(jobs, &assignment.provider, &namespace, &agent.pod)?,
        chain: ChainId {
            agent: agent_key,
            job: valid.uid.clone(),
            attempt: assignment.attempt,
            channel: channel.clone(),
        },
        request: AttemptRequest {
            model: valid.model.clone(),
            model_sha256,
            endpoint: valid.endpoint,
            channel: channel.clone(),
            prices: *prices,
            budget: *budget,
            sampling: valid.sampling,
            parallelism: valid.parallelism,
            requests,
        },
        custom_ids: valid.requests.custom_ids.clone(),
        channel: match &valid.billing {
            Billing::Free => None,
            Billing::Channel { name, .. } => Some(name.clone()),
        },
        secret: observe::results(job, jobs)?,
        client: jobs.ctx.client.clone(),
        metrics: jobs.ctx.metrics.clone(),
    });
    Ok(Applied::Following)
}

/// Deletes exactly the pod that was seen, at once: its process must not deliver any more.
async fn fence(job: &InferenceJob, pod: &str, uid: &str, jobs: &Jobs) -> Result<Applied> {
    let pods: Api<Pod> = Api::namespaced(jobs.ctx.client.clone(), &job.namespace().unwrap_or_default());
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match pods.delete(pod, &params).await {
        Ok(_) => {}
        Err(kube::Error::Api(response)) if response.code == 404 || response.code == 409 => {}
        Err(error) => return Err(error).attempt("delete agent", pod),
    }
    Ok(Applied::Acted)
}
