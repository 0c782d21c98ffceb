//! Agents as pods show them: which serve, which wait, and what they wait for.

use std::net::IpAddr;

use cocoon_api::{
    agent::{GPU_EXIT_STATUS, GpuFault, START_EXIT_STATUS, StartFault},
    names,
};
use k8s_openapi::{
    api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodStatus},
    jiff::Timestamp,
};

pub mod fetch;
pub mod lost;
mod model_file;
mod obstacle;
pub mod pods;
pub mod recognition;
pub mod rejected;
mod volumes;
pub mod worst;

pub use model_file::MODEL_VOLUME;
pub use obstacle::{Obstacle, Reasons, Refusal, Shortage};
pub use rejected::Rejection;

use recognition::Stranger;

/// Waiting reasons of a container that mean its image cannot be had.
const IMAGE_FAILURES: [&str; 7] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
];
/// Waiting reasons of a container that nothing is wrong with: volumes, sandbox and image are still prepared.
const PREPARING: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// Waiting reason of a container that is started again later, because it ended before. How it ended says more.
const CRASH_LOOP: &str = "CrashLoopBackOff";

/// One agent's pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentPod {
    /// Name of the pod.
    pub name: String,
    /// UID of the pod.
    pub uid: String,
    /// The model that it serves.
    pub model: String,
    /// Where it stands.
    pub state: AgentState,
    /// Its address, whether it serves there or not.
    pub address: Option<IpAddr>,
    /// The cluster takes it from its node: it is evicted, preempted, or its node is drained. No fault of its jobs.
    pub displaced: bool,
}

/// Where an agent stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AgentState {
    /// Serves at this address.
    Ready(IpAddr),
    /// Starting, or loading its model.
    Starting,
    /// No node takes it; the scheduler's words.
    Unschedulable(String),
    /// Its node's kubelet does not take it. It has ended; another pod is made in its place.
    Rejected(Rejection),
    /// Its image cannot be had; the kubelet's words.
    ImagePullFailed(String),
    /// Its node has no copy of its model yet.
    AwaitingModel {
        /// The node.
        node: String,
        /// Where the download stands.
        fetch: fetch::Fetch,
    },
    /// The file of its model, of a path of its node, is not there in time; what the pod shows of that.
    VolumesMissing(String),
    /// Its volumes, of which the model's is a claimed one, are not set up in time; what the pod shows of that.
    VolumesNotReady(String),
    /// It cannot use the GPUs that it was given, and ends.
    GpuUnusable(GpuFault),
    /// Its container ends, or cannot be made: what the code means with which it ended, or the kubelet's words. An
    /// agent's own words may hold anything and are not repeated.
    Crashing(String),
    /// It serves, and is no agent of the provider: nothing is asked of it.
    Unrecognised(Stranger),
    /// Being deleted; it may still answer.
    Terminating,
    /// Ended.
    Gone,
}

impl AgentState {
    /// Whether its pod has ended.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Gone | Self::Rejected(_))
    }

    /// What keeps it from serving; none where it serves, or where it is to serve no more.
    pub fn obstacle(&self) -> Option<Obstacle> {
        Some(match self {
            Self::Ready(_) | Self::Terminating | Self::Gone => return None,
            Self::Crashing(_) => Obstacle::Failed,
            Self::Unrecognised(_) => Obstacle::Stranger,
            Self::GpuUnusable(fault) => Obstacle::Device(*fault),
            Self::ImagePullFailed(_) => Obstacle::Image,
            Self::AwaitingModel {
                fetch: fetch::Fetch::Failed(_),
                ..
            } => Obstacle::Download,
            Self::AwaitingModel { .. } => Obstacle::Model,
            Self::VolumesMissing(_) => Obstacle::File,
            Self::VolumesNotReady(_) => Obstacle::Volumes,
            Self::Unschedulable(words) => Obstacle::Node(Shortage::of(words)),
            Self::Rejected(rejection) => Obstacle::Node(rejection.shortage),
            Self::Starting => Obstacle::Starting,
        })
    }
}

impl AgentPod {
    /// Reads a pod that carries the labels of an agent; `None` for any other pod. What does not become true in time is
    /// told by `now`: no event says it.
    pub fn from_pod(pod: &Pod, now: Timestamp) -> Option<Self> {
        let labels = pod.metadata.labels.as_ref()?;
        if labels.get(names::COMPONENT_LABEL).map(String::as_str) != Some(names::AGENT_COMPONENT) {
            return None;
        }
        Some(Self {
            name: pod.metadata.name.clone()?,
            uid: pod.metadata.uid.clone()?,
            model: labels.get(names::MODEL_LABEL)?.clone(),
            state: state(pod, now),
            address: address(pod),
            displaced: is_displaced(pod),
        })
    }

    /// What is known of a pod that serves: `stranger` says why it is no agent, if it is none.
    #[must_use]
    pub fn recognised(mut self, stranger: Option<Stranger>) -> Self {
        if let (AgentState::Ready(_), Some(why)) = (&self.state, stranger) {
            self.state = AgentState::Unrecognised(why);
        }
        self
    }

