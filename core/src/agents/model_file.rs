//! The model's file as the farm knows it: an agent knows only the path at which its pod mounts it.

use k8s_openapi::api::core::v1::{Pod, VolumeMount};

/// Name of the volume of an agent's pod that holds the model's file.
pub const MODEL_VOLUME: &str = "model";

/// Where the model's file comes from: `hostPath /models/m.gguf on node n`; `None` where the pod does not say it.
pub(super) fn origin(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let volume = spec
        .volumes
        .iter()
        .flatten()
        .find(|volume| volume.name == MODEL_VOLUME)?;
    if let Some(host) = &volume.host_path {
        return Some(match &spec.node_name {
            Some(node) => format!("hostPath {} on node {node}", host.path),
            None => format!("hostPath {}", host.path),
        });
    }
    let claim = &volume.persistent_volume_claim.as_ref()?.claim_name;
    Some(match mount(pod).and_then(|mount| mount.sub_path.as_deref()) {
        Some(path) => format!("{path} on PersistentVolumeClaim {claim}"),
        None => format!("PersistentVolumeClaim {claim}"),
    })
}

/// Whether the model's file is one of the node's own, which must be there before the pod starts.
pub(super) fn is_on_host(pod: &Pod) -> bool {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    volumes.into_iter().flatten().any(|volume| {
        let host = volume.host_path.as_ref();
        volume.name == MODEL_VOLUME && host.is_some_and(|host| host.type_.as_deref() == Some("File"))
    })
}

fn mount(pod: &Pod) -> Option<&VolumeMount> {
    let containers = &pod.spec.as_ref()?.containers;
    let mut mounts = containers
        .iter()
        .flat_map(|container| container.volume_mounts.iter().flatten());
    mounts.find(|mount| mount.name == MODEL_VOLUME)
}
