//! Whether the agents that are wanted serve, and what the others wait for.

use std::collections::BTreeMap;

use cocoon_api::{
    agent::{DeviceEnd, Devices},
    conditions::{AgentsAvailable, Observation, Reason as _},
    crd::provider::ModelPhase,
};

use crate::{
    agents::{AgentPod, AgentState, Obstacle, Refusal, Rejection, Shortage, fetch::Fetch, worst::worst},
    inventory::{Inventory, Requirements, selector_text},
};

/// How bad it is that an agent serves without some of its devices, among the ranks of obstacles: not as bad as that one
/// does not serve, and worse than that one starts.
const WORN_RANK: u8 = 5;

/// The agents of one model.
#[derive(Debug, Clone)]
pub struct Agents<'a> {
    /// Name of the model.
    pub model: &'a str,
    /// GPUs that one agent takes.
    pub gpus_per_replica: u32,
    /// Agents wanted.
    pub wanted: u32,
    /// Its pods, in any order.
    pub pods: Vec<&'a AgentPod>,
    /// Why the Deployment could not make pods, in the API server's words.
    pub refused: Option<&'a str>,
    /// What agents that serve say of their devices, by UID of their pods.
    pub devices: BTreeMap<&'a str, &'a Devices>,
}

impl Agents<'_> {
    /// Agents that serve.
    pub fn ready(&self) -> u32 {
        let ready = self
            .pods
            .iter()
            .filter(|pod| pod.ready_address().is_some())
            .count();
        u32::try_from(ready).unwrap_or(u32::MAX)
    }

    /// Where the model stands, for its line in the status.
    pub fn phase(&self, inventory: &Inventory, requirements: &Requirements) -> ModelPhase {
        if self.ready() > 0 {
            return ModelPhase::Serving;
        }
        if self.wanted == 0 {
            return ModelPhase::Idle;
        }
        match self.wait(inventory, requirements) {
            Some(Wait {
                reason:
                    AgentsAvailable::AgentFailed
                    | AgentsAvailable::AgentUnrecognised
                    | AgentsAvailable::QuotaExceeded
                    | AgentsAvailable::LimitRangeExceeded
                    | AgentsAvailable::PodSecurityViolated
                    | AgentsAvailable::ServiceAccountMissing
                    | AgentsAvailable::PriorityClassMissing
                    | AgentsAvailable::RuntimeClassMissing
                    | AgentsAvailable::ImagePullFailed
                    | AgentsAvailable::DownloadFailed
                    | AgentsAvailable::VolumesNotReady
                    | AgentsAvailable::NoDriver
                    | AgentsAvailable::DriverTooOld
                    | AgentsAvailable::DriverFailed
                    | AgentsAvailable::NoVisibleGpu
                    | AgentsAvailable::GpuTooOld
                    | AgentsAvailable::GpuMemoryTooSmall
                    | AgentsAvailable::GpuMemoryTaken
                    | AgentsAvailable::KernelWrong
                    | AgentsAvailable::DeviceOutOfMemory
                    | AgentsAvailable::DeviceEccError
                    | AgentsAvailable::DeviceLost
                    | AgentsAvailable::DeviceFailed,
                ..
            }) => ModelPhase::Failed,
            // A file that somebody must put there; one that is being downloaded only takes its time.
            Some(Wait {
                reason: AgentsAvailable::ModelNotCached,
                ..
            }) if !self
                .pods
                .iter()
                .any(|pod| pod.state.obstacle() == Some(Obstacle::Model)) =>
            {
                ModelPhase::Failed
            }
            _ => ModelPhase::Starting,
        }
    }

    /// What keeps an agent from serving, or from serving with all of its devices; `None` once all that are wanted do.
    /// The worst comes first.
    pub fn wait(&self, inventory: &Inventory, requirements: &Requirements) -> Option<Wait> {
        let missing = self.missing(inventory, requirements);
        missing
            .into_iter()
            .chain(self.worn())
            .min_by_key(|wait| wait.rank)
    }

    /// What keeps an agent from serving.
    fn missing(&self, inventory: &Inventory, requirements: &Requirements) -> Option<Wait> {
        if self.ready() >= self.wanted {
            return None;
        }
        let refused = self.refused.map(Refusal::of);
        let Some((obstacle, pod)) = worst(self.pods.iter().copied(), refused) else {
            return Some(self.starting());
        };
        let message = match pod {
            Some(pod) => self.words(obstacle, pod, inventory, requirements),
            None => format!(
                "{}: no pod could be made: {}",
                self.model,
                self.refused.unwrap_or_default()
            ),
        };
        Some(Wait {
            rank: obstacle.rank(),
            reason: obstacle.reasons().provider,
            message,
        })
    }

    /// An agent that goes on without some of its devices: the first by name.
    fn worn(&self) -> Option<Wait> {
        let ended = |pod: &&'_ AgentPod| {
            pod.ready_address()?;
            let devices = *self.devices.get(pod.uid.as_str())?;
            Some((pod.name.clone(), devices, *devices.ended.first()?))
        };
        let worn = self.pods.iter().filter_map(ended);
        let (agent, devices, end) = worn.min_by(|(a, ..), (b, ..)| a.cmp(b))?;
        let (serving, given) = (devices.serving(), devices.given);
        let (model, words) = (self.model, end.words());
        Some(Wait {
            rank: WORN_RANK,
            reason: match end {
                DeviceEnd::Gpu(fault) => fault.into(),
                DeviceEnd::Engine => AgentsAvailable::AgentFailed,
            },
            message: format!("{model}: agent {agent} goes on with {serving} of {given} devices: {words}"),
        })
    }

    fn words(
        &self,
        obstacle: Obstacle,
        pod: &AgentPod,
        inventory: &Inventory,
        requirements: &Requirements,
    ) -> String {
        let (model, agent) = (self.model, &pod.name);
        match &pod.state {
            AgentState::Crashing(words)
            | AgentState::ImagePullFailed(words)
            | AgentState::VolumesMissing(words)
            | AgentState::VolumesNotReady(words) => format!("{model}: {words}"),
            AgentState::AwaitingModel { node, fetch } => awaiting(model, node, fetch),
            AgentState::Unrecognised(why) => {
                format!("{model}: pod {agent} is no agent, and nothing is asked of it: {why}")
            }
            AgentState::GpuUnusable(fault) => {
                format!("{model}: agent {agent} cannot use its device: {}", fault.words())
            }
            AgentState::Unschedulable(words) if obstacle == Obstacle::Node(Shortage::Gpus) => {
                let need = need(self.gpus_per_replica, inventory, requirements);
                format!("{model} {need} (scheduler: {words})")
            }
            AgentState::Unschedulable(words) => {
                format!("{model}: no node takes agent {agent} (scheduler: {words})")
            }
            AgentState::Rejected(Rejection { node, words, .. }) => {
                format!("{model}: node {node} does not take agent {agent} (kubelet: {words})")
            }
            AgentState::Starting | AgentState::Ready(_) | AgentState::Terminating | AgentState::Gone => {
                self.starting().message
            }
        }
    }

    fn starting(&self) -> Wait {
        let message = format!(
            "{}: {} of {} agents serve, the others are starting",
            self.model,
            self.ready(),
            self.wanted
        );
        Wait {
            rank: Obstacle::Starting.rank(),
            reason: Obstacle::Starting.reasons().provider,
            message,
        }
    }
}

