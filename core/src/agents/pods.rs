//! The agents in the pods of an offer, each told by what is so now.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};

use super::{AgentPod, AgentState};

/// The agents in these pods, which are of one provider. One that a kubelet rejected tells nothing any more after a
/// minute, nor once a node has taken a pod of its model that is no older, or the scheduler finds none for it.
pub fn agents_in<'a>(pods: impl IntoIterator<Item = &'a Pod>, now: Timestamp) -> Vec<AgentPod> {
    let mut found: Vec<(Option<Timestamp>, AgentPod)> = Vec::new();
    let mut newest_of: BTreeMap<String, Timestamp> = BTreeMap::new();
    for pod in pods {
        let Some(agent) = AgentPod::from_pod(pod, now) else {
            continue;
        };
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        if let Some(created) = created.filter(|_| is_further(pod, &agent.state)) {
            let newest = newest_of.entry(agent.model.clone()).or_insert(created);
            *newest = created.max(*newest);
        }
        found.push((created, agent));
    }
    let agents = found.into_iter().map(|(created, mut agent)| {
        let is_past = newest_of
            .get(&agent.model)
            .is_some_and(|newest| created <= Some(*newest));
        if is_past && matches!(agent.state, AgentState::Rejected(_)) {
            agent.state = AgentState::Gone;
        }
        agent
    });
    agents.collect()
}

/// Whether the node of a pod took it, or no node does: either is what is so now. Times are whole seconds, and the next
/// pod is often made in the same one; while a node rejects one after another, there are newer ones.
fn is_further(pod: &Pod, state: &AgentState) -> bool {
    let status = pod.status.as_ref();
    let is_taken = status.is_some_and(|status| status.start_time.is_some()) && !state.has_ended();
    is_taken || matches!(state, AgentState::Unschedulable(_))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::SignedDuration;
    use serde_json::{Value, json};

    use super::*;
    use crate::agents::{Rejection, Shortage};

    const CREATED: &str = "2026-01-01T00:00:00Z";

    fn after(seconds: i64) -> Timestamp {
        let created: Timestamp = CREATED.parse().unwrap();
        created + SignedDuration::from_secs(seconds)
    }

    fn pod(name: &str, created: i64, status: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": after(created).to_string(), "labels": {
                "app.kubernetes.io/component": "gpu-agent", "cocoon.farm/model": "m"}},
            "spec": {"nodeName": "n1", "containers": []},
            "status": status,
        }))
        .unwrap()
    }

    fn rejected(reason: &str, words: &str) -> Value {
        json!({"phase": "Failed", "reason": reason, "message": format!("Pod was rejected: {words}"),
               "startTime": CREATED})
    }

    fn states(pods: &[Pod], now: Timestamp) -> Vec<AgentState> {
        agents_in(pods, now)
            .into_iter()
            .map(|agent| agent.state)
            .collect()
    }

    #[test]
    fn what_the_kubelet_says_is_told_with_what_its_node_lacks() {
        let cpu = "Node didn't have enough resource: cpu, requested: 500, used: 1900, capacity: 2000";
        let gpu = "Allocate failed due to no healthy devices present; cannot allocate unhealthy devices nvidia.com/gpu, which is \
                   unexpected";
        for (reason, words, shortage) in [
            ("OutOfcpu", cpu, Shortage::Resources),
            (
                "OutOfpods",
                "Node didn't have enough resource: pods",
                Shortage::Resources,
            ),
            (
                "OutOfnvidia.com/gpu",
                "Node didn't have enough resource: nvidia.com/gpu",
                Shortage::Gpus,
            ),
            ("UnexpectedAdmissionError", gpu, Shortage::Gpus),
            (
                "UnexpectedAdmissionError",
                "checkpoint is corrupted",
                Shortage::Other,
            ),
            (
                "UnexpectedAdmissionError",
                "Allocate failed due to cannot allocate unregistered device nvidia.com/gpu, which is unexpected",
                Shortage::Gpus,
            ),
            (
                "UnexpectedAdmissionError",
                "Allocate failed due to device plugin Allocate rpc failed",
                Shortage::Gpus,
            ),
            (
                "TaintToleration",
                "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
                Shortage::Tainted,
            ),
            (
                "TopologyAffinityError",
                "Resources cannot be allocated with Topology locality",
                Shortage::Resources,
            ),
            (
                "Evicted",
                "The node had condition: [DiskPressure]. ",
                Shortage::Resources,
            ),
            (
                "NodeAffinity",
                "Predicate NodeAffinity failed: node(s) didn't match",
                Shortage::Labels,
            ),
            (
                "NodeShutdown",
                "Pod was rejected as the node is shutting down.",
                Shortage::Cordoned,
            ),
            ("SysctlForbidden", "forbidden sysctl", Shortage::Other),
        ] {
            let expected = AgentState::Rejected(Rejection {
                node: "n1".into(),
                shortage,
                words: format!("{reason}: {}", words.trim()),
            });
            assert_eq!(
                states(&[pod("a", 0, &rejected(reason, words))], after(1)),
                [expected]
            );
        }
    }

    #[test]
    fn a_pod_that_ended_otherwise_is_gone() {
        for status in [
            json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}),
            json!({"phase": "Failed"}),
            json!({"phase": "Succeeded"}),
        ] {
            assert_eq!(states(&[pod("a", 0, &status)], after(1)), [AgentState::Gone]);
        }
    }

    #[test]
    fn a_rejection_is_told_until_a_newer_pod_is_taken_or_none_is_made_any_more() {
        let out_of_cpu = rejected("OutOfcpu", "cpu");
        let old = pod("a", 0, &out_of_cpu);
        let is_told = |states: &[AgentState]| matches!(states[0], AgentState::Rejected(_));
        // The next one has no node yet, or no kubelet has looked at it: it may be rejected as well.
        let next = pod("b", 1, &json!({"phase": "Pending"}));
        assert!(is_told(&states(&[old.clone(), next], after(2))));
        let both = [old.clone(), pod("b", 1, &out_of_cpu)];
        assert!(
            states(&both, after(2))
                .iter()
                .all(|state| is_told(std::slice::from_ref(state)))
        );
        let taken = json!({"phase": "Pending", "startTime": CREATED});
        assert_eq!(
            states(&[old.clone(), pod("b", 1, &taken)], after(2))[0],
            AgentState::Gone
        );
        // Made within the same second.
        assert_eq!(
            states(&[old.clone(), pod("b", 0, &taken)], after(2))[0],
            AgentState::Gone
        );
        let no_node =
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False"}]});
        assert_eq!(
            states(&[old.clone(), pod("b", 1, &no_node)], after(2))[0],
            AgentState::Gone
        );
        // An older one that runs says nothing about it.
        assert!(is_told(&states(
            &[pod("b", 1, &out_of_cpu), pod("a", 0, &taken)],
            after(2)
        )));
        assert_eq!(states(&[old], after(60)), [AgentState::Gone]);
    }
}
