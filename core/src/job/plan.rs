//! What to do next for one job. The plan leaves nothing to choose: whoever applies it has no `if` of its own.
//!
//! Wanted properties:
//! - no attempt starts before the budget is reserved, unless the job is free;
//! - an attempt is given up only when its agent can no longer deliver: its pod is gone, or another process
//!   answers there; an agent that cannot be reached is first removed;
//! - every wait says what it waits for;
//! - an accepted job ends: attempts are bounded by `backoffLimit`, time by `activeDeadlineSeconds`.

use cocoon_api::{
    NanoTon,
    agent::FailureCode,
    conditions::{Accepted, Complete, Failed, FundsReserved, Observation, Reason as _, Scheduled, Suspended},
    crd::{
        PaymentChannelStatus,
        job::{Assignment, AssignmentState, InferenceJobStatus},
    },
    units::{Prices, UnitError},
};

use super::{
    landing::Landing,
    validate::{Billing, ValidatedJob},
};
use crate::{
    agents::{AgentPod, AgentState},
    ledger::{self, Refusal},
};

/// Jobs that one agent works on at once at most. Each keeps a stream open and its results in the agent's
/// memory, 900 KiB at most; eight keep a batch full and stay below 8 MiB.
pub const MAX_JOBS_PER_AGENT: usize = 8;

/// A provider as a job sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Name of the provider.
    pub provider: String,
    /// Takes no new work, because it is paused or goes away.
    pub closed: bool,
    /// SHA-256 of the model's file, as hexadecimal digits; `None` where the provider does not offer the model.
    pub model_sha256: Option<String>,
    /// Prices of the model.
    pub prices: Prices,
}

/// The channel that a job names.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    /// The provider that it pays.
    pub provider: String,
    /// Address of the contract.
    pub address: String,
    /// Goes away.
    pub deleting: bool,
    /// Its ledger and conditions.
    pub status: PaymentChannelStatus,
}

/// An agent that could take the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its pod.
    pub pod: AgentPod,
    /// Attempts of other jobs that are active on it.
    pub active: usize,
}

/// What this process knows of the attempt that it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Following {
    /// Nothing: it does not follow it yet.
    No,
    /// It reads its results.
    Yes,
    /// The agent has ended the attempt, and all its results are landed.
    Ended,
    /// Another process answers at the agent's address.
    Replaced,
    /// The agent did not answer for longer than its limit, or broke the protocol.
    Unreachable,
}

/// Everything that a plan depends on.
#[derive(Debug, Clone)]
pub struct World<'a> {
    /// Unix seconds.
    pub now: i64,
    /// The job.
    pub job: &'a ValidatedJob,
    /// Its stored status.
    pub status: &'a InferenceJobStatus,
    /// Providers of the namespace, by name.
    pub offers: &'a [Offer],
    /// The channel that it names; `None` where it does not exist or the job is free.
    pub channel: Option<&'a Channel>,
    /// Agents of the provider that serve the model, by name.
    pub agents: &'a [Agent],
    /// What has landed.
    pub landing: &'a Landing,
    /// What this process knows of the active attempt.
    pub following: Following,
    /// Jobs that wait for the same model and were there before.
    pub queue_position: u32,
}

/// How a job ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// `Complete` or `Failed`.
    pub condition: Observation,
}

