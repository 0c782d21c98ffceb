//! Reads everything that a job's plan depends on.

use std::{collections::BTreeSet, sync::Arc};

use cocoon_api::{
    conditions::{Accepted, Reason as _},
    crd::{CocoonProvider, FullName, InferenceJob, InferenceJobStatus, job::BillingMode},
    json::Payload,
    names,
};
use cocoon_core::{
    agents::{AgentState, Refusal},
    funds::consents_to_free,
    job::{
        input::{InputSummary, Requests},
        landing::Landing,
        plan::{Agent, Channel, Following, MAX_JOBS_PER_AGENT, Offer, World},
        validate::{InputFault, Rejection, ValidatedJob, accepted_input},
    },
    settlement::pays,
};
use kube::{Api, ResourceExt as _};

use super::{
    agents::{agents, displaced, refused},
    context::Jobs,
    input,
    queue::Wanted,
};
use crate::{
    channel::{looks, validate::unready_wallet},
    dispatch::{Known, Results, Stored, Unreadable},
    error::{self, Error, Result, describe},
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
    pub(super) refused: Option<Refusal>,
    /// What has landed, as far as is known.
    pub(super) landing: Arc<Landing>,
    /// What was read of it, and what a write must replace; none where it was not read.
    pub(super) stored: Option<Stored>,
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
            refused: self.refused,
            landing: &self.landing,
            following: self.known.following,
            has_room: self.has_room,
            queue_position: self.queue_position,
        }
    }
}

/// What an earlier step of the same reconcile read, and is not read again.
#[derive(Default)]
pub(super) struct Carried {
    /// Bodies of the stored job, where it was read.
    pub(super) inline: Option<Vec<Payload>>,
    pub(super) requests: Option<Requests>,
    pub(super) stored: Option<Stored>,
}

pub(super) async fn observe(job: &InferenceJob, carried: Carried, jobs: &Jobs) -> Result<Seen> {
    let channel = channel(job, jobs);
    let status = job.status.clone().unwrap_or_default();
    let offers = offers(job, &status, channel.as_ref(), jobs);
    let wanted = wanted(job, &status, channel.as_ref(), &offers);
    let known = match status.active() {
        Some(active) => jobs
            .dispatcher
            .known(&job.uid().unwrap_or_default(), active.attempt),
        None => Known::nothing(),
    };
    let Carried {
        inline,
        requests,
        stored,
    } = carried;
    let stored = stored_results(job, &status, &known, stored, jobs).await?;
    let landing = match (&known.landing, &stored) {
        (Some(landing), _) => landing.clone(),
        (None, Some(stored)) => stored.landing.clone(),
        (None, None) => Arc::default(),
    };
    let mut agents = wanted
        .as_ref()
        .map_or_else(Vec::new, |wanted| agents(wanted, jobs));
    agents.extend(displaced(&status, wanted.as_ref(), &agents, jobs).await?);
    let is_handed_over = status.active().is_some() && known.following == Following::No;
    let (input, requests) = self::requests(job, &status, is_handed_over, (inline, requests), jobs).await?;
    Ok(Seen {
        now: jobs.ctx.now().as_second(),
        input,
        requests,
        has_room: jobs.dispatcher.has_room(),
        offers,
        channel,
        agents,
        refused: wanted.as_ref().and_then(|wanted| refused(wanted, jobs)),
        landing,
        stored,
        known,
        queue_position: wanted
            .as_ref()
            .map_or(0, |wanted| jobs.queue.before(job, wanted))
            .try_into()
            .unwrap_or(u32::MAX),
        status,
    })
}

/// What a job wants of whom, by all that is in memory.
fn wanted(
    job: &InferenceJob,
    status: &InferenceJobStatus,
    channel: Option<&Channel>,
    offers: &[Offer],
) -> Option<Wanted> {
    let provider = status
        .active()
        .map(|assignment| assignment.provider.clone())
        .or_else(|| channel.map(|channel| channel.provider.clone()))
        .or_else(|| status.agreed.as_ref().map(|agreed| agreed.provider.clone()))
        .or_else(|| asked(job))
        .or_else(|| offering(offers))
        .or_else(|| status.provider.clone())?;
    Some(Wanted {
        provider: FullName::parse(&provider, &job.namespace().unwrap_or_default()),
        model: job.spec.model.clone(),
    })
}

