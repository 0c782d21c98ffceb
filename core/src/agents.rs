//! Agents as pods show them: which serve, which wait, and what they wait for.

use std::net::IpAddr;

use cocoon_api::names;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

/// Waiting reasons of a container that mean its image cannot be had.
const IMAGE_FAILURES: [&str; 4] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
];

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
    /// Its image cannot be had; the kubelet's words.
    ImagePullFailed(String),
    /// Its container ends; the last words of the agent.
    Crashing(String),
    /// Being deleted; it may still answer.
    Terminating,
    /// Ended.
    Gone,
}

impl AgentPod {
    /// Reads a pod that carries the labels of an agent; `None` for any other pod.
    pub fn from_pod(pod: &Pod) -> Option<Self> {
        let labels = pod.metadata.labels.as_ref()?;
        if labels.get(names::COMPONENT_LABEL).map(String::as_str) != Some(names::AGENT_COMPONENT) {
            return None;
        }
        Some(Self {
            name: pod.metadata.name.clone()?,
            uid: pod.metadata.uid.clone()?,
            model: labels.get(names::MODEL_LABEL)?.clone(),
            state: state(pod),
            address: address(pod),
        })
    }

    /// The address at which it serves.
    pub fn ready_address(&self) -> Option<IpAddr> {
        match self.state {
            AgentState::Ready(address) => Some(address),
            _ => None,
        }
    }
}

fn state(pod: &Pod) -> AgentState {
    let Some(status) = &pod.status else {
        return AgentState::Starting;
    };
    if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        return AgentState::Gone;
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return AgentState::Terminating;
    }
    if let (true, Some(address)) = (condition(status, "Ready").is_some_and(|(is, _)| is), address(pod)) {
        return AgentState::Ready(address);
    }
    if let Some((false, message)) = condition(status, "PodScheduled") {
        return AgentState::Unschedulable(message);
    }
    status
        .container_statuses
        .iter()
        .flatten()
        .find_map(container_failure)
        .unwrap_or(AgentState::Starting)
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

fn container_failure(container: &ContainerStatus) -> Option<AgentState> {
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    if let Some(waiting) = waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        if IMAGE_FAILURES.contains(&reason) {
            return Some(AgentState::ImagePullFailed(
                waiting.message.clone().unwrap_or_else(|| reason.into()),
            ));
        }
    }
    let ended = [&container.state, &container.last_state]
        .into_iter()
        .find_map(|state| state.as_ref().and_then(|state| state.terminated.as_ref()))?;
    let words = ended
        .message
        .as_deref()
        .map(str::trim)
        .filter(|words| !words.is_empty());
    Some(AgentState::Crashing(match words {
        Some(words) => words.to_owned(),
        None => format!("the agent ended with exit code {}", ended.exit_code),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "a", "uid": "u", "labels": {
                "app.kubernetes.io/component": "gpu-agent", "cocoon.farm/model": "m"}},
            "status": status,
        }))
        .unwrap()
    }

    fn state_of(status: &serde_json::Value) -> AgentState {
        AgentPod::from_pod(&pod(status)).unwrap().state
    }

    #[test]
    fn a_ready_pod_serves_at_its_address() {
        let status = json!({"podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}]});
        assert_eq!(state_of(&status), AgentState::Ready("10.0.0.7".parse().unwrap()));
    }

    #[test]
    fn an_agent_that_does_not_serve_can_still_be_asked_at_its_address() {
        let hung = pod(&json!({"podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "False"}]}));
        let hung = AgentPod::from_pod(&hung).unwrap();
        assert_eq!(
            (hung.ready_address(), hung.address),
            (None, Some("10.0.0.7".parse().unwrap()))
        );
    }

    #[test]
    fn an_unschedulable_pod_repeats_the_schedulers_words() {
        let status = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient nvidia.com/gpu"}]});
        assert_eq!(
            state_of(&status),
            AgentState::Unschedulable("Insufficient nvidia.com/gpu".into())
        );
    }

    #[test]
    fn a_crashing_agent_is_quoted() {
        let status = json!({"conditions": [{"type": "PodScheduled", "status": "True"}], "containerStatuses": [
            {"name": "agent", "image": "i", "imageID": "", "ready": false, "restartCount": 1,
             "state": {"waiting": {"reason": "CrashLoopBackOff"}},
             "lastState": {"terminated": {"exitCode": 1, "message": "sha256 mismatch\n"}}}]});
        assert_eq!(state_of(&status), AgentState::Crashing("sha256 mismatch".into()));
    }

    #[test]
    fn other_pods_are_not_agents() {
        assert_eq!(AgentPod::from_pod(&Pod::default()), None);
    }
}