/// What an agent waits for whose node has no copy of its model.
fn awaiting(model: &str, node: &str, fetch: &Fetch) -> String {
    match fetch {
        Fetch::Downloading => {
            format!(
                "{model}: node {node} has no copy yet; it is downloaded, and status.models says how far it is"
            )
        }
        Fetch::Stuck(words) => format!("{model}: its download onto node {node} does not start: {words}"),
        Fetch::Failed(fault) => format!("{model}: its download onto node {node} failed: {}", fault.words()),
    }
}

/// What an agent that is wanted waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    rank: u8,
    /// Typed reason.
    pub reason: AgentsAvailable,
    /// For a person.
    pub message: String,
}

/// What one agent takes and how much of it there is: `needs 1 nvidia.com/gpu on a node with
/// nvidia.com/gpu.present=true; 0 of 2 free`.
pub fn need(gpus: u32, inventory: &Inventory, requirements: &Requirements) -> String {
    let selector = selector_text(&requirements.node_selector);
    if gpus == 0 {
        return format!(
            "needs a node with {selector}; {} of {} ready",
            inventory.nodes.ready, inventory.nodes.matched
        );
    }
    let counts = inventory.gpus;
    let mut text = format!(
        "needs {gpus} {} on a node with {selector}; {} of {} free",
        requirements.resource_name, counts.free, counts.allocatable
    );
    if counts.free >= gpus && inventory.fitting(gpus) == Some(0) {
        text.push_str(", on no node as many together");
    }
    text
}

/// `AgentsAvailable` over all models.
pub fn available(
    agents: &[Agents<'_>],
    bounded: &[String],
    inventory: &Inventory,
    requirements: &Requirements,
) -> Observation {
    let wanted: u32 = agents
        .iter()
        .map(|agents| agents.wanted)
        .fold(0, u32::saturating_add);
    let worst = agents
        .iter()
        .filter_map(|agents| agents.wait(inventory, requirements))
        .min_by(|a, b| (a.rank, &a.message).cmp(&(b.rank, &b.message)));
    match worst {
        Some(wait) => wait.reason.condition(wait.message),
        None if !bounded.is_empty() => AgentsAvailable::ScaledToZero.condition(bounded.join("; ")),
        None if wanted == 0 => AgentsAvailable::ScaledToZero.condition("no work, so no agent runs"),
        None => AgentsAvailable::AgentsReady.condition(format!("{wanted} of {wanted} agents serve")),
    }
}

#[cfg(test)]
mod tests;
