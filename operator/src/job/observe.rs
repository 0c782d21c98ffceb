//! Reads everything that a job's plan depends on.

use std::collections::BTreeMap;

use cocoon_api::{
    conditions::{Accepted, Reason as _},
    crd::{
        CocoonProvider, InferenceJob, InferenceJobStatus, PaymentChannel,
        job::{AssignmentState, BillingMode},
    },
    names,
};
use cocoon_core::{
    agents::AgentPod,
    job::{
        input::{InputSummary, Requests},
        plan::{Agent, Channel, Following, Offer, World},
        validate::{InputFault, Rejection, ValidatedJob, accepted_input},
    },
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::ListParams};

use super::{context::Jobs, input};
use crate::{
    channel::{looks, validate::unready_wallet},
    dispatch::{Known, ResultsSecret, Stored, Unreadable},
    error::{self, Error, KubeContext as _, Result, describe},
    pages,
};

/// What was read for one job.
pub(super) struct Seen {
    pub(super) now: i64,
    /// What is known of the input.
    pub(super) input: Result<InputSummary, InputFault>,
    /// The requests themselves, where an attempt is to be handed over.
    pub(super) requests: Option<Requests>,
    pub(super) status: InferenceJobStatus,
    pub(super) offers: Vec<Offer>,
    pub(super) channel: Option<Channel>,
    pub(super) agents: Vec<Agent>,
    pub(super) stored: Stored,
    pub(super) known: Known,
    pub(super) has_room: bool,
    pub(super) queue_position: u32,
}

impl Seen {
    pub(super) fn world<'a>(&'a self, valid: &'a ValidatedJob) -> World<'a> {
        World {
            now: self.now,
            job: valid,
            status: &self.status,
            offers: &self.offers,
            channel: self.channel.as_ref(),
            agents: &self.agents,
            landing: &self.stored.landing,
            following: self.known.following,
            has_room: self.has_room,
            queue_position: self.queue_position,
        }
    }
}

pub(super) async fn observe(job: &InferenceJob, jobs: &Jobs) -> Result<Seen> {
    let client = || jobs.ctx.client.clone();
    let namespace = job.namespace().unwrap_or_default();
    let providers = Api::<CocoonProvider>::namespaced(client(), &namespace);
    let offering = |provider| Some(offer(&provider, &job.spec.model));
    let mut offers = pages::collect(&providers, &ListParams::default(), offering)
        .await
        .attempt("list providers in", &namespace)?;
    offers.sort_by(|a, b| a.provider.cmp(&b.provider));
    let channel = channel(job, jobs).await?;
    let status = job.status.clone().unwrap_or_default();
    let provider = status
        .active()
        .map(|assignment| assignment.provider.clone())
        .or_else(|| channel.as_ref().map(|channel| channel.provider.clone()))
        .or_else(|| status.provider.clone());
    let agents = agents(job, jobs, provider.as_deref()).await?;
    let stored = load(&results(job, jobs)?).await?;
    let known = match status.active() {
        Some(active) => jobs
            .dispatcher
            .known(&job.uid().unwrap_or_default(), active.attempt),
        None => Known {
            following: Following::No,
            progress: None,
        },
    };
    let is_handed_over = status.active().is_some() && known.following == Following::No;
    let (input, requests) = requests(job, &status, is_handed_over, jobs).await?;
    Ok(Seen {
        now: jobs.ctx.now().as_second(),
        input,
        requests,
        has_room: jobs.dispatcher.has_room(),
        offers,
        channel,
        agents,
        stored,
        known,
        queue_position: queue_position(job, jobs),
        status,
    })
}

/// What is known of a job's requests, and the requests where an attempt needs them. Between acceptance and dispatch nothing
/// is read: the status has their number and digest.
async fn requests(
    job: &InferenceJob,
    status: &InferenceJobStatus,
    is_handed_over: bool,
    jobs: &Jobs,
) -> Result<(Result<InputSummary, InputFault>, Option<Requests>)> {
    if let (Some(accepted), false) = (accepted_input(status), is_handed_over) {
        return Ok((Ok(accepted), None));
    }
    Ok(match input::read(job, jobs).await? {
        Ok(requests) => (Ok(requests.summary()), is_handed_over.then_some(requests)),
        Err(fault) => (Err(fault), None),
    })
}

/// The Secret of the job's results.
pub(super) fn results(job: &InferenceJob, jobs: &Jobs) -> Result<ResultsSecret> {
    use kube::Resource as _;
    let namespace = job.namespace().unwrap_or_default();
    let owner = job.controller_owner_ref(&()).ok_or_else(|| Error::Incomplete {
        object: describe(job),
        field: "metadata.uid",
    })?;
    Ok(ResultsSecret::new(
        Api::namespaced(jobs.ctx.client.clone(), &namespace),
        job.name_any(),
        owner,
    ))
}

pub(super) async fn load(secret: &ResultsSecret) -> Result<Stored> {
    secret.load().await?.map_err(|source| Error::Results { source })
}