/// One step. The next reconcile plans again from what then is.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing but the status.
    Wait,
    /// Reserve the budget on the channel.
    Reserve {
        /// Name of the channel.
        channel: String,
        /// The budget.
        budget: NanoTon,
    },
    /// Record an attempt on this agent, then start it.
    Assign {
        /// Name of the agent's pod.
        pod: AgentPod,
        /// Name of the provider.
        provider: String,
    },
    /// Follow the active attempt.
    Follow {
        /// The attempt.
        assignment: Assignment,
        /// SHA-256 of the model's file.
        model_sha256: String,
        /// Prices in force.
        prices: Prices,
        /// What the attempt may cost.
        budget: Option<NanoTon>,
        /// Address of the channel.
        channel: Option<String>,
    },
    /// Ask the agent to stop; its results so far are taken.
    Cancel {
        /// Number of the attempt.
        attempt: u32,
    },
    /// Mark the attempt.
    Close {
        /// Number of the attempt.
        attempt: u32,
        /// What became of it.
        state: AssignmentState,
    },
    /// Delete the pod of an agent that does not answer, so that it cannot deliver any more.
    Fence {
        /// Name of the pod.
        pod: String,
        /// UID of the pod.
        uid: String,
    },
    /// Give the budget back while the job is held.
    Release,
    /// Meter what landed, give the rest of the budget back, and end.
    Finish(End),
}

/// What to do, and what to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What to do.
    pub step: Step,
    /// Conditions to write.
    pub conditions: Vec<Observation>,
    /// What it waits for, for people.
    pub waiting_for: Option<String>,
    /// The provider that serves it.
    pub provider: Option<String>,
}

/// Decides the next step.
pub fn plan(world: &World<'_>) -> Result<Plan, UnitError> {
    let mut draft = Draft {
        conditions: vec![Accepted::Accepted.condition("the job will run")],
        provider: world.status.provider.clone(),
    };
    if let Some(end) = ended(world) {
        return Ok(draft.act(Step::Finish(end)));
    }
    if let Some(active) = active(world.status) {
        return follow(world, draft, active);
    }
    if world.job.suspend {
        draft.say(Suspended::Suspended.condition("spec.suspend is true"));
        draft.say(Scheduled::Waiting.condition("the job is suspended"));
        return Ok(draft.act(Step::Release));
    }
    if world
        .status
        .conditions
        .iter()
        .any(|condition| condition.type_ == Suspended::TYPE)
    {
        draft.say(Suspended::Resumed.condition("spec.suspend is false"));
    }
    let offer = match choose_offer(world) {
        Ok(offer) => offer,
        Err(rejected) => {
            draft.conditions.clear();
            return Ok(draft.wait(rejected));
        }
    };
    draft.provider = Some(offer.provider.clone());
    if let Some(step) = funds(world, offer, &mut draft)? {
        return Ok(draft.finish(step));
    }
    Ok(schedule(world, offer, draft))
}

struct Draft {
    conditions: Vec<Observation>,
    provider: Option<String>,
}

impl Draft {
    fn say(&mut self, condition: Observation) {
        self.conditions.push(condition);
    }

    /// The step, waiting for nothing.
    fn act(self, step: Step) -> Plan {
        Plan {
            step,
            conditions: self.conditions,
            waiting_for: None,
            provider: self.provider,
        }
    }

    /// Only the status; the condition says what is waited for.
    fn wait(mut self, condition: Observation) -> Plan {
        let waiting_for = Some(condition.message.clone());
        self.conditions.push(condition);
        Plan {
            step: Step::Wait,
            conditions: self.conditions,
            waiting_for,
            provider: self.provider,
        }
    }

    /// The step; the last condition that is false says what is waited for.
    fn finish(self, step: Step) -> Plan {
        let waiting = self.conditions.iter().rev().find(|condition| !condition.status);
        let waiting_for = waiting.map(|condition| condition.message.clone());
        Plan {
            step,
            conditions: self.conditions,
            waiting_for,
            provider: self.provider,
        }
    }
}

/// The attempt that is active.
pub fn active(status: &InferenceJobStatus) -> Option<&Assignment> {
    status
        .assignments
        .iter()
        .find(|assignment| assignment.state == AssignmentState::Active)
}

/// Indices of the requests that have not ended.
pub fn remaining<'a>(job: &'a ValidatedJob, landing: &'a Landing) -> impl Iterator<Item = u32> + 'a {
    job.requests
        .items
        .iter()
        .map(|item| item.index)
        .filter(|&index| !landing.has(index))
}

