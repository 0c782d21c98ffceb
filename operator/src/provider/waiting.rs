//! GPUs that agents of other offers wait for, and those that come free soon: an idle agent gives way at once.

use std::sync::Arc;

use cocoon_api::names;
use cocoon_core::{
    agents::{AgentPod, AgentState},
    inventory,
};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::validate::ValidProvider;

/// GPUs of this offer's kind that agents of other offers wait for, which the scheduler has found on no node.
pub(super) fn elsewhere(valid: &ValidProvider, pods: &[Arc<Pod>]) -> u64 {
    pods.iter()
        .filter(|pod| {
            let labels = pod.labels();
            let is_agent = labels
                .get(names::COMPONENT_LABEL)
                .is_some_and(|name| name == names::AGENT_COMPONENT);
            let is_own = pod.namespace().as_deref() == Some(&valid.namespace)
                && labels.get(names::PROVIDER_LABEL) == Some(&valid.name);
            is_agent && !is_own && is_unschedulable(pod)
        })
        .filter_map(|pod| pod.spec.as_ref())
        .map(|spec| u64::from(inventory::requested(spec, &valid.requirements.resource_name)))
        .fold(0, u64::saturating_add)
}

/// GPUs of this offer's agents that end.
pub(super) fn leaving(valid: &ValidProvider, agents: &[AgentPod]) -> u64 {
    let gpus = |agent: &AgentPod| {
        let model = valid.models.iter().find(|model| model.name == agent.model);
        model.map_or(0, |model| u64::from(model.gpus_per_replica))
    };
    agents
        .iter()
        .filter(|agent| agent.state == AgentState::Terminating)
        .map(gpus)
        .fold(0, u64::saturating_add)
}

/// Whether the scheduler has found no node for it.
pub(super) fn is_unschedulable(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
}
