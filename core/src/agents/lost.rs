//! An agent that cannot start where it is. The kubelet starts its container again in the same pod, and a pod keeps the
//! GPUs that it was given, and has its node's copy of the model awaited once: only another pod can get a healthy GPU,
//! or wait for a copy again.

use cocoon_api::agent::{GpuFault, StartFault};
use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod},
    jiff::{SignedDuration, Timestamp},
};

use super::{AgentPod, AgentState, has_lost_copy};

/// How old a pod must be to be replaced. A pod may be given the lost GPU again where the device plugin does not notice
/// that it is lost: then there is a new pod this often, which costs the API server less than the starts in between, and
/// leaves time to drain the node.
const LEAST_AGE: SignedDuration = SignedDuration::from_mins(2);

/// An agent in whose place another pod is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Name of its pod.
    pub pod: String,
    /// UID of its pod.
    pub uid: String,
    /// What it has lost.
    pub what: Loss,
}

/// What an agent has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its GPU.
    Gpu(GpuFault),
    /// Its node's copy of the model, which was evicted after it had been awaited.
    Copy,
}

impl Loss {
    /// The word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gpu(fault) => fault.word(),
            Self::Copy => StartFault::ModelCopyGone.word(),
        }
    }

    /// What it means, and what the farm can do.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Gpu(fault) => fault.words(),
            Self::Copy => StartFault::ModelCopyGone.words(),
        }
    }
}

/// The agent in this pod, if another pod is to take its place: it has lost what it needs, was started again, and did
/// not find it.
pub fn lost(pod: &Pod, now: Timestamp) -> Option<Lost> {
    let agent = AgentPod::from_pod(pod, now)?;
    let what = match agent.state {
        AgentState::GpuUnusable(fault @ (GpuFault::DeviceLost | GpuFault::DeviceEccError)) => {
            Loss::Gpu(fault)
        }
        AgentState::AwaitingModel { .. } if has_lost_copy(pod) => Loss::Copy,
        _ => return None,
    };
    let created = pod.metadata.creation_timestamp.as_ref()?.0;
    let mut containers = pod.status.as_ref()?.container_statuses.iter().flatten();
    let is_old = now.duration_since(created) >= LEAST_AGE;
    (is_old && containers.any(was_started_in_vain)).then_some(Lost {
        pod: agent.name,
        uid: agent.uid,
        what,
    })
}

/// Whether it ended again after it was started again. While it runs, what it lost may have come back.
fn was_started_in_vain(container: &ContainerStatus) -> bool {
    let runs = container
        .state
        .as_ref()
        .is_some_and(|state| state.running.is_some());
    container.restart_count > 0 && !runs
}

#[cfg(test)]
mod tests {
    use cocoon_api::{
        agent::{GPU_EXIT_STATUS, START_EXIT_STATUS},
        names,
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::agents::fetch::AWAIT_CONTAINER;

    const CREATED: &str = "2026-01-01T00:00:00Z";
    const LOST: &str = "error: DeviceLost: cannot open GPU 0";
    const GONE: &str = "error: ModelCopyGone: the node's copy of the model is gone";

    /// What a pod of that age has lost whose container was started again so often, is as `state` says, and ended before
    /// with `code`.
    fn loss(age: SignedDuration, restarts: u32, state: &Value, code: i32, words: &str) -> Option<Loss> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "a", "uid": "u", "creationTimestamp": CREATED, "labels": {
                names::COMPONENT_LABEL: names::AGENT_COMPONENT, names::MODEL_LABEL: "m"}},
            "spec": {"nodeName": "n", "containers": []},
            "status": {
                "initContainerStatuses": [{
                    "name": AWAIT_CONTAINER, "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                    "state": {"terminated": {"exitCode": 0}}}],
                "containerStatuses": [{
                    "name": "agent", "image": "i", "imageID": "", "ready": false, "restartCount": restarts,
                    "state": state, "lastState": {"terminated": {"exitCode": code, "message": words}}}]}}))
        .expect("a pod");
        let created: Timestamp = CREATED.parse().expect("a time");
        let lost = lost(&pod, created + age)?;
        assert_eq!((lost.pod.as_str(), lost.uid.as_str()), ("a", "u"));
        Some(lost.what)
    }

    fn replaced(age: SignedDuration, restarts: u32, state: &Value, words: &str) -> bool {
        loss(age, restarts, state, GPU_EXIT_STATUS, words).is_some()
    }

    #[test]
    fn an_agent_whose_copy_was_evicted_between_its_end_and_its_next_start_is_replaced() {
        let waits = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let loss = |restarts: u32, state: &Value, words: &str| {
            loss(LEAST_AGE, restarts, state, START_EXIT_STATUS, words)
        };
        assert_eq!(loss(1, &waits, GONE), Some(Loss::Copy));
        // A download may have brought the copy back, and a file that is there is not awaited.
        assert_eq!(loss(1, &json!({"running": {"startedAt": CREATED}}), GONE), None);
        assert_eq!(loss(0, &waits, GONE), None);
        for fault in StartFault::ALL {
            let words = format!("error: {}: whatever", fault.word());
            let helps = fault == StartFault::ModelCopyGone;
            assert_eq!(loss(1, &waits, &words).is_some(), helps, "{words}");
        }
    }

    #[test]
    fn an_agent_that_was_started_again_and_did_not_find_its_gpu_is_replaced() {
        let waits = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let runs = json!({"running": {"startedAt": CREATED}});
        let ended = json!({"terminated": {"exitCode": 69, "message": LOST}});
        assert!(replaced(LEAST_AGE, 1, &waits, LOST));
        assert!(replaced(LEAST_AGE, 4, &ended, LOST));
        assert!(replaced(LEAST_AGE, 1, &waits, "error: DeviceEccError: a launch"));
        // Its first end, and a start that may succeed.
        assert!(!replaced(LEAST_AGE, 0, &ended, LOST));
        assert!(!replaced(LEAST_AGE, 1, &runs, LOST));
    }

    #[test]
    fn a_young_pod_is_not_replaced_so_that_a_lost_gpu_that_is_given_again_makes_few_pods() {
        let waits = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        assert!(!replaced(
            LEAST_AGE - SignedDuration::from_secs(1),
            9,
            &waits,
            LOST
        ));
    }

    #[test]
    fn what_another_gpu_would_not_help_is_not_replaced() {
        let waits = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        for fault in GpuFault::ALL {
            let words = format!("error: {}: whatever", fault.word());
            let helps = matches!(fault, GpuFault::DeviceLost | GpuFault::DeviceEccError);
            assert_eq!(replaced(LEAST_AGE, 1, &waits, &words), helps, "{words}");
        }
        assert!(!replaced(LEAST_AGE, 1, &waits, "error: no such file"));
    }
}
