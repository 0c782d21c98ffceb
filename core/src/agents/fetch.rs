//! Downloads of models onto nodes, as their pods show them: which are due, which go, and what an agent waits for that
//! waits for one.

use std::{collections::BTreeSet, net::IpAddr};

use cocoon_api::{
    agent::{FETCH_EXIT_STATUS, FetchFault},
    names,
};
use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod},
    jiff::{SignedDuration, Timestamp},
};

use super::{AgentPod, AgentState, CRASH_LOOP, IMAGE_FAILURES, PREPARING, Rejection, said};

/// Name of the container of an agent's pod that waits until the node has a copy of the model.
pub const AWAIT_CONTAINER: &str = "await-model";
/// How long a download that was started again must run until its last end is what was: one that is refused ends in a
/// moment.
const TAKEN_UP: SignedDuration = SignedDuration::from_secs(30);

/// A pod that downloads a model onto its node. One that has ended is none, but for one that its node rejected.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FetchPod {
    /// The model.
    pub model: String,
    /// The node.
    pub node: String,
    /// Name of the pod.
    pub name: String,
    /// UID of the pod.
    pub uid: String,
    /// Where it says how far it is.
    pub address: Option<IpAddr>,
    /// Where it stands.
    pub state: Fetch,
}

/// Where a download stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fetch {
    /// It is under way, or about to be.
    Downloading,
    /// Its node rejects it, or its container cannot be made, or ends; the kubelet's words, or what they mean.
    Stuck(String),
    /// It failed, and is tried again.
    Failed(FetchFault),
}

impl FetchPod {
    /// Reads a pod that carries the labels of a download; `None` for any other, and for one that is being deleted.
    pub fn from_pod(pod: &Pod, now: Timestamp) -> Option<Self> {
        let labels = pod.metadata.labels.as_ref()?;
        let is_download = labels
            .get(names::COMPONENT_LABEL)
            .is_some_and(|name| name == names::DOWNLOAD_COMPONENT);
        if !is_download || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let status = pod.status.as_ref();
        let has_ended = status
            .and_then(|status| status.phase.as_deref())
            .is_some_and(|phase| matches!(phase, "Failed" | "Succeeded"));
        let rejection = Rejection::of(pod);
        if has_ended && rejection.is_none() {
            return None;
        }
        let container = status.and_then(|status| status.container_statuses.as_ref()?.first());
        Some(Self {
            model: labels.get(names::MODEL_LABEL)?.clone(),
            node: pod.spec.as_ref()?.node_name.clone()?,
            name: pod.metadata.name.clone()?,
            uid: pod.metadata.uid.clone()?,
            address: status.and_then(|status| status.pod_ip.as_deref()?.parse().ok()),
            state: rejection
                .map(|rejection| Fetch::Stuck(rejection.words))
                .or_else(|| container.map(|container| stands(container, now)))
                .unwrap_or(Fetch::Downloading),
        })
    }
}

/// Where the download in this container stands.
fn stands(container: &ContainerStatus, now: Timestamp) -> Fetch {
    let state = container.state.as_ref();
    let ended = [&container.state, &container.last_state]
        .into_iter()
        .find_map(|state| state.as_ref()?.terminated.as_ref());
    let fault = ended
        .filter(|ended| ended.exit_code == FETCH_EXIT_STATUS)
        .and_then(|ended| FetchFault::of_last_words(ended.message.as_deref()?));
    if let Some(running) = state.and_then(|state| state.running.as_ref()) {
        // One whose file was another is held back for long; any other that runs on has got further.
        let since = running.started_at.as_ref().map(|time| time.0);
        let is_taken_up = since.is_some_and(|since| now.duration_since(since) >= TAKEN_UP);
        return match fault {
            Some(fault) if fault == FetchFault::DigestMismatch || !is_taken_up => Fetch::Failed(fault),
            _ => Fetch::Downloading,
        };
    }
    if let Some(fault) = fault {
        return Fetch::Failed(fault);
    }
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let words = waiting.and_then(|waiting| waiting.message.as_deref());
    match waiting.and_then(|waiting| waiting.reason.as_deref()) {
        Some(reason) if reason != CRASH_LOOP && !PREPARING.contains(&reason) => {
            Fetch::Stuck(said(reason, words))
        }
        _ => match ended {
            Some(ended) if ended.exit_code != 0 => {
                Fetch::Stuck(format!("it ended with exit code {}", ended.exit_code))
            }
            _ => Fetch::Downloading,
        },
    }
}

