//! Carries out the one step of a plan.

use cocoon_api::{
    Bill, NanoTon,
    crd::{
        Agreement, FullName, InferenceJob, PaymentChannel,
        job::{Assignment, AssignmentState, BillingMode, MAX_ASSIGNMENTS},
    },
};
use cocoon_core::{
    agents::AgentPod,
    job::{
        plan::{End, MAX_JOBS_PER_AGENT, Plan, Step},
        validate::ValidatedJob,
    },
    ledger::{self as channel_ledger, Refusal},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use tracing::info;

use super::{
    context::Jobs,
    follow::{self, Followed},
    observe::{self, Seen},
};
use crate::{
    agents::Unrecognised,
    dispatch::{AgentClient, ClientError, JobKey, meter_and_release},
    error::{Error, Result, describe},
    ledger,
    removal::remove,
};

/// What became of a step.
#[derive(Debug, Clone)]
pub(super) enum Applied {
    /// There was nothing to do.
    Nothing,
    /// The budget is reserved.
    Reserved,
    /// Another job was faster.
    Refused,
    /// Others took the agent's places meanwhile, or it turned out to be none: it is planned again.
    Taken,
    /// The agent serves another model than was agreed; it is asked again later.
    Unfit,
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
            Self::Reserved | Self::Taken | Self::Assigned(_) | Self::Closed(..) | Self::Finished(..)
        )
    }
}

/// `valid` is missing where the job is not accepted; such a plan does not follow anything.
pub(super) async fn apply(
    job: &InferenceJob,
    valid: Option<&ValidatedJob>,
    seen: &mut Seen,
    plan: &Plan,
    jobs: &Jobs,
) -> Result<Applied> {
    let uid = job.uid().unwrap_or_default();
    match &plan.step {
        Step::Wait => Ok(Applied::Nothing),
        Step::Reserve { channel, uid, budget } => reserve(job, (channel, uid), *budget, jobs).await,
        Step::Assign { attempt, pod, agreed } => {
            if !jobs.queue.take(&uid, &pod.uid, MAX_JOBS_PER_AGENT) {
                return Ok(Applied::Taken);
            }
            let assigned = assign(job, *attempt, (pod, agreed), seen, jobs).await;
            if !matches!(assigned, Ok(Applied::Assigned(_))) {
                jobs.queue.release(&uid);
            }
            assigned
        }
        Step::Follow {
            assignment,
            agreed,
            budget,
            may_begin,
        } => {
            let followed = Followed {
                assignment,
                agreed,
                budget: *budget,
                may_begin: *may_begin,
            };
            jobs.queue.hold(&uid, &assignment.pod_uid);
            valid.map_or(Ok(()), |valid| follow::follow(job, valid, seen, &followed, jobs))?;
            Ok(Applied::Following)
        }
        Step::Cancel { attempt } => {
            jobs.dispatcher.cancel(&uid, *attempt);
            Ok(Applied::Acted)
        }
        Step::Close { attempt, state } => {
            jobs.dispatcher.forget(&uid);
            jobs.queue.release(&uid);
            if *state == AssignmentState::Lost {
                jobs.ctx.metrics.attempts_lost.inc();
            }
            Ok(Applied::Closed(*attempt, *state))
        }
        Step::Fence { provider, pod, uid } => fence(job, provider, (pod, uid), jobs).await,
        Step::Release => {
            if let Some(channel) = paying(job) {
                release(job, channel, jobs).await?;
            }
            Ok(Applied::Nothing)
        }
        Step::Finish(end) => {
            jobs.dispatcher.forget(&uid);
            jobs.queue.release(&uid);
            let settles_at = match paying(job) {
                Some(channel) => {
                    meter_and_release(&jobs.ctx.client, &JobKey::of(job)?, channel, &seen.landing).await?
                }
                None => None,
            };
            Ok(Applied::Finished(end.clone(), settles_at))
        }
    }
}

/// Name of the channel that pays.
pub(super) fn paying(job: &InferenceJob) -> Option<&str> {
    let billing = &job.spec.billing;
    let channel = billing.channel_ref.as_ref()?;
    (billing.mode == BillingMode::Channel).then_some(channel.name.as_str())
}

fn channels(job: &InferenceJob, jobs: &Jobs) -> Api<PaymentChannel> {
    Api::namespaced(jobs.ctx.client.clone(), &job.namespace().unwrap_or_default())
}