fn ended(world: &World<'_>) -> Option<End> {
    let World { job, landing, .. } = world;
    let total = job.requests.items.len();
    let end = |condition| Some(End { condition });
    if remaining(job, landing).next().is_none() {
        let (succeeded, failed) = (landing.succeeded(), landing.failed());
        let first = landing
            .first_failure()
            .map(|(id, error)| format!("{id}: {}", error.message))
            .unwrap_or_default();
        if landing.has_failure(FailureCode::BudgetExceeded) {
            return end(Failed::BudgetExceeded.condition(format!(
                "billing.maxNano covered {succeeded} of {total} requests; the results of these are kept"
            )));
        }
        return end(match (succeeded, failed) {
            (0, _) => Failed::RequestsFailed.condition(format!("all {total} requests failed; {first}")),
            (_, 0) => {
                Complete::RequestsFinished.condition(format!("{succeeded} of {total} requests succeeded"))
            }
            _ => Complete::RequestsFinished.condition(format!(
                "{succeeded} of {total} requests succeeded, {failed} failed; {first}"
            )),
        });
    }
    if active(world.status).is_some() {
        return None;
    }
    if past_deadline(world) {
        return end(
            Failed::DeadlineExceeded.condition("activeDeadlineSeconds passed before all requests had run")
        );
    }
    let spent = world
        .status
        .assignments
        .iter()
        .filter(|assignment| matches!(assignment.state, AssignmentState::Lost | AssignmentState::Ended));
    let attempts = u32::try_from(spent.count()).unwrap_or(u32::MAX);
    (attempts > job.backoff_limit).then(|| End {
        condition: Failed::BackoffLimitExceeded
            .condition(format!("{attempts} attempts ended before all requests had run")),
    })
}

fn past_deadline(world: &World<'_>) -> bool {
    let started = world.status.start_time.as_ref().map(|time| time.0.as_second());
    started
        .zip(world.job.deadline)
        .is_some_and(|(started, deadline)| {
            u64::try_from(world.now - started).is_ok_and(|running| running >= deadline.as_secs())
        })
}

fn follow(world: &World<'_>, mut draft: Draft, active: &Assignment) -> Result<Plan, UnitError> {
    let Assignment {
        attempt,
        pod,
        pod_uid,
        ..
    } = active;
    let agent = world.agents.iter().find(|agent| agent.pod.uid == *pod_uid);
    let alive = agent.is_some_and(|agent| agent.pod.state != AgentState::Gone);
    draft.say(match world.job.billing {
        Billing::Free => FundsReserved::Free.condition("billing.mode is Free"),
        Billing::Channel { .. } => FundsReserved::Reserved.condition("the budget is reserved on the channel"),
    });
    let close = |mut draft: Draft, state, message: String| {
        draft.say(Scheduled::AgentLost.condition(message));
        draft.finish(Step::Close {
            attempt: *attempt,
            state,
        })
    };
    let plan = match world.following {
        Following::Ended => {
            let state = if world.job.suspend {
                AssignmentState::Suspended
            } else {
                AssignmentState::Ended
            };
            draft.say(Scheduled::Dispatched.condition(format!("agent {pod} has ended attempt {attempt}")));
            draft.finish(Step::Close {
                attempt: *attempt,
                state,
            })
        }
        _ if !alive => close(
            draft,
            AssignmentState::Lost,
            format!("agent {pod} is gone; the rest runs on another"),
        ),
        Following::Replaced => close(
            draft,
            AssignmentState::Lost,
            format!("agent {pod} was restarted; the rest runs again"),
        ),
        Following::Unreachable => {
            draft.say(Scheduled::AgentLost.condition(format!("agent {pod} does not answer and is removed")));
            draft.finish(Step::Fence {
                pod: pod.clone(),
                uid: pod_uid.clone(),
            })
        }
        Following::Yes if world.job.suspend || past_deadline(world) => {
            draft.say(Scheduled::Dispatched.condition(format!("agent {pod} is asked to stop")));
            draft.finish(Step::Cancel { attempt: *attempt })
        }
        Following::No | Following::Yes => {
            draft.say(Scheduled::Dispatched.condition(format!("agent {pod} works on attempt {attempt}")));
            follow_step(world, draft, active)?
        }
    };
    Ok(plan)
}

