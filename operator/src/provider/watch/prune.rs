//! What is kept of each kind, and whom a change of it concerns.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use cocoon_api::{
    crd::{InferenceJob, PaymentChannel, Settlement},
    names,
};
use cocoon_core::placement::demand;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Container, Node, Pod, PodSpec},
};
use kube::ResourceExt as _;
use serde::Serialize;

use crate::provider::deletion;

/// Whom a change concerns.
pub(super) enum Concerns {
    /// Every provider.
    All,
    /// One of the object's namespace.
    One(Option<String>),
}

/// What is kept of an object.
pub(super) struct Kept {
    /// A change of this is a change.
    pub(super) mark: u64,
    pub(super) concerns: Concerns,
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of every kind")]
pub(super) fn node(node: &mut Node) -> Option<Kept> {
    node.metadata.managed_fields = None;
    node.metadata.annotations = None;
    if let Some(status) = &mut node.status {
        status.images = None;
        status
            .conditions
            .get_or_insert_default()
            .retain(|condition| condition.type_ == "Ready");
    }
    let status = node.status.as_ref();
    let ready = status
        .and_then(|status| status.conditions.as_ref()?.first())
        .map(|condition| &condition.status);
    let resources = status.map(|status| (&status.capacity, &status.allocatable));
    let mark = mark(&(&node.metadata.labels, &node.spec, ready, resources));
    Some(Kept {
        mark,
        concerns: Concerns::All,
    })
}

pub(super) fn pod(pod: &mut Pod) -> Option<Kept> {
    let is_agent = pod
        .labels()
        .get(names::COMPONENT_LABEL)
        .is_some_and(|name| name == names::AGENT_COMPONENT);
    if !is_agent && !pod.spec.as_ref().is_some_and(requests_extended_resources) {
        return None;
    }
    pod.metadata.managed_fields = None;
    pod.metadata.annotations = None;
    let kept = if is_agent {
        resources_and_mounts
    } else {
        resources_only
    };
    if let Some(spec) = &mut pod.spec {
        let containers = spec.containers.drain(..).map(kept).collect();
        let init = spec.init_containers.take().unwrap_or_default();
        let init_containers = Some(init.into_iter().map(kept).collect());
        *spec = PodSpec {
            node_name: spec.node_name.take(),
            volumes: spec.volumes.take().filter(|_| is_agent),
            containers,
            init_containers,
            ..PodSpec::default()
        };
    }
    let mark = mark(&(
        &pod.metadata.uid,
        &pod.metadata.deletion_timestamp,
        &pod.spec,
        &pod.status,
    ));
    let provider = pod.labels().get(names::PROVIDER_LABEL).cloned();
    let placed = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    // A pod of anyone takes GPUs once it has a node; before, an agent's pod concerns its provider alone.
    let concerns = if placed {
        Concerns::All
    } else {
        Concerns::One(provider)
    };
    Some(Kept { mark, concerns })
}

pub(super) fn deployment(deployment: &mut Deployment) -> Option<Kept> {
    deployment.metadata.managed_fields = None;
    if let Some(spec) = &mut deployment.spec {
        spec.template.spec = None;
    }
    let provider = deployment.labels().get(names::PROVIDER_LABEL)?.clone();
    let conditions = deployment
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let refused: Vec<_> = conditions
        .into_iter()
        .flatten()
        .filter(|it| it.type_ == "ReplicaFailure")
        .collect();
    let mark = mark(&(
        &deployment.metadata.generation,
        &deployment.metadata.annotations,
        refused,
    ));
    Some(Kept {
        mark,
        concerns: Concerns::One(Some(provider)),
    })
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of every kind")]
pub(super) fn job(job: &mut InferenceJob) -> Option<Kept> {
    job.metadata.managed_fields = None;
    job.metadata.annotations = None;
    job.spec.input.inline = None;
    let provider = job.status.as_ref().and_then(|status| status.provider.clone());
    let stage = provider
        .as_deref()
        .and_then(|provider| demand::stage(job, provider));
    let active = deletion::is_active(job);
    let mut hasher = DefaultHasher::new();
    (&provider, stage, active).hash(&mut hasher);
    Some(Kept {
        mark: hasher.finish(),
        concerns: Concerns::One(provider),
    })
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of every kind")]
pub(super) fn channel(channel: &mut PaymentChannel) -> Option<Kept> {
    channel.metadata.managed_fields = None;
    if let Some(status) = &mut channel.status {
        status.reservations = Vec::new();
        status.counters = Vec::new();
    }
    let provider = channel.spec.provider.name.clone();
    Some(Kept {
        mark: mark(&channel.status),
        concerns: Concerns::One(Some(provider)),
    })
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of every kind")]
pub(super) fn settlement(settlement: &mut Settlement) -> Option<Kept> {
    settlement.metadata.managed_fields = None;
    settlement.spec.message = String::new();
    let provider = settlement.spec.provider_ref.name.clone();
    Some(Kept {
        mark: mark(&settlement.status),
        concerns: Concerns::One(Some(provider)),
    })
}

/// Resources outside of Kubernetes' own names are extended ones, and their names have a slash.
fn requests_extended_resources(spec: &PodSpec) -> bool {
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let resources = containers.filter_map(|container| container.resources.as_ref());
    let mut names = resources
        .flat_map(|resources| resources.limits.iter().chain(&resources.requests))
        .flatten();
    names.any(|(name, _)| name.contains('/'))
}

fn resources_only(container: Container) -> Container {
    let Container {
        name,
        resources,
        restart_policy,
        ..
    } = container;
    Container {
        name,
        resources,
        restart_policy,
        ..Container::default()
    }
}

/// Of an agent, also where it finds its model's file.
fn resources_and_mounts(mut container: Container) -> Container {
    let volume_mounts = container.volume_mounts.take();
    Container {
        volume_mounts,
        ..resources_only(container)
    }
}

fn mark(value: &impl Serialize) -> u64 {
    let mut hasher = DefaultHasher::new();
    // These are Kubernetes' own types, which are JSON; what was not would count as unchanged until the next resync.
    serde_json::to_string(value).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use cocoon_core::agents::AgentPod;
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_agent_shows_of_its_models_file_survives() {
        let mut agent: Pod = serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "farms", "uid": "u", "labels": {
                names::COMPONENT_LABEL: names::AGENT_COMPONENT, names::MODEL_LABEL: "m"}},
            "spec": {
                "nodeName": "n",
                "containers": [{"name": "agent", "volumeMounts": [
                    {"name": "model", "mountPath": "/models/ab.gguf", "subPath": "llama/m.gguf"}]}],
                "volumes": [{"name": "model", "persistentVolumeClaim": {"claimName": "models"}}],
            },
            "status": {"containerStatuses": [
                {"name": "agent", "image": "i", "imageID": "", "ready": false, "restartCount": 1,
                 "state": {"terminated": {"exitCode": 1, "message": "cannot read /models/ab.gguf"}}}]},
        }))
        .unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let before = AgentPod::from_pod(&agent, now).unwrap();
        assert!(pod(&mut agent).is_some());
        assert_eq!(AgentPod::from_pod(&agent, now).unwrap(), before);
        assert!(
            format!("{before:?}").contains("PersistentVolumeClaim models"),
            "{before:?}"
        );
    }
}