/// What a job of which nothing was said yet can expect, by all that is in memory.
pub(super) enum Prospect {
    /// A place on an agent.
    Next,
    /// Every place on the agents that serve is taken, or somebody's who came before; so many did.
    Behind { wanted: Wanted, before: usize },
    /// Nobody serves it now or offers it what it wants, it is held, or what it wants is not known before it is read.
    Unknown,
}

pub(super) fn prospect(job: &InferenceJob, jobs: &Jobs) -> Prospect {
    let status = job.status.clone().unwrap_or_default();
    let channel = channel(job, jobs);
    let offers = offers(job, &status, channel.as_ref(), jobs);
    let wanted = wanted(job, &status, channel.as_ref(), &offers);
    let may_have = |wanted: &Wanted| !job.spec.suspend && may_have(job, wanted, channel.as_ref(), &offers);
    let Some(wanted) = wanted.filter(may_have) else {
        return Prospect::Unknown;
    };
    let agents = agents(&wanted, jobs);
    let mut ready = agents
        .iter()
        .filter(|agent| matches!(agent.pod.state, AgentState::Ready(_)))
        .peekable();
    if ready.peek().is_none() {
        return Prospect::Unknown;
    }
    let free: usize = ready
        .map(|agent| MAX_JOBS_PER_AGENT.saturating_sub(agent.active))
        .sum();
    let before = jobs.queue.before(job, &wanted);
    if free > before {
        Prospect::Next
    } else {
        Prospect::Behind { wanted, before }
    }
}

/// Whether it is offered to the job at all: nobody waits behind a job that will be refused.
fn may_have(job: &InferenceJob, wanted: &Wanted, channel: Option<&Channel>, offers: &[Offer]) -> bool {
    let home = job.namespace().unwrap_or_default();
    let is_free = job.spec.billing.mode == BillingMode::Free;
    offers.iter().any(|offer| {
        FullName::parse(&offer.provider, &home) == wanted.provider
            && offer.granted
            && !offer.closed
            && offer.model_sha256.is_some()
            && if is_free {
                consents_to_free(offer.allow_free, offer.prices)
            } else {
                channel.is_some()
            }
    })
}

/// The provider that the job names itself, as its namespace names it.
fn asked(job: &InferenceJob) -> Option<String> {
    let home = job.namespace().unwrap_or_default();
    let reference = job.spec.provider_ref.as_ref()?;
    Some(reference.full_name(&home).seen_from(&home))
}

/// What the job may be offered: by the providers of its namespace, and by those of others that something of it names.
fn offers(
    job: &InferenceJob,
    status: &InferenceJobStatus,
    channel: Option<&Channel>,
    jobs: &Jobs,
) -> Vec<Offer> {
    let home = job.namespace().unwrap_or_default();
    let providers = &jobs.ctx.watches.providers;
    let named: BTreeSet<String> = [
        channel.map(|channel| channel.provider.clone()),
        asked(job),
        status.active().map(|assignment| assignment.provider.clone()),
        status.agreed.as_ref().map(|agreed| agreed.provider.clone()),
    ]
    .into_iter()
    .flatten()
    .filter(|named| FullName::is_elsewhere(named))
    .collect();
    let elsewhere = named.iter().filter_map(|named| {
        let FullName { namespace, name } = FullName::parse(named, &home);
        providers.get(&namespace, &name)
    });
    let mut offers: Vec<Offer> = providers
        .in_namespace(&home)
        .into_iter()
        .chain(elsewhere)
        .map(|provider| Offer {
            provider: FullName::of(&*provider).seen_from(&home),
            granted: jobs.ctx.allows(&provider, &home),
            ..offer(&provider, &job.spec.model)
        })
        .collect();
    offers.sort_by(|a, b| a.provider.cmp(&b.provider));
    offers
}

/// The provider that a free job will choose, by the order in which it is planned: its agents are looked at with the
/// first step.
fn offering(offers: &[Offer]) -> Option<String> {
    let mut offering: Vec<&Offer> = offers
        .iter()
        .filter(|offer| offer.model_sha256.is_some() && !FullName::is_elsewhere(&offer.provider))
        .collect();
    offering.retain(|offer| consents_to_free(offer.allow_free, offer.prices));
    offering.sort_by_key(|offer| (offer.closed, &offer.provider));
    offering.first().map(|offer| offer.provider.clone())
}