fn follow_step(world: &World<'_>, draft: Draft, active: &Assignment) -> Result<Plan, UnitError> {
    let Some(offer) = world
        .offers
        .iter()
        .find(|offer| offer.provider == active.provider)
    else {
        return Ok(draft.finish(Step::Wait));
    };
    let Some(model_sha256) = offer.model_sha256.clone() else {
        return Ok(draft.finish(Step::Wait));
    };
    let budget = match &world.job.billing {
        Billing::Free => None,
        // What the attempt may cost is what is left of the budget.
        Billing::Channel { budget, .. } => Some(budget.saturating_sub(world.landing.nano()?)),
    };
    let step = Step::Follow {
        assignment: active.clone(),
        model_sha256,
        prices: offer.prices,
        budget,
        channel: world.channel.map(|channel| channel.address.clone()),
    };
    Ok(draft.finish(step))
}

fn choose_offer<'a>(world: &'a World<'_>) -> Result<&'a Offer, Observation> {
    let model = &world.job.model;
    let named = match (&world.job.billing, world.channel) {
        (Billing::Free, _) => None,
        (Billing::Channel { name, .. }, None) => {
            return Err(Accepted::ChannelNotFound.condition(format!("PaymentChannel {name} does not exist")));
        }
        (Billing::Channel { .. }, Some(channel)) => Some(channel.provider.as_str()),
    };
    let mut offering: Vec<&Offer> = world
        .offers
        .iter()
        .filter(|offer| offer.model_sha256.is_some() && named.is_none_or(|name| offer.provider == name))
        .collect();
    // A closed offer only where no other serves the model; then by name, so that the choice is stable.
    offering.sort_by_key(|offer| (offer.closed, &offer.provider));
    let who = named.map_or_else(
        || "no provider in this namespace".to_owned(),
        |name| format!("CocoonProvider {name} does not exist or"),
    );
    let missing = || match named {
        Some(_) => format!("{who} does not offer model {model}"),
        None => format!("{who} offers model {model}"),
    };
    offering
        .first()
        .copied()
        .ok_or_else(|| Accepted::ModelUnknown.condition(missing()))
}

/// `Some` step where funds are not yet reserved.
fn funds(world: &World<'_>, offer: &Offer, draft: &mut Draft) -> Result<Option<Step>, UnitError> {
    let Billing::Channel { name, budget } = &world.job.billing else {
        draft.say(FundsReserved::Free.condition("billing.mode is Free"));
        return Ok(None);
    };
    let Some(channel) = world.channel else {
        return Ok(Some(Step::Wait));
    };
    let requests = u64::try_from(world.job.requests.items.len()).unwrap_or(u64::MAX);
    let least = offer.prices.minimum_nano.nano().saturating_mul(requests);
    if budget.nano() < least {
        draft.conditions.clear();
        draft.say(Accepted::BudgetTooSmall.condition(format!(
            "billing.maxNano is {budget}, but {requests} requests cost at least {least} nanoTON at provider {}",
            offer.provider
        )));
        return Ok(Some(Step::Wait));
    }
    if ledger::reserved(&channel.status, &world.job.uid).is_some_and(|held| held >= *budget) {
        draft.say(FundsReserved::Reserved.condition(format!(
            "{} TON are reserved on channel {name}",
            budget.to_ton_string()
        )));
        return Ok(None);
    }
    if channel.deleting {
        draft.say(FundsReserved::ChannelNotReady.condition(format!("channel {name} is being deleted")));
        return Ok(Some(Step::Wait));
    }
    let mut trial = channel.status.clone();
    let step = match ledger::reserve(&mut trial, &world.job.uid, &world.job.name, *budget)? {
        Ok(()) => {
            draft.say(FundsReserved::WaitingForFunds.condition(format!(
                "reserving {} TON on channel {name}",
                budget.to_ton_string()
            )));
            Step::Reserve {
                channel: name.clone(),
                budget: *budget,
            }
        }
        Err(Refusal::Full) => {
            draft.say(FundsReserved::ChannelNotReady.condition(format!(
                "the ledger of channel {name} is full until its jobs are settled"
            )));
            Step::Wait
        }
        Err(Refusal::Insufficient { available, wanted }) => {
            draft.say(shortfall(name, channel, available, wanted));
            Step::Wait
        }
    };
    Ok(Some(step))
}

