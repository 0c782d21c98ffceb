//! Placement: how many agents of each model an offer wants, and why one waits.
//!
//! ```text
//! jobs ──demand──▶ need ──idle time, bounds──▶ wanted ──share of spec.replicas──▶ Placements
//! pods, inventory ────────────────────────────────────────────────────────────▶ waits
//! ```
//!
//! Properties, each with a test: placing twice changes nothing; the bounds hold; agents with work are never taken
//! away while the bounds allow them; idle agents give their GPUs to a model that waits for them.

use std::cmp::Reverse;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::inventory::Inventory;

pub mod availability;
pub mod demand;
pub mod departure;

use demand::Demand;

/// Jobs that one agent is given before another agent is wanted: with the default parallelism of 4 and the default
/// of 8 requests in flight, two jobs fill an agent.
pub const JOBS_PER_AGENT: u32 = 2;

/// What placement knows of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Name of the model; unique in the offer.
    pub name: String,
    /// GPUs that one agent takes.
    pub gpus_per_replica: u32,
    /// Agents kept without work.
    pub min_replicas: u32,
    /// Agents at most.
    pub max_replicas: u32,
    /// How long agents beyond `min_replicas` stay without work.
    pub idle_timeout: SignedDuration,
    /// Jobs that ask for it.
    pub demand: Demand,
    /// Agents that its Deployment asks for.
    pub current: u32,
    /// Of these, how many have a node.
    pub placed: u32,
    /// When it last became idle.
    pub idle_since: Option<Timestamp>,
}

/// The world as placement sees it.
#[derive(Debug, Clone)]
pub struct Problem<'a> {
    /// Models of the offer, ordered by name.
    pub models: Vec<Model>,
    /// Agents over all models at most.
    pub replica_bound: u32,
    /// The offer takes no new work.
    pub paused: bool,
    /// Nodes and GPUs.
    pub inventory: &'a Inventory,
    /// GPUs that agents of other offers wait for, since no node has them.
    pub wanted_elsewhere: u64,
    /// GPUs of this offer's agents that are going already.
    pub leaving: u64,
    /// The time.
    pub now: Timestamp,
}

/// How many agents each model gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placements {
    /// In the order of [`Problem::models`].
    pub models: Vec<Placement>,
    /// When the plan changes although nothing else does.
    pub next_change: Option<Timestamp>,
}

/// How many agents one model gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Name of the model.
    pub name: String,
    /// Agents.
    pub replicas: u32,
    /// Since when they have no work; only while some are beyond `min_replicas`.
    pub idle_since: Option<Timestamp>,
    /// Why its jobs have fewer agents than they need, if they do.
    pub bounded: Option<Bound>,
}

/// What keeps a model from the agents that its jobs need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// `spec.paused`.
    Paused,
    /// `spec.replicas`, shared by all models.
    Replicas(u32),
}

impl Bound {
    /// For a person.
    pub fn message(self, model: &str) -> String {
        match self {
            Self::Paused => format!("{model} waits: the provider is paused"),
            Self::Replicas(0) => {
                format!(
                    "{model} waits: spec.replicas is 0, so that no agent runs: raise it with `kubectl scale`"
                )
            }
            Self::Replicas(bound) => {
                format!(
                    "{model} waits: all {bound} agents that spec.replicas allows are in use by other models"
                )
            }
        }
    }
}

/// Agents that the model wants by itself.
struct Wish {
    wanted: u32,
    idle_since: Option<Timestamp>,
}

/// Decides how many agents each model gets.
pub fn place(problem: &Problem<'_>) -> Placements {
    let mut wishes: Vec<Wish> = problem.models.iter().map(|model| wish(model, problem)).collect();
    if !problem.paused {
        yield_idle(problem, &mut wishes);
    }
    let shares = share(problem, &wishes);
    let mut next_change = None;
    let models = problem
        .models
        .iter()
        .zip(wishes)
        .zip(shares)
        .map(|((model, wish), replicas)| {
            let beyond_minimum = replicas > model.min_replicas;
            let idle_since = wish.idle_since.filter(|_| beyond_minimum);
            let due =
                idle_since.map(|since| since.saturating_add(model.idle_timeout).unwrap_or(Timestamp::MAX));
            next_change = [next_change, due].into_iter().flatten().min();
            Placement {
                name: model.name.clone(),
                replicas,
                idle_since,
                bounded: bounded(problem, model, replicas),
            }
        })
        .collect();
    Placements { models, next_change }
}