/// What is stored of the job's results. It is read where something may have landed that this process did not follow,
/// and before a job is accepted: the Secret of its name may be somebody else's.
async fn stored_results(
    job: &InferenceJob,
    status: &InferenceJobStatus,
    known: &Known,
    carried: Option<Stored>,
    jobs: &Jobs,
) -> Result<Option<Stored>> {
    let may_have_landed = !status.assignments.is_empty() || accepted_input(status).is_none();
    if carried.is_some() || known.landing.is_some() || !may_have_landed {
        return Ok(carried);
    }
    load(&results(job, jobs)?).await.map(Some)
}

/// What is known of a job's requests, and the requests where an attempt needs them. Between acceptance and dispatch
/// nothing is read: the status has their number and digest.
async fn requests(
    job: &InferenceJob,
    status: &InferenceJobStatus,
    is_handed_over: bool,
    (inline, carried): (Option<Vec<Payload>>, Option<Requests>),
    jobs: &Jobs,
) -> Result<(Result<InputSummary, InputFault>, Option<Requests>)> {
    if let (Some(accepted), false) = (accepted_input(status), is_handed_over) {
        return Ok((Ok(accepted), carried));
    }
    if let Some(requests) = carried {
        return Ok((Ok(requests.summary()), Some(requests)));
    }
    Ok(match input::read(job, inline, jobs).await? {
        Ok(requests) => (Ok(requests.summary()), Some(requests)),
        Err(fault) => (Err(fault), None),
    })
}

/// The pages of the job's results.
pub(super) fn results(job: &InferenceJob, jobs: &Jobs) -> Result<Results> {
    use kube::Resource as _;
    let namespace = job.namespace().unwrap_or_default();
    let owner = job.controller_owner_ref(&()).ok_or_else(|| Error::Incomplete {
        object: describe(job),
        field: "metadata.uid",
    })?;
    let output = job.status.as_ref().and_then(|status| status.output.as_ref());
    Ok(Results::new(
        Api::namespaced(jobs.ctx.client.clone(), &namespace),
        job.name_any(),
        owner,
        output.map(|output| output.pages.clone()).unwrap_or_default(),
    ))
}

pub(super) async fn load(results: &Results) -> Result<Stored> {
    results.load().await?.map_err(|source| Error::Results { source })
}

/// Results that cannot be stored keep a job from running, until somebody puts their Secret in order.
pub(super) fn unusable(why: &Unreadable) -> Rejection {
    let reason = match why {
        Unreadable::Earlier { .. } => Accepted::EarlierResults,
        Unreadable::Foreign { .. } | Unreadable::Gone { .. } | Unreadable::Damaged { .. } => {
            Accepted::InvalidInput
        }
    };
    Rejection {
        accepted: reason.condition(format!("results: {}", error::chain(why))),
        is_final: false,
    }
}

fn channel(job: &InferenceJob, jobs: &Jobs) -> Option<Channel> {
    let billing = &job.spec.billing;
    let reference = billing
        .channel_ref
        .as_ref()
        .filter(|reference| billing.mode == BillingMode::Channel && names::is_object_name(&reference.name))?;
    let namespace = job.namespace().unwrap_or_default();
    let channel = jobs.channel(&namespace, &reference.name)?;
    let uid = channel.uid().unwrap_or_default();
    let looks::Known { seen_at, chain_now } = jobs.ctx.looks.known(&uid);
    let own = jobs.ctx.now().as_second();
    Some(Channel {
        uid,
        seen_at,
        now: chain_now.map_or(own, |chain| chain.max(own)),
        provider: pays(&channel).seen_from(&namespace),
        address: channel.spec.contract_address.clone(),
        deleting: channel.metadata.deletion_timestamp.is_some(),
        status: channel.status.clone().unwrap_or_default(),
    })
}

/// What a provider offers of a model, as its own namespace sees it.
fn offer(provider: &CocoonProvider, model: &str) -> Offer {
    let offered = provider.spec.models.iter().find(|offered| offered.name == model);
    Offer {
        provider: provider.name_any(),
        granted: true,
        closed: provider.spec.paused || provider.metadata.deletion_timestamp.is_some(),
        model_sha256: offered.map(|offered| offered.source.sha256.clone()),
        prices: offered.map(|offered| offered.price).unwrap_or_default(),
        allow_free: offered.is_some_and(|offered| offered.allow_free),
        unpayable: unready_wallet(provider),
    }
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
