//! What is kept of each kind: what some controller reads, and nothing else that its author can make large.

use cocoon_api::{
    crd::{CocoonProvider, InferenceJob, PaymentChannel, Settlement},
    names,
};
use cocoon_core::agents::Rejection;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Container, Namespace, Node, Pod, PodSpec, PodStatus},
};
use kube::{ResourceExt as _, api::ObjectMeta};

/// Of a provider's annotations only our own tell anything.
pub(super) fn provider(provider: &mut CocoonProvider) -> bool {
    let metadata = &mut provider.metadata;
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|name, _| name == names::ABANDON_ANNOTATION);
    }
    true
}

/// The input is read again where it is needed. Finalizers of others are kept only as the word that there are some.
pub fn job(job: &mut InferenceJob) -> bool {
    job.spec.input.inline = None;
    let metadata = &mut job.metadata;
    without_words(metadata);
    metadata.labels = None;
    metadata.owner_references = None;
    if let Some(finalizers) = &mut metadata.finalizers {
        let all = finalizers.len();
        finalizers.retain(|name| name == names::SETTLEMENT_FINALIZER || name == OTHER_FINALIZERS);
        if finalizers.len() < all {
            finalizers.push(OTHER_FINALIZERS.to_owned());
        }
        finalizers.shrink_to_fit();
    }
    true
}

/// Stands in memory for the finalizers of others, which may be any number of any length.
pub const OTHER_FINALIZERS: &str = "cocoon.farm/others";

pub(super) fn channel(channel: &mut PaymentChannel) -> bool {
    without_words(&mut channel.metadata);
    true
}

/// The signed message is read again where it is sent.
pub(super) fn settlement(settlement: &mut Settlement) -> bool {
    without_words(&mut settlement.metadata);
    settlement.spec.message = String::new();
    true
}

fn without_words(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    metadata.annotations = None;
}

/// Its labels alone tell whether a provider allows it.
pub(super) fn namespace(namespace: &mut Namespace) -> bool {
    without_words(&mut namespace.metadata);
    namespace.spec = None;
    namespace.status = None;
    true
}

pub(super) fn node(node: &mut Node) -> bool {
    node.metadata.managed_fields = None;
    node.metadata.annotations = None;
    if let Some(status) = &mut node.status {
        status.images = None;
        status
            .conditions
            .get_or_insert_default()
            .retain(|condition| condition.type_ == "Ready");
    }
    true
}

pub(super) fn pod(pod: &mut Pod) -> bool {
    let component = pod.labels().get(names::COMPONENT_LABEL);
    let is_agent = component.is_some_and(|name| name == names::AGENT_COMPONENT);
    let is_download = component.is_some_and(|name| name == names::DOWNLOAD_COMPONENT);
    if !is_agent && !is_download && !pod.spec.as_ref().is_some_and(requests_extended_resources) {
        return false;
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
    true
}

/// Characters of a kubelet's words at most; it writes a line.
const MAX_WORDS: usize = 256;
/// Characters of its reason at most; the longest is the name of a resource behind `OutOf`.
const MAX_REASON: usize = 320;

/// Only what was rejected is kept, and little of it: many of them may lie there, which no quota bounds.
pub fn rejected(pod: &mut Pod) -> bool {
    if Rejection::of(pod).is_none() {
        return false;
    }
    let labels = [names::COMPONENT_LABEL, names::PROVIDER_LABEL, names::MODEL_LABEL];
    let metadata = std::mem::take(&mut pod.metadata);
    pod.metadata = ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        resource_version: metadata.resource_version,
        creation_timestamp: metadata.creation_timestamp,
        deletion_timestamp: metadata.deletion_timestamp,
        labels: metadata.labels.map(|mut found| {
            found.retain(|label, _| labels.contains(&label.as_str()));
            found
        }),
        ..ObjectMeta::default()
    };
    pod.spec = Some(PodSpec {
        node_name: pod.spec.take().and_then(|spec| spec.node_name),
        ..PodSpec::default()
    });
    let cut = |words: Option<String>, most: usize| Some(words?.chars().take(most).collect());
    pod.status = pod.status.take().map(|status| PodStatus {
        phase: status.phase,
        reason: cut(status.reason, MAX_REASON),
        message: cut(status.message, MAX_WORDS),
        start_time: status.start_time,
        ..PodStatus::default()
    });
    true
}