/// What the init container of an agent's pod says that waits for the model; `None` where none waits.
pub(super) fn awaited(pod: &Pod) -> Option<AgentState> {
    let status = pod.status.as_ref()?;
    let container = status
        .init_container_statuses
        .iter()
        .flatten()
        .find(|container| container.name == AWAIT_CONTAINER)?;
    let node = pod.spec.as_ref()?.node_name.clone()?;
    let state = container.state.as_ref()?;
    let ended = [&container.state, &container.last_state]
        .into_iter()
        .find_map(|state| state.as_ref()?.terminated.as_ref());
    let fault = ended
        .filter(|ended| ended.exit_code == FETCH_EXIT_STATUS)
        .and_then(|ended| FetchFault::of_last_words(ended.message.as_deref()?));
    if state
        .terminated
        .as_ref()
        .is_some_and(|ended| ended.exit_code == 0)
    {
        return None;
    }
    if let Some(fault) = fault {
        let fetch = Fetch::Failed(fault);
        return Some(AgentState::AwaitingModel { node, fetch });
    }
    if state.running.is_some() {
        let fetch = Fetch::Downloading;
        return Some(AgentState::AwaitingModel { node, fetch });
    }
    let waiting = state.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    if IMAGE_FAILURES.contains(&reason) {
        let words = waiting.message.as_deref().unwrap_or(reason);
        return Some(AgentState::ImagePullFailed(words.to_owned()));
    }
    let is_preparing = PREPARING.contains(&reason) || reason == CRASH_LOOP;
    (!is_preparing).then(|| AgentState::Crashing(said(reason, waiting.message.as_deref())))
}

/// Tells agents that wait for a model what their node's download says; `refused`, where it is not there and something
/// that is made for the provider is refused, is why.
pub fn tell(agents: &mut [AgentPod], downloads: &[FetchPod], refused: Option<&str>) {
    for agent in agents {
        let AgentState::AwaitingModel { node, fetch } = &mut agent.state else {
            continue;
        };
        let download = downloads
            .iter()
            .find(|download| download.model == agent.model && download.node == *node);
        if *fetch != Fetch::Downloading {
            continue;
        }
        if let Some(download) = download {
            *fetch = download.state.clone();
        } else if let Some(words) = refused {
            *fetch = Fetch::Stuck(words.to_owned());
        }
    }
}

/// Model and node of an agent's pod whose model was there when it started.
pub fn copy_of(pod: &Pod) -> Option<(String, String)> {
    let has_ended = |container: &ContainerStatus| {
        let ended = container
            .state
            .as_ref()
            .and_then(|state| state.terminated.as_ref());
        container.name == AWAIT_CONTAINER && ended.is_some_and(|ended| ended.exit_code == 0)
    };
    let containers = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    let model = pod.metadata.labels.as_ref()?.get(names::MODEL_LABEL)?.clone();
    let node = pod.spec.as_ref()?.node_name.clone()?;
    containers.iter().any(has_ended).then_some((model, node))
}

/// Downloads that are to begin, by model and node, and those that go.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Models and nodes.
    pub start: BTreeSet<(String, String)>,
    /// Pods.
    pub remove: Vec<FetchPod>,
}

/// What is due: each node on which an agent waits for a model has one download of it, under the name that `name` gives
/// it; `None` is a model that is not downloaded. One that nobody waits for goes on while it gets on, for the next
/// agent, and goes where it does not.
pub fn due(agents: &[AgentPod], downloads: &[FetchPod], name: impl Fn(&str, &str) -> Option<String>) -> Due {
    let waiting: BTreeSet<(String, String)> = agents
        .iter()
        .filter_map(|agent| match &agent.state {
            AgentState::AwaitingModel { node, .. } => Some((agent.model.clone(), node.clone())),
            _ => None,
        })
        .filter(|(model, node)| name(model, node).is_some())
        .collect();
    let (kept, remove): (Vec<_>, Vec<_>) = downloads.iter().partition(|download| {
        let is_current = name(&download.model, &download.node).is_some_and(|name| name == download.name);
        let is_wanted = waiting.contains(&(download.model.clone(), download.node.clone()));
        is_current && (is_wanted || download.state == Fetch::Downloading)
    });
    let mut start = waiting;
    for download in kept {
        start.remove(&(download.model.clone(), download.node.clone()));
    }
    Due {
        start,
        remove: remove.into_iter().cloned().collect(),
    }
}

#[cfg(test)]
mod tests;