/// The channel's own conditions say more than the bare figures where it is not in order.
fn shortfall(name: &str, channel: &Channel, available: NanoTon, wanted: NanoTon) -> Observation {
    use cocoon_api::conditions::{Funded, VoucherValid, find};
    let conditions = &channel.status.conditions;
    let broken = |type_| find(conditions, type_).filter(|condition| condition.status != "True");
    if conditions.is_empty() {
        return FundsReserved::ChannelNotReady
            .condition(format!("channel {name} has not been looked at yet"));
    }
    if let Some(funded) = broken(Funded::TYPE) {
        return FundsReserved::WaitingForFunds.condition(format!("channel {name}: {}", funded.message));
    }
    if let Some(voucher) = broken(VoucherValid::TYPE) {
        return FundsReserved::VoucherInvalid.condition(format!("channel {name}: {}", voucher.message));
    }
    FundsReserved::WaitingForFunds.condition(format!(
        "channel {name} can cover {} TON, the job reserves {}: top up the channel or raise its voucher",
        available.to_ton_string(),
        wanted.to_ton_string()
    ))
}

fn schedule(world: &World<'_>, offer: &Offer, mut draft: Draft) -> Plan {
    let World { agents, job, .. } = world;
    if offer.closed {
        let message = format!("provider {} takes no new work", offer.provider);
        return draft.wait(Scheduled::ProviderUnavailable.condition(message));
    }
    let ready = agents
        .iter()
        .filter(|agent| matches!(agent.pod.state, AgentState::Ready(_)));
    let free = ready.clone().filter(|agent| agent.active < MAX_JOBS_PER_AGENT);
    // The agent with the fewest jobs, then by name.
    if let Some(agent) = free.min_by_key(|agent| (agent.active, &agent.pod.name)) {
        draft.say(Scheduled::Dispatched.condition(format!("agent {} takes the job", agent.pod.name)));
        return draft.act(Step::Assign {
            pod: agent.pod.clone(),
            provider: offer.provider.clone(),
        });
    }
    let waiting = if ready.count() > 0 {
        Scheduled::AgentsBusy.condition(format!(
            "all agents of model {} are busy; {} jobs are before this one",
            job.model, world.queue_position
        ))
    } else {
        no_agent(world, offer)
    };
    draft.wait(waiting)
}

/// Says why no agent serves: the most telling of what the pods show.
fn no_agent(world: &World<'_>, offer: &Offer) -> Observation {
    let model = &world.job.model;
    let states = || {
        world
            .agents
            .iter()
            .map(|agent| (&agent.pod.name, &agent.pod.state))
    };
    let unschedulable = states().find_map(|(name, state)| match state {
        AgentState::Unschedulable(words) => Some((name, words)),
        _ => None,
    });
    if let Some((name, words)) = unschedulable {
        return Scheduled::InsufficientGPU.condition(format!("agent {name} waits for a node: {words}"));
    }
    let failed = states().find_map(|(name, state)| match state {
        AgentState::Crashing(words) | AgentState::ImagePullFailed(words) => Some((name, words)),
        _ => None,
    });
    if let Some((name, words)) = failed {
        return Scheduled::AgentFailed.condition(format!("agent {name} does not start: {words}"));
    }
    Scheduled::ColdStart.condition(format!(
        "an agent of provider {} starts and loads model {model}",
        offer.provider
    ))
}

#[cfg(test)]
mod tests;
