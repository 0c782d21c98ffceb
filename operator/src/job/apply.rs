//! Carries out the one step of a plan.

use std::net::IpAddr;

use cocoon_api::{
    NanoTon,
    crd::{
        InferenceJob, PaymentChannel,
        job::{Assignment, AssignmentState, MAX_ASSIGNMENTS},
    },
};
use cocoon_core::{
    agents::AgentPod,
    job::{
        plan::{End, Plan, Step},
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

use super::{Jobs, Result, follow, observe::Seen};
use crate::{
    dispatch::{AgentClient, JobKey, meter_and_release},
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
    /// Everything that landed is metered; the channel's sum by then.
    Finished(End, Option<NanoTon>),
    /// A change that the next reconcile sees in the world.
    Acted,
}

impl Applied {
    /// Whether the next step can be planned at once.
    pub(super) fn is_progress(&self) -> bool {
        matches!(
            self,
            Self::Reserved | Self::Assigned(_) | Self::Closed(..) | Self::Finished(..)
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
        Step::Reserve { channel, uid, budget } => reserve(job, valid, (channel, uid), *budget, jobs).await,
        Step::Assign { pod, provider } => assign(job, seen, pod, provider, jobs).await,
        Step::Follow { .. } => follow::follow(job, valid, seen, &plan.step, jobs),
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
            let settles_at = match &valid.billing {
                Billing::Channel { name, .. } => {
                    meter_and_release(&jobs.ctx.client, &JobKey::of(job)?, name, &seen.stored.landing).await?
                }
                Billing::Free => None,
            };
            Ok(Applied::Finished(end.clone(), settles_at))
        }
    }
}

fn channels(job: &InferenceJob, jobs: &Jobs) -> Api<PaymentChannel> {
    Api::namespaced(jobs.ctx.client.clone(), &job.namespace().unwrap_or_default())
}

async fn reserve(
    job: &InferenceJob,
    valid: &ValidatedJob,
    (channel, uid): (&str, &str),
    budget: NanoTon,
    jobs: &Jobs,
) -> Result<Applied> {
    let mut refused: Option<Refusal> = None;
    ledger::update(&channels(job, jobs), channel, |stored, status| {
        // The status may be older than what is known of the contract's holder.
        let is_meant = stored.metadata.uid.as_deref() == Some(uid);
        if !is_meant || jobs.ctx.contracts.is_held_by_another(stored) {
            refused = Some(Refusal::Insufficient {
                available: NanoTon::ZERO,
                wanted: budget,
            });
            return Ok(false);
        }
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

/// Asks the agent who it is. The attempt is recorded with the answer before anything is asked of it.
async fn assign(
    job: &InferenceJob,
    seen: &Seen,
    pod: &AgentPod,
    provider: &str,
    jobs: &Jobs,
) -> Result<Applied> {
    let namespace = job.namespace().unwrap_or_default();
    let client = client(jobs, provider, &namespace, pod, pod.ready_address())?;
    let identity = client.identity().await.map_err(|source| Error::Agent {
        action: "ask the identity",
        agent: pod.name.clone(),
        source: source.into(),
    })?;
    let attempt = next_attempt(job, seen, &client, pod).await?;
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

/// A number that neither the job's status nor the agent knows: one that only the agent knows was delivered before the cluster was
/// restored from a backup, and would be billed a second time. The last that a status can hold ends the search.
async fn next_attempt(job: &InferenceJob, seen: &Seen, client: &AgentClient, pod: &AgentPod) -> Result<u32> {
    let uid = job.uid().unwrap_or_default();
    let recorded = seen
        .status
        .assignments
        .iter()
        .map(|assignment| assignment.attempt);
    let mut attempt = recorded.max().unwrap_or_default() + 1;
    let most = attempt.saturating_add(u32::try_from(MAX_ASSIGNMENTS).unwrap_or(u32::MAX));
    while attempt < most {
        let known = client
            .progress(&uid, attempt)
            .await
            .map_err(|source| Error::Agent {
                action: "ask for an attempt",
                agent: pod.name.clone(),
                source: source.into(),
            })?;
        if known.is_none() {
            break;
        }
        attempt += 1;
    }
    Ok(attempt)
}

pub(super) fn client(
    jobs: &Jobs,
    provider: &str,
    namespace: &str,
    pod: &AgentPod,
    address: Option<IpAddr>,
) -> Result<AgentClient> {
    let missing = || Error::Incomplete {
        object: format!("Pod {namespace}/{}", pod.name),
        field: "status.podIP",
    };
    jobs.ctx
        .agent_client(provider, namespace, address.ok_or_else(missing)?)
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
