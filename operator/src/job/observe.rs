//! Reads everything that a job's plan depends on.

use std::collections::BTreeMap;

use cocoon_api::{
    conditions::{Accepted, Reason as _},
    crd::{
        CocoonProvider, InferenceJob, InferenceJobStatus, KeyReference, PaymentChannel,
        job::{AssignmentState, BillingMode},
    },
    names,
};
use cocoon_core::{
    agents::AgentPod,
    job::{
        plan::{self, Agent, Channel, Offer, World},
        validate::{InputText, Rejection, ValidatedJob},
    },
};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Pod, Secret},
};
use kube::{Api, ResourceExt as _, api::ListParams};

use super::{Jobs, Result, status};
use crate::{
    channel::{looks, validate::unready_wallet},
    dispatch::{Known, ResultsSecret, Stored, Unreadable},
    error::{self, Error, KubeContext as _, describe},
};

/// What was read for one job.
pub(super) struct Seen {
    pub(super) now: i64,
    pub(super) input: InputText,
    pub(super) status: InferenceJobStatus,
    pub(super) offers: Vec<Offer>,
    pub(super) channel: Option<Channel>,
    pub(super) agents: Vec<Agent>,
    pub(super) stored: Stored,
    pub(super) known: Known,
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
            queue_position: self.queue_position,
        }
    }
}

pub(super) async fn observe(job: &InferenceJob, jobs: &Jobs) -> Result<Seen> {
    let client = || jobs.ctx.client.clone();
    let namespace = job.namespace().unwrap_or_default();
    let everything = ListParams::default();
    let providers = Api::<CocoonProvider>::namespaced(client(), &namespace)
        .list(&everything)
        .await
        .attempt("list providers in", &namespace)?;
    let channel = channel(job, jobs).await?;
    let status = job.status.clone().unwrap_or_default();
    let offers = offers(&providers.items, &job.spec.model);
    let provider = plan::active(&status)
        .map(|assignment| assignment.provider.clone())
        .or_else(|| channel.as_ref().map(|channel| channel.provider.clone()))
        .or_else(|| status.provider.clone());
    let agents = agents(job, jobs, provider.as_deref()).await?;
    let stored = load(&results(job, jobs)?).await?;
    let known = match plan::active(&status) {
        Some(active) => jobs
            .dispatcher
            .known(&job.uid().unwrap_or_default(), active.attempt),
        None => Known {
            following: plan::Following::No,
            progress: None,
        },
    };
    Ok(Seen {
        now: jobs.ctx.now().as_second(),
        input: input(job, jobs).await?,
        offers,
        channel,
        agents,
        stored,
        known,
        queue_position: queue_position(job, jobs),
        status,
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

async fn input(job: &InferenceJob, jobs: &Jobs) -> Result<InputText> {
    let namespace = job.namespace().unwrap_or_default();
    let client = jobs.ctx.client.clone();
    let input = &job.spec.input;
    if let Some(reference) = &input.config_map_ref {
        let found = if names::is_object_name(&reference.name) {
            Api::<ConfigMap>::namespaced(client, &namespace)
                .get_opt(&reference.name)
                .await
                .attempt("read ConfigMap", &reference.name)?
        } else {
            None
        };
        let text = found.and_then(|map| map.data.unwrap_or_default().remove(&reference.key));
        return Ok(input_text("ConfigMap", reference, text));
    }
    if let Some(reference) = &input.secret_ref {
        let found = if names::is_object_name(&reference.name) {
            Api::<Secret>::namespaced(client, &namespace)
                .get_opt(&reference.name)
                .await
                .attempt("read Secret", &reference.name)?
        } else {
            None
        };
        let data: BTreeMap<String, ByteString> = found.and_then(|secret| secret.data).unwrap_or_default();
        let text = data
            .get(&reference.key)
            .map(|value| String::from_utf8_lossy(&value.0).into_owned());
        return Ok(input_text("Secret", reference, text));
    }
    Ok(InputText::Inline)
}

fn input_text(kind: &str, reference: &KeyReference, text: Option<String>) -> InputText {
    let source_name = format!("{kind} {} key {}", reference.name, reference.key);
    match text {
        Some(text) => InputText::Text { source_name, text },
        None => InputText::Missing { source_name },
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

fn offers(providers: &[CocoonProvider], model: &str) -> Vec<Offer> {
    let mut offers: Vec<Offer> = providers
        .iter()
        .map(|provider| {
            let offered = provider.spec.models.iter().find(|offered| offered.name == model);
            Offer {
                provider: provider.name_any(),
                closed: provider.spec.paused || provider.metadata.deletion_timestamp.is_some(),
                model_sha256: offered.map(|offered| offered.source.sha256.clone()),
                prices: offered.map(|offered| offered.price).unwrap_or_default(),
                allow_free: offered.is_some_and(|offered| offered.allow_free),
                unpayable: unready_wallet(provider),
            }
        })
        .collect();
    offers.sort_by(|a, b| a.provider.cmp(&b.provider));
    offers
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
    let pods = Api::<Pod>::namespaced(jobs.ctx.client.clone(), &namespace)
        .list(&ListParams::default().labels(&selector))
        .await
        .attempt("list agents of provider", provider)?;
    let busy = active_by_pod(jobs);
    let now = jobs.ctx.now();
    let mut agents: Vec<Agent> = pods
        .items
        .iter()
        .filter_map(|pod| AgentPod::from_pod(pod, now))
        .filter(|pod| pod.model == job.spec.model)
        .map(|pod| Agent {
            active: busy.get(&pod.uid).copied().unwrap_or_default(),
            pod,
        })
        .collect();
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
            && !status::is_ended(other)
            && other
                .status
                .as_ref()
                .is_none_or(|status| plan::active(status).is_none())
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