    /// The address at which it serves.
    pub fn ready_address(&self) -> Option<IpAddr> {
        match self.state {
            AgentState::Ready(address) => Some(address),
            _ => None,
        }
    }
}

fn state(pod: &Pod, now: Timestamp) -> AgentState {
    let Some(status) = &pod.status else {
        return AgentState::Starting;
    };
    if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        return Rejection::of(pod)
            .filter(|_| !rejected::is_past(pod, now))
            .map_or(AgentState::Gone, AgentState::Rejected);
    }
    // What is to be evicted is deleted in a moment, and gets no new work.
    if pod.metadata.deletion_timestamp.is_some() || is_displaced(pod) {
        return AgentState::Terminating;
    }
    if let (true, Some(address)) = (condition(status, "Ready").is_some_and(|(is, _)| is), address(pod)) {
        return AgentState::Ready(address);
    }
    if let Some((false, message)) = condition(status, "PodScheduled") {
        return AgentState::Unschedulable(message);
    }
    if let Some(awaiting) = fetch::awaited(pod) {
        return awaiting;
    }
    let missing = |words| {
        if model_file::is_on_host(pod) {
            AgentState::VolumesMissing(words)
        } else {
            AgentState::VolumesNotReady(words)
        }
    };
    status
        .container_statuses
        .iter()
        .flatten()
        .find_map(|container| container_failure(container, pod))
        .or_else(|| volumes::missing(pod, now).map(missing))
        .unwrap_or(AgentState::Starting)
}

/// Kubernetes says so itself, whoever asked for it: the eviction API, the scheduler, a taint, or the kubelet under
/// pressure.
fn is_displaced(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    status
        .and_then(|status| condition(status, "DisruptionTarget"))
        .is_some_and(|(is, _)| is)
}

fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok()
}

fn condition(status: &PodStatus, type_: &str) -> Option<(bool, String)> {
    let found = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == type_)?;
    Some((found.status == "True", found.message.clone().unwrap_or_default()))
}

fn container_failure(container: &ContainerStatus, pod: &Pod) -> Option<AgentState> {
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
    let kubelet = waiting
        .and_then(|waiting| waiting.message.as_deref())
        .map(str::trim)
        .filter(|words| !words.is_empty());
    match reason {
        None | Some(CRASH_LOOP) => {}
        Some(reason) if PREPARING.contains(&reason) => {}
        Some(reason) if IMAGE_FAILURES.contains(&reason) => {
            return Some(AgentState::ImagePullFailed(kubelet.unwrap_or(reason).to_owned()));
        }
        Some(reason) => return Some(AgentState::Crashing(said(reason, kubelet))),
    }
    let Some(ended) = last_end(container) else {
        return (reason == Some(CRASH_LOOP)).then(|| AgentState::Crashing(said(CRASH_LOOP, kubelet)));
    };
    let words = ended.message.as_deref().unwrap_or_default();
    let fault = match ended.exit_code {
        GPU_EXIT_STATUS => GpuFault::of_last_words(words).map(AgentState::GpuUnusable),
        START_EXIT_STATUS => StartFault::of_last_words(words).map(|fault| cannot_start(fault, pod)),
        _ => None,
    };
    Some(fault.unwrap_or_else(|| AgentState::Crashing(logged(ended.exit_code, pod))))
}

/// How a container ended last.
fn last_end(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    [&container.state, &container.last_state]
        .into_iter()
        .find_map(|state| state.as_ref().and_then(|state| state.terminated.as_ref()))
}

/// Whether the agent ended because its node's copy of the model was gone.
fn has_lost_copy(pod: &Pod) -> bool {
    let containers = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    containers.into_iter().flatten().any(|container| {
        let ended = last_end(container).filter(|ended| ended.exit_code == START_EXIT_STATUS);
        let words = ended.and_then(|ended| ended.message.as_deref());
        words.and_then(StartFault::of_last_words) == Some(StartFault::ModelCopyGone)
    })
}

/// Where an agent stands that says why it cannot start. Its node's copy of the model is downloaded again where it is
/// gone.
fn cannot_start(fault: StartFault, pod: &Pod) -> AgentState {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    match (fault, node) {
        (StartFault::ModelCopyGone, Some(node)) => AgentState::AwaitingModel {
            node,
            fetch: fetch::Fetch::Downloading,
        },
        _ => AgentState::Crashing(refused(fault, pod)),
    }
}

/// What a code means to the farm, which knows the model's file by where it lies.
fn refused(fault: StartFault, pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let file = model_file::origin(pod).filter(|_| fault.is_of_file());
    let file = file.map_or_else(String::new, |origin| format!("; the file is {origin}"));
    format!("agent {name} ends with {}: {}{file}", fault.word(), fault.words())
}

/// An end without a code; the agent's log, which only the farm reads, says more.
fn logged(exit_code: i32, pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    format!(
        "agent {name} ended with exit code {exit_code}: `kubectl logs --previous -n {namespace} {name}` shows its last words"
    )
}

/// The kubelet's reason, with its words where it has any.
fn said(reason: &str, words: Option<&str>) -> String {
    match words {
        Some(words) => format!("{reason}: {words}"),
        None => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