pub(super) fn deployment(deployment: &mut Deployment) -> bool {
    deployment.metadata.managed_fields = None;
    if let Some(spec) = &mut deployment.spec {
        spec.template.spec = None;
    }
    deployment.labels().contains_key(names::PROVIDER_LABEL)
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

#[cfg(test)]
mod tests {
    use cocoon_core::agents::{AgentPod, AgentState, fetch::FetchPod};
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
                 "state": {"terminated": {"exitCode": 78, "message": "error: ModelUnreadable: cannot read /models/ab.gguf"}}}]},
        }))
        .unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let before = AgentPod::from_pod(&agent, now).unwrap();
        assert!(pod(&mut agent));
        assert_eq!(AgentPod::from_pod(&agent, now).unwrap(), before);
        assert!(
            format!("{before:?}").contains("PersistentVolumeClaim models"),
            "{before:?}"
        );
    }

    #[test]
    fn of_pods_that_failed_those_are_kept_that_were_rejected_with_little_but_why() {
        let failed = |component: &str, message: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "a", "namespace": "farms", "uid": "u", "creationTimestamp": "1970-01-01T00:00:00Z",
                    "annotations": {"a": "b"}, "finalizers": ["a/b"],
                    "labels": {names::COMPONENT_LABEL: component, names::PROVIDER_LABEL: "p", names::MODEL_LABEL: "m", "a": "b"}},
                "spec": {"nodeName": "n", "containers": [{"name": "agent"}]},
                "status": {"phase": "Failed", "reason": "OutOfcpu", "message": message,
                    "startTime": "1970-01-01T00:00:00Z",
                    "containerStatuses": [{"name": "agent", "image": "i", "imageID": "", "ready": false, "restartCount": 0}]},
            }))
            .unwrap()
        };
        let now = Timestamp::UNIX_EPOCH;
        let message = format!("Pod was rejected: {}", "cpu".repeat(1000));
        let mut agent = failed(names::AGENT_COMPONENT, &message);
        assert!(rejected(&mut agent));
        let told = AgentPod::from_pod(&agent, now).unwrap();
        assert!(matches!(told.state, AgentState::Rejected(_)), "{told:?}");
        assert!(serde_json::to_string(&agent).unwrap().len() < 1000);
        let mut download = failed(names::DOWNLOAD_COMPONENT, "Pod was rejected: cpu");
        let before = FetchPod::from_pod(&download, now);
        assert!(before.is_some() && rejected(&mut download));
        assert_eq!(FetchPod::from_pod(&download, now), before);
        let evicted = "The node was low on resource: memory.";
        assert!(!rejected(&mut failed(names::AGENT_COMPONENT, evicted)));
    }

    #[test]
    fn a_download_is_kept_with_what_it_says_of_its_end() {
        let mut download: Pod = serde_json::from_value(json!({
            "metadata": {"name": "f", "namespace": "farms", "uid": "u", "labels": {
                names::COMPONENT_LABEL: names::DOWNLOAD_COMPONENT, names::MODEL_LABEL: "m"}},
            "spec": {"nodeName": "n", "containers": [{"name": "fetch", "env": [{"name": "COCOON_FETCH_URL", "value": "https://h/canary"}]}]},
            "status": {"containerStatuses": [
                {"name": "fetch", "image": "i", "imageID": "", "ready": false, "restartCount": 1,
                 "state": {"terminated": {"exitCode": 75, "message": "error: HttpStatus 404: why"}}}]},
        }))
        .unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let before = FetchPod::from_pod(&download, now).unwrap();
        assert!(pod(&mut download));
        assert_eq!(FetchPod::from_pod(&download, now).unwrap(), before);
        assert!(
            !format!("{download:?}").contains("canary"),
            "an address may hold a signature"
        );
        download.metadata.labels = None;
        assert!(!pod(&mut download), "of anybody else nothing is kept");
    }

    #[test]
    fn nothing_that_its_author_can_make_large_is_kept_of_a_job() {
        let long = "canary-7f3a".repeat(1_000);
        let mut job: InferenceJob = serde_json::from_value(json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob",
            "metadata": {"name": "j", "uid": "u", "annotations": {"a": long}, "labels": {"l": long},
                         "finalizers": [names::SETTLEMENT_FINALIZER, format!("example.org/{long}")],
                         "managedFields": [{"manager": long}],
                         "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": long, "uid": "o"}]},
            "spec": {"model": "m", "input": {"inline": [{"prompt": long}]}, "billing": {"mode": "Free"}},
        }))
        .unwrap();
        assert!(super::job(&mut job));
        let kept = serde_json::to_string(&job).unwrap();
        assert!(!kept.contains("canary") && kept.len() < 1_000, "{kept}");
        assert_eq!(job.finalizers(), [names::SETTLEMENT_FINALIZER, OTHER_FINALIZERS]);
        assert!(
            super::job(&mut job) && job.finalizers().len() == 2,
            "once is enough"
        );
        assert_eq!((job.uid().as_deref(), job.spec.model.as_str()), (Some("u"), "m"));
    }
}