/// Results that cannot be stored keep a job from running, until somebody puts their Secret in order.
pub(super) fn unusable(why: &Unreadable) -> Rejection {
    let reason = match why {
        Unreadable::Earlier { .. } => Accepted::EarlierResults,
        Unreadable::Foreign { .. } | Unreadable::Damaged { .. } => Accepted::InvalidInput,
    };
    Rejection {
        accepted: reason.condition(format!("results: {}", error::chain(why))),
        is_final: false,
    }
}

async fn channel(job: &InferenceJob, jobs: &Jobs) -> Result<Option<Channel>> {
    let billing = &job.spec.billing;
    let Some(reference) = billing
        .channel_ref
        .as_ref()
        .filter(|_| billing.mode == BillingMode::Channel)
    else {
        return Ok(None);
    };
    let namespace = job.namespace().unwrap_or_default();
    if !names::is_object_name(&reference.name) {
        return Ok(None);
    }
    let found = Api::<PaymentChannel>::namespaced(jobs.ctx.client.clone(), &namespace)
        .get_opt(&reference.name)
        .await
        .attempt("read channel", &reference.name)?;
    let Some(channel) = found else {
        return Ok(None);
    };
    let uid = channel.uid().unwrap_or_default();
    let looks::Known { seen_at, chain_now } = jobs.ctx.looks.known(&uid);
    let own = jobs.ctx.now().as_second();
    Ok(Some(Channel {
        uid,
        seen_at,
        now: chain_now.map_or(own, |chain| chain.max(own)),
        provider: channel.spec.provider.name,
        address: channel.spec.contract_address,
        deleting: channel.metadata.deletion_timestamp.is_some(),
        status: channel.status.unwrap_or_default(),
    }))
}

fn offer(provider: &CocoonProvider, model: &str) -> Offer {
    let offered = provider.spec.models.iter().find(|offered| offered.name == model);
    Offer {
        provider: provider.name_any(),
        closed: provider.spec.paused || provider.metadata.deletion_timestamp.is_some(),
        model_sha256: offered.map(|offered| offered.source.sha256.clone()),
        prices: offered.map(|offered| offered.price).unwrap_or_default(),
        allow_free: offered.is_some_and(|offered| offered.allow_free),
        unpayable: unready_wallet(provider),
    }
}

async fn agents(job: &InferenceJob, jobs: &Jobs, provider: Option<&str>) -> Result<Vec<Agent>> {
    let Some(provider) = provider else {
        return Ok(Vec::new());
    };
    let namespace = job.namespace().unwrap_or_default();
    let selector = format!(
        "{}={},{}={provider}",
        names::COMPONENT_LABEL,
        names::AGENT_COMPONENT,
        names::PROVIDER_LABEL
    );
    let pods = Api::<Pod>::namespaced(jobs.ctx.client.clone(), &namespace);
    let busy = active_by_pod(jobs);
    let now = jobs.ctx.now();
    let agent = |pod: Pod| {
        let pod = AgentPod::from_pod(&pod, now).filter(|pod| pod.model == job.spec.model)?;
        Some(Agent {
            active: busy.get(&pod.uid).copied().unwrap_or_default(),
            pod,
        })
    };
    let mut agents = pages::collect(&pods, &ListParams::default().labels(&selector), agent)
        .await
        .attempt("list agents of provider", provider)?;
    agents.sort_by(|a, b| a.pod.name.cmp(&b.pod.name));
    Ok(agents)
}

/// Active attempts of all jobs, by the UID of the agent's pod.
fn active_by_pod(jobs: &Jobs) -> BTreeMap<String, usize> {
    let mut active = BTreeMap::new();
    for job in jobs.store.state() {
        let assignments = job.status.iter().flat_map(|status| &status.assignments);
        for assignment in assignments.filter(|assignment| assignment.state == AssignmentState::Active) {
            *active.entry(assignment.pod_uid.clone()).or_default() += 1;
        }
    }
    active
}

/// Jobs of the same model that are older and have not been dispatched.
fn queue_position(job: &InferenceJob, jobs: &Jobs) -> u32 {
    let age = |job: &InferenceJob| {
        (
            job.metadata.creation_timestamp.clone().map(|time| time.0),
            job.metadata.uid.clone(),
        )
    };
    let own = age(job);
    let before = jobs.store.state().into_iter().filter(|other| {
        other.metadata.namespace == job.metadata.namespace
            && other.spec.model == job.spec.model
            && age(other) < own
            && !other.is_ended()
            && other
                .status
                .as_ref()
                .is_none_or(|status| status.active().is_none())
    });
    u32::try_from(before.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_somebody_else_keeps_the_job_waiting_and_is_named() {
        let rejection = unusable(&Unreadable::Foreign { name: "j".into() });
        assert!(!rejection.is_final);
        assert_eq!(
            rejection.accepted.message,
            "results: Secret j exists and is not this job's: delete it or use another job name"
        );
    }
}
