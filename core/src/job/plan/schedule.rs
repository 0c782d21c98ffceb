//! Which agent takes a job, or why none does.

use cocoon_api::{
    conditions::{Observation, Reason as _, Scheduled},
    crd::{
        Agreement, FullName,
        job::{Assignment, AssignmentState},
    },
};

use super::{Agent, Draft, Offer, Plan, Step, World};
use crate::agents::{AgentPod, AgentState, Obstacle, Rejection, fetch::Fetch, worst::worst};

/// Jobs that one agent works on at once at most. Each keeps a stream open and its results in the agent's memory: 22 MiB
/// where 256 answers have 8,192 tokens each, so that sixteen of the largest take 350 MiB beside the model. Between two
/// jobs a place is empty while results are stored, a status is written and the next job is assigned; twice the eight
/// that fill a batch keep it full meanwhile.
pub const MAX_JOBS_PER_AGENT: usize = 16;

pub(super) fn schedule(world: &World<'_>, offer: &Offer, agreed: Agreement, mut draft: Draft) -> Plan {
    let World { agents, job, .. } = world;
    if offer.closed {
        let message = format!("provider {} takes no new work", offer.provider);
        return draft.wait(Scheduled::ProviderUnavailable.condition(message));
    }
    if !world.has_room {
        let message =
            "the operator follows as many attempts as its memory is meant for; the job is next when one ends";
        return draft.wait(Scheduled::AgentsBusy.condition(message));
    }
    let ready = agents
        .iter()
        .filter(|agent| matches!(agent.pod.state, AgentState::Ready(_)));
    let free = ready.clone().filter(|agent| agent.active < MAX_JOBS_PER_AGENT);
    let refusals = |agent: &Agent| {
        let of_agent = |assignment: &&Assignment| assignment.pod_uid == agent.pod.uid;
        let refused = |assignment: &&Assignment| assignment.state == AssignmentState::Refused;
        world
            .status
            .assignments
            .iter()
            .filter(of_agent)
            .filter(refused)
            .count()
    };
    // Who waits longer is first: places that are free are theirs.
    let places: usize = free
        .clone()
        .map(|agent| MAX_JOBS_PER_AGENT.saturating_sub(agent.active))
        .sum();
    let is_next = places > usize::try_from(world.queue_position).unwrap_or(usize::MAX);
    // The agent that refused the job least often, then the one with the fewest jobs, then by name.
    let choice = free.min_by_key(|agent| (refusals(agent), agent.active, &agent.pod.name));
    if let Some(agent) = choice.filter(|_| is_next) {
        let attempt = world.status.next_attempt();
        draft.say(dispatched(&agent.pod.name, attempt));
        draft.agreed = Some(agreed.clone());
        return draft.act(Step::Assign {
            attempt,
            pod: agent.pod.clone(),
            agreed,
        });
    }
    let waiting = if ready.count() > 0 {
        Scheduled::AgentsBusy.condition(format!(
            "all agents of model {} are busy with jobs that came before",
            job.model
        ))
    } else {
        no_agent(world, offer)
    };
    draft.wait(waiting)
}

/// What is said from the first moment in which an agent has the job: the same words, so that they are written once.
pub(super) fn dispatched(agent: &str, attempt: u32) -> Observation {
    Scheduled::Dispatched.condition(format!("agent {agent} works on attempt {attempt}"))
}

/// Says why no agent serves: the obstacle that the provider tells of as well. What others wrote, the scheduler, the
/// kubelet or a registry, names what is in the provider's namespace, and goes no further than that; what the API server
/// wrote when it refused a pod does not come here at all.
fn no_agent(world: &World<'_>, offer: &Offer) -> Observation {
    let (model, provider) = (&world.job.model, &offer.provider);
    let Some((obstacle, pod)) = worst(world.agents.iter().map(|agent| &agent.pod), world.refused) else {
        return Scheduled::ColdStart.condition(starts(provider, model));
    };
    let told_there = format!("condition AgentsAvailable of provider {provider} says why");
    let said = |words: &str| {
        if FullName::is_elsewhere(provider) {
            told_there.clone()
        } else {
            words.to_owned()
        }
    };
    let message = match (obstacle, pod) {
        (Obstacle::Refused(why), _) => format!(
            "no agent of model {model} can be made: {}; {told_there}",
            why.words()
        ),
        (_, None) => starts(provider, model),
        (_, Some(AgentPod { name, state, .. })) => match state {
            AgentState::Unschedulable(words) => format!("agent {name} waits for a node: {}", said(words)),
            AgentState::Rejected(Rejection { node, words, .. }) => {
                format!("node {node} does not take agent {name}: {}", said(words))
            }
            AgentState::GpuUnusable(fault) => format!(
                "agent {name} cannot use its device ({}): condition AgentsAvailable of provider {provider} says what to do",
                fault.word()
            ),
            AgentState::Unrecognised(_) => format!(
                "pod {name} is no agent of provider {provider}, and nothing is asked of it: its condition AgentsAvailable says \
                 why"
            ),
            AgentState::ImagePullFailed(words) => format!("agent {name} does not start: {}", said(words)),
            // Where the file lies is told to the farm alone.
            AgentState::Crashing(_) => format!("agent {name} ends as soon as it starts: {told_there}"),
            AgentState::AwaitingModel { node, fetch } => match fetch {
                Fetch::Downloading => format!(
                    "node {node} has no copy of model {model} yet: it is downloaded, and status.models of provider {provider} \
                     says how far it is"
                ),
                Fetch::Stuck(words) => {
                    format!(
                        "the download of model {model} onto node {node} does not start: {}",
                        said(words)
                    )
                }
                Fetch::Failed(fault) => format!(
                    "the download of model {model} onto node {node} failed: {}",
                    fault.words()
                ),
            },
            AgentState::VolumesMissing(words) | AgentState::VolumesNotReady(words) => {
                format!("no agent of model {model} starts: {}", said(words))
            }
            AgentState::Starting | AgentState::Ready(_) | AgentState::Terminating | AgentState::Gone => {
                starts(provider, model)
            }
        },
    };
    obstacle.reasons().job.condition(message)
}

fn starts(provider: &str, model: &str) -> String {
    format!("an agent of provider {provider} starts and loads model {model}")
}
