//! An agent whose GPU is lost. The kubelet starts its container again in the same pod, and a pod keeps the GPUs that it
//! was given: only another pod can get a healthy one.

use cocoon_api::agent::GpuFault;
use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod},
    jiff::{SignedDuration, Timestamp},
};

use super::{AgentPod, AgentState};

/// How old a pod must be to be replaced. A pod may be given the lost GPU again where the device plugin does not notice
/// that it is lost: then there is a new pod this often, which costs the API server less than the starts in between, and
/// leaves time to drain the node.
const LEAST_AGE: SignedDuration = SignedDuration::from_mins(2);

/// The agent in this pod, if another pod is to take its place: its GPU was lost, it was started again, and did not find
/// the GPU.
pub fn to_be_replaced(pod: &Pod, now: Timestamp) -> Option<AgentPod> {
    let agent = AgentPod::from_pod(pod, now)?;
    let AgentState::GpuUnusable(GpuFault::DeviceLost | GpuFault::DeviceEccError) = agent.state else {
        return None;
    };
    let created = pod.metadata.creation_timestamp.as_ref()?.0;
    let containers = pod.status.as_ref()?.container_statuses.iter().flatten();
    let is_old = now.duration_since(created) >= LEAST_AGE;
    (is_old && containers.into_iter().any(was_started_in_vain)).then_some(agent)
}

/// Whether it ended again after it was started again. While it runs, the GPU may have come back.
fn was_started_in_vain(container: &ContainerStatus) -> bool {
    let runs = container
        .state
        .as_ref()
        .is_some_and(|state| state.running.is_some());
    container.restart_count > 0 && !runs
}

#[cfg(test)]
mod tests {
    use cocoon_api::names;
    use serde_json::{Value, json};

    use super::*;

    const CREATED: &str = "2026-01-01T00:00:00Z";
    const LOST: &str = "error: DeviceLost: cannot open GPU 0";

    /// A pod of that age whose container was started again so often, and is as `state` says.
    fn replaced(age: SignedDuration, restarts: u32, state: &Value, words: &str) -> bool {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "a", "uid": "u", "creationTimestamp": CREATED, "labels": {
                names::COMPONENT_LABEL: names::AGENT_COMPONENT, names::MODEL_LABEL: "m"}},
            "status": {"containerStatuses": [{
                "name": "agent", "image": "i", "imageID": "", "ready": false, "restartCount": restarts,
                "state": state, "lastState": {"terminated": {"exitCode": 69, "message": words}}}]}}))
        .expect("a pod");
        let created: Timestamp = CREATED.parse().expect("a time");
        let agent = to_be_replaced(&pod, created + age);
        assert!(agent.as_ref().is_none_or(|agent| agent.uid == "u"));
        agent.is_some()
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