async fn reserve(
    job: &InferenceJob,
    (channel, channel_uid): (&str, &str),
    budget: NanoTon,
    jobs: &Jobs,
) -> Result<Applied> {
    let (bill, name) = (Bill::job(job.uid().unwrap_or_default()), job.name_any());
    let mut refused: Option<Refusal> = None;
    let written = ledger::update(&channels(job, jobs), channel, |stored, status| {
        // The status may be older than what is known of the contract's holder.
        let is_meant = stored.metadata.uid.as_deref() == Some(channel_uid);
        if !is_meant || jobs.ctx.contracts.is_held_by_another(stored) {
            refused = Some(Refusal::Insufficient {
                available: NanoTon::ZERO,
                wanted: budget,
            });
            return Ok(false);
        }
        let reserved =
            channel_ledger::reserve(status, &bill, &name, budget).map_err(|source| Error::Money {
                object: describe(job),
                source,
            })?;
        refused = reserved.err();
        Ok(refused.is_none())
    })
    .await?;
    if let Some(written) = &written {
        jobs.note_channel(written);
    }
    Ok(if refused.is_none() {
        Applied::Reserved
    } else {
        Applied::Refused
    })
}

async fn release(job: &InferenceJob, channel: &str, jobs: &Jobs) -> Result<()> {
    let bill = Bill::job(job.uid().unwrap_or_default());
    let written = ledger::update(&channels(job, jobs), channel, |_, status| {
        channel_ledger::release(status, &bill);
        Ok(true)
    })
    .await?;
    if let Some(written) = &written {
        jobs.note_channel(written);
    }
    Ok(())
}

/// Sees that results can be stored, and asks the agent who it is. The attempt is recorded with the answer before
/// anything is asked of it.
async fn assign(
    job: &InferenceJob,
    attempt: u32,
    (pod, agreed): (&AgentPod, &Agreement),
    seen: &mut Seen,
    jobs: &Jobs,
) -> Result<Applied> {
    if seen.stored.is_none() {
        let stored = observe::load(&observe::results(job, jobs)?).await?;
        seen.landing = stored.landing.clone();
        seen.stored = Some(stored);
    }
    let namespace = job.namespace().unwrap_or_default();
    let provider = FullName::parse(&agreed.provider, &namespace);
    let client = jobs.agent(&provider, pod, pod.ready_address())?;
    let identity = match client.identity().await {
        Ok(identity) => identity,
        // From now on it is known for what it is, and another is chosen.
        Err(ClientError::Unrecognised {
            source: Unrecognised::Stranger(_),
            ..
        }) => return Ok(Applied::Taken),
        Err(source) => {
            return Err(Error::Agent {
                action: "ask the identity",
                agent: pod.name.clone(),
                source: source.into(),
            });
        }
    };
    if identity.model_sha256.to_string() != agreed.model_sha256 {
        return Ok(Applied::Unfit);
    }
    let attempt = unknown_attempt(job, attempt, &client, pod).await?;
    let certificate = jobs.certificates.of(identity.agent, &provider, &jobs.ctx).await?;
    // Nobody could tell later whose agent was paid for.
    if certificate.is_none() && paying(job).is_some() {
        return Err(Error::Incomplete {
            object: format!("CocoonProvider {provider}"),
            field: "spec.payout.walletSecretRef, whose key certifies its agents",
        });
    }
    info!(job = %job.name_any(), namespace, attempt, agent = %pod.name, "assigned");
    Ok(Applied::Assigned(Assignment {
        attempt,
        provider: agreed.provider.clone(),
        pod: pod.name.clone(),
        pod_uid: pod.uid.clone(),
        agent: identity.agent.to_string(),
        certificate,
        prices: agreed.prices,
        requests: 0,
        completion_tokens: 0,
        nano: NanoTon::ZERO,
        state: AssignmentState::Active,
    }))
}

/// The first number from `planned` on that the agent does not know. One that it knows was delivered before the cluster
/// was restored from a backup, and would be billed a second time. As many as a status can hold end the search.
async fn unknown_attempt(
    job: &InferenceJob,
    planned: u32,
    client: &AgentClient,
    pod: &AgentPod,
) -> Result<u32> {
    let uid = job.uid().unwrap_or_default();
    let mut attempt = planned;
    let most = planned.saturating_add(u32::try_from(MAX_ASSIGNMENTS).unwrap_or(u32::MAX));
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

/// Deletes exactly the pod that was seen, at once: its process must not deliver any more.
async fn fence(job: &InferenceJob, provider: &str, (pod, uid): (&str, &str), jobs: &Jobs) -> Result<Applied> {
    let provider = FullName::parse(provider, &job.namespace().unwrap_or_default());
    let pods: Api<Pod> = Api::namespaced(jobs.ctx.client.clone(), &provider.namespace);
    remove(&pods, pod, uid, &provider.namespace).await?;
    Ok(Applied::Acted)
}
