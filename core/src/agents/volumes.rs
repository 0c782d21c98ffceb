//! A pod that has a node and whose volumes are not set up there. The kubelet tells why only in Events; that it does not
//! get on is in the pod's status.

use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus},
    jiff::{SignedDuration, Timestamp},
};

use super::{PREPARING, model_file};

/// How long a pod may take from its node to its first container before somebody is told: a file of the node is there at
/// once and a sandbox within seconds, a volume of the network is attached in half a minute; twice that. The kubelet
/// tries again for ever, so that an agent that is only slow loses nothing.
const SETUP_LIMIT: SignedDuration = SignedDuration::from_secs(60);
/// True once volumes and sandbox are there; absent before Kubernetes 1.29. Up to 1.35 it turns true only after the
/// first pull of the image.
const READY_TO_START: &str = "PodReadyToStartContainers";

/// What the pod shows of volumes that were not set up in time.
pub(super) fn missing(pod: &Pod, now: Timestamp) -> Option<String> {
    let status = pod.status.as_ref()?;
    let since = preparing_since(status)?;
    if now.duration_since(since) < SETUP_LIMIT {
        return None;
    }
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let node = node.unwrap_or("its node");
    let cause = match model_file::origin(pod) {
        Some(origin) => format!("most often the model's file is not there: {origin}"),
        None => "one of them is missing".to_owned(),
    };
    Some(format!(
        "pod {name} on node {node}: its volumes have not been set up since {since}, or its image is still being \
         pulled; {cause}. Once it is there, the agent goes on by itself; kubectl -n {namespace} describe pod {name} \
         shows the cause"
    ))
}

/// Since when the kubelet prepares the pod; `None` where it does not.
fn preparing_since(status: &PodStatus) -> Option<Timestamp> {
    let scheduled = find(status, "PodScheduled").filter(|condition| condition.status == "True")?;
    // A container that runs or has ended has its volumes.
    let mut init = status.init_container_statuses.iter().flatten();
    let has_run = |container: &ContainerStatus| {
        let state = container.state.as_ref();
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    if init.any(has_run) {
        return None;
    }
    let ready_to_start = find(status, READY_TO_START);
    if ready_to_start.is_some_and(|condition| condition.status == "True") {
        return None;
    }
    // A pod that lost its sandbox is prepared again, long after it was scheduled.
    let since = [Some(scheduled), ready_to_start]
        .into_iter()
        .filter_map(|condition| Some(condition?.last_transition_time.as_ref()?.0))
        .max()?;
    status
        .container_statuses
        .iter()
        .flatten()
        .any(is_preparing)
        .then_some(since)
}

fn is_preparing(container: &ContainerStatus) -> bool {
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    waiting
        .and_then(|waiting| waiting.reason.as_deref())
        .is_some_and(|reason| PREPARING.contains(&reason))
}

fn find<'a>(status: &'a PodStatus, type_: &str) -> Option<&'a PodCondition> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == type_)
}