fn wish(model: &Model, problem: &Problem<'_>) -> Wish {
    let Demand { running, waiting } = model.demand;
    let current = model.current.min(model.max_replicas);
    if problem.paused {
        // Agents finish what they have; nothing else keeps them.
        let wanted = if running > 0 { current } else { 0 };
        return Wish {
            wanted,
            idle_since: None,
        };
    }
    let jobs = running.saturating_add(waiting);
    if jobs > 0 {
        let need = jobs
            .div_ceil(JOBS_PER_AGENT)
            .clamp(model.min_replicas.max(1), model.max_replicas);
        // Kubernetes chooses which pod goes, busy or not: none goes while there is work.
        return Wish {
            wanted: need.max(current),
            idle_since: None,
        };
    }
    if current <= model.min_replicas {
        return Wish {
            wanted: model.min_replicas,
            idle_since: None,
        };
    }
    let since = model.idle_since.unwrap_or(problem.now).min(problem.now);
    if problem.now.duration_since(since) >= model.idle_timeout {
        return Wish {
            wanted: model.min_replicas,
            idle_since: None,
        };
    }
    Wish {
        wanted: current,
        idle_since: Some(since),
    }
}

/// Takes GPUs from idle agents for agents that have no node, longest idle first: for those with work of this offer, and
/// for those of others.
fn yield_idle(problem: &Problem<'_>, wishes: &mut [Wish]) {
    let gpus = |model: &Model, agents: u32| u64::from(model.gpus_per_replica) * u64::from(agents);
    let pairs = || problem.models.iter().zip(wishes.iter());
    let missing: u64 = pairs()
        .filter(|(model, _)| model.demand.jobs() > 0)
        .map(|(model, wish)| gpus(model, wish.wanted.saturating_sub(model.placed)))
        .sum();
    let leaving: u64 = pairs()
        .map(|(model, wish)| gpus(model, model.placed.saturating_sub(wish.wanted)))
        .sum();
    // The scheduler has found that what is free does not suit the others.
    let mut missing = missing
        .saturating_sub(u64::from(problem.inventory.gpus.free))
        .saturating_add(problem.wanted_elsewhere)
        .saturating_sub(leaving)
        .saturating_sub(problem.leaving);
    let mut idle: Vec<usize> = (0..wishes.len())
        .filter(|&index| wishes[index].idle_since.is_some())
        .collect();
    idle.sort_by_key(|&index| (wishes[index].idle_since, index));
    for index in idle {
        let model = &problem.models[index];
        let held = wishes[index].wanted.min(model.placed);
        let spare = held.saturating_sub(model.min_replicas);
        if missing == 0 || model.gpus_per_replica == 0 || spare == 0 {
            continue;
        }
        let agents = missing
            .div_ceil(u64::from(model.gpus_per_replica))
            .min(u64::from(spare));
        missing = missing.saturating_sub(agents * u64::from(model.gpus_per_replica));
        wishes[index].wanted = held - u32::try_from(agents).expect("at most `spare`");
    }
}

/// Shares `replica_bound` agents, one a round to each model that wants more: models with work first, then by name.
fn share(problem: &Problem<'_>, wishes: &[Wish]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..wishes.len()).collect();
    order.sort_by_key(|&index| (Reverse(problem.models[index].demand.jobs() > 0), index));
    let mut shares = vec![0; wishes.len()];
    let mut left = problem.replica_bound;
    while left > 0 {
        let before = left;
        for &index in &order {
            if left > 0 && shares[index] < wishes[index].wanted {
                shares[index] += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    shares
}

fn bounded(problem: &Problem<'_>, model: &Model, replicas: u32) -> Option<Bound> {
    if model.demand.jobs() == 0 || replicas > 0 {
        return None;
    }
    Some(if problem.paused {
        Bound::Paused
    } else {
        Bound::Replicas(problem.replica_bound)
    })
}

#[cfg(test)]
mod tests;
