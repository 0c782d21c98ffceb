//! Whether the agents that are wanted serve, and what the others wait for.

use std::collections::BTreeMap;

use cocoon_api::{
    agent::{DeviceEnd, Devices},
    conditions::{AgentsAvailable, Observation, Reason as _},
    crd::provider::ModelPhase,
};

use crate::{
    agents::{AgentPod, AgentState, Obstacle, Refusal, Shortage, fetch::Fetch, worst::worst},
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
mod tests {
    use cocoon_api::agent::{FetchFault, GpuFault};

    use super::*;

    fn pod(state: AgentState) -> AgentPod {
        AgentPod {
            name: "p".into(),
            uid: "u".into(),
            model: "m".into(),
            state,
            address: None,
            displaced: false,
        }
    }

    fn world() -> (Inventory, Requirements) {
        let requirements = Requirements {
            resource_name: "nvidia.com/gpu".into(),
            node_selector: [("nvidia.com/gpu.present".to_owned(), "true".to_owned())].into(),
            ..Requirements::default()
        };
        let mut inventory = Inventory::take([], [], &requirements);
        inventory.gpus.allocatable = 2;
        (inventory, requirements)
    }

    fn judge(wanted: u32, pods: &[AgentPod]) -> Observation {
        let (inventory, requirements) = world();
        let agents = Agents {
            model: "m",
            gpus_per_replica: 1,
            wanted,
            pods: pods.iter().collect(),
            refused: None,
            devices: BTreeMap::new(),
        };
        available(&[agents], &[], &inventory, &requirements)
    }

    #[test]
    fn a_wait_for_gpus_says_how_many_where_and_what_is_free() {
        let observed = judge(
            1,
            &[pod(AgentState::Unschedulable(
                "Insufficient nvidia.com/gpu".into(),
            ))],
        );
        assert_eq!((observed.status, observed.reason), (false, "InsufficientGPU"));
        assert_eq!(
            observed.message,
            "m needs 1 nvidia.com/gpu on a node with nvidia.com/gpu.present=true; 0 of 2 free \
             (scheduler: Insufficient nvidia.com/gpu)"
        );
    }

    #[test]
    fn what_is_missing_is_not_called_a_gpu_where_it_is_none() {
        let words = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable.";
        let observed = judge(1, &[pod(AgentState::Unschedulable(words.into()))]);
        assert_eq!(
            (observed.status, observed.reason),
            (false, "InsufficientResources")
        );
        assert_eq!(
            observed.message,
            format!("m: no node takes agent p (scheduler: {words})")
        );
        let (inventory, requirements) = world();
        let agents = Agents {
            model: "m",
            gpus_per_replica: 1,
            wanted: 1,
            pods: Vec::new(),
            refused: Some("pods \"p\" is forbidden: exceeded quota: small"),
            devices: BTreeMap::new(),
        };
        assert_eq!(agents.phase(&inventory, &requirements), ModelPhase::Failed);
        let observed = available(&[agents], &[], &inventory, &requirements);
        assert_eq!(observed.reason, "QuotaExceeded");
        assert!(
            observed.message.contains("no pod could be made"),
            "{}",
            observed.message
        );
    }

    #[test]
    fn the_worst_of_several_waits_is_told() {
        let pods = [
            pod(AgentState::Starting),
            pod(AgentState::Unschedulable("x".into())),
            pod(AgentState::VolumesMissing("y".into())),
            pod(AgentState::Crashing("sha256 mismatch".into())),
        ];
        let observed = judge(4, &pods);
        assert_eq!(
            (observed.reason, observed.message.as_str()),
            ("AgentFailed", "m: sha256 mismatch")
        );
        let observed = judge(3, &pods[..3]);
        assert_eq!(
            (observed.reason, observed.message.as_str()),
            ("ModelNotCached", "m: y")
        );
    }

    #[test]
    fn a_download_that_runs_is_a_start_and_one_that_failed_is_a_failure_with_its_words() {
        let (inventory, requirements) = world();
        let told = |fetch| {
            let state = AgentState::AwaitingModel {
                node: "n1".into(),
                fetch,
            };
            let waiting = pod(state);
            let agents = Agents {
                model: "m",
                gpus_per_replica: 1,
                wanted: 1,
                pods: vec![&waiting],
                refused: None,
                devices: BTreeMap::new(),
            };
            let observed = judge(1, std::slice::from_ref(&waiting));
            (
                observed.reason,
                observed.message,
                agents.phase(&inventory, &requirements),
            )
        };
        let (reason, message, phase) = told(Fetch::Downloading);
        assert_eq!((reason, phase), ("ModelNotCached", ModelPhase::Starting));
        assert!(message.starts_with("m: node n1 has no copy yet"), "{message}");
        let (reason, message, phase) = told(Fetch::Failed(FetchFault::HttpStatus(404)));
        assert_eq!((reason, phase), ("DownloadFailed", ModelPhase::Failed));
        assert!(
            message.contains("node n1") && message.contains("HTTP 404"),
            "{message}"
        );
        let (reason, message, _) = told(Fetch::Stuck("why".into()));
        assert_eq!(reason, "ModelNotCached");
        assert!(message.ends_with("does not start: why"), "{message}");
    }

    #[test]
    fn a_gpu_that_cannot_be_used_has_a_reason_of_its_own_and_words_for_the_farm() {
        for fault in GpuFault::ALL {
            let observed = judge(1, &[pod(AgentState::GpuUnusable(fault))]);
            assert_eq!((observed.status, observed.reason), (false, fault.word()));
            assert_eq!(
                observed.message,
                format!("m: agent p cannot use its device: {}", fault.words())
            );
            let (inventory, requirements) = world();
            let unusable = pod(AgentState::GpuUnusable(fault));
            let agents = Agents {
                model: "m",
                gpus_per_replica: 1,
                wanted: 1,
                pods: vec![&unusable],
                refused: None,
                devices: BTreeMap::new(),
            };
            assert_eq!(agents.phase(&inventory, &requirements), ModelPhase::Failed);
        }
    }

    #[test]
    fn a_device_that_has_ended_is_told_before_a_start_and_after_an_agent_that_does_not_serve() {
        let (inventory, requirements) = world();
        let ended = |ended: &[DeviceEnd]| Devices {
            given: 3,
            ended: ended.to_vec(),
        };
        let worn = ended(&[DeviceEnd::Gpu(GpuFault::DeviceEccError), DeviceEnd::Engine]);
        let engine = ended(&[DeviceEnd::Engine]);
        let serving = pod(AgentState::Ready("10.0.0.1".parse().unwrap()));
        let told = |other: AgentState, wanted: u32, devices: &Devices| {
            let other = AgentPod {
                uid: "v".into(),
                name: "q".into(),
                ..pod(other)
            };
            let agents = Agents {
                model: "m",
                gpus_per_replica: 3,
                wanted,
                pods: vec![&other, &serving],
                refused: None,
                devices: [("u", devices)].into(),
            };
            assert_eq!(agents.phase(&inventory, &requirements), ModelPhase::Serving);
            let observed = available(&[agents], &[], &inventory, &requirements);
            (observed.status, observed.reason, observed.message)
        };
        let (status, reason, message) = told(AgentState::Starting, 2, &worn);
        assert_eq!((status, reason), (false, "DeviceEccError"));
        let words = GpuFault::DeviceEccError.words();
        assert_eq!(
            message,
            format!("m: agent p goes on with 1 of 3 devices: {words}")
        );
        let (status, reason, message) = told(AgentState::Gone, 1, &engine);
        assert_eq!((status, reason), (false, "AgentFailed"));
        assert!(
            message.starts_with("m: agent p goes on with 2 of 3 devices"),
            "{message}"
        );
        assert_eq!(
            told(AgentState::ImagePullFailed("no".into()), 2, &worn).1,
            "ImagePullFailed"
        );
        assert_eq!(told(AgentState::Starting, 2, &ended(&[])).1, "Starting");
    }

    #[test]
    fn agents_serve_start_or_are_not_wanted() {
        let ready = pod(AgentState::Ready("10.0.0.1".parse().unwrap()));
        assert_eq!(judge(1, std::slice::from_ref(&ready)).reason, "AgentsReady");
        assert_eq!(judge(2, &[ready]).reason, "Starting");
        assert_eq!(judge(1, &[]).reason, "Starting");
        assert_eq!(judge(0, &[]).reason, "ScaledToZero");
    }
}
