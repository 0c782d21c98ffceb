//! What is made for a provider, as server-side apply takes it. One function a kind; the agents' pods have a file.

mod copy;
pub(super) mod download;
mod pod;
mod resources;

pub(super) use pod::spec as pod_spec;

use std::collections::BTreeMap;

use cocoon_api::names::{
    AGENT_COMPONENT, AGENT_PORT, COMPONENT_LABEL, FIELD_MANAGER, IDLE_SINCE_ANNOTATION, MANAGED_BY_LABEL,
    MODEL_LABEL, PROVIDER_LABEL,
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    naming,
    validate::{ValidModel, ValidProvider},
};
use crate::{config::Config, tls::secret};

/// Kubernetes' recommended label for an application.
const NAME_LABEL: &str = "app.kubernetes.io/name";
/// Value of [`NAME_LABEL`] on agents.
const AGENT_NAME: &str = "cocoon-gpu-agent";
/// Value of [`NAME_LABEL`] on the operator's pods.
const OPERATOR_NAME: &str = "cocoon-operator";
/// Label that Kubernetes sets on every namespace.
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";
/// Old `ReplicaSets` that are kept: enough to see what was before.
const REVISIONS: u32 = 2;

/// One object that is made for a provider.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Child {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// As server-side apply takes it.
    pub(super) body: Value,
}

/// Kinds that are made for a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    NetworkPolicy,
    Secret,
    PodDisruptionBudget,
    Deployment,
    Pod,
}

impl Kind {
    fn type_meta(self) -> (&'static str, &'static str) {
        match self {
            Self::NetworkPolicy => ("networking.k8s.io/v1", "NetworkPolicy"),
            Self::Secret => ("v1", "Secret"),
            Self::PodDisruptionBudget => ("policy/v1", "PodDisruptionBudget"),
            Self::Deployment => ("apps/v1", "Deployment"),
            Self::Pod => ("v1", "Pod"),
        }
    }
}

type Labels = BTreeMap<&'static str, String>;

/// Labels that select the agents of a provider, or those of one model.
fn selector(provider: &ValidProvider, model: Option<&ValidModel>) -> Labels {
    let mut labels = Labels::from([
        (COMPONENT_LABEL, AGENT_COMPONENT.into()),
        (PROVIDER_LABEL, provider.name.clone()),
    ]);
    if let Some(model) = model {
        labels.insert(MODEL_LABEL, model.name.clone());
    }
    labels
}

/// Labels of everything that is made.
fn labels(provider: &ValidProvider, model: Option<&ValidModel>) -> Labels {
    let mut labels = selector(provider, model);
    labels.insert(NAME_LABEL, AGENT_NAME.into());
    labels.insert(MANAGED_BY_LABEL, FIELD_MANAGER.into());
    labels
}

fn child(
    kind: Kind,
    name: String,
    provider: &ValidProvider,
    model: Option<&ValidModel>,
    annotations: Option<BTreeMap<&str, String>>,
    (content, value): (&str, Value),
) -> Child {
    let (api_version, kind_name) = kind.type_meta();
    let mut body = json!({
        "apiVersion": api_version,
        "kind": kind_name,
        "metadata": {
            "name": name,
            "namespace": provider.namespace,
            "labels": labels(provider, model),
            "ownerReferences": [provider.owner],
        },
    });
    if let Some(annotations) = annotations {
        body["metadata"]["annotations"] = json!(annotations);
    }
    body[content] = value;
    Child { kind, name, body }
}

/// Only the operator reaches the agents, and agents reach nobody: their model comes from a volume. The kubelet's
/// probes come from the node and need no rule.
pub(super) fn network_policy(provider: &ValidProvider, operator_namespace: &str) -> Child {
    let spec = json!({
        "podSelector": {"matchLabels": selector(provider, None)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{
            "from": [{
                "namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: operator_namespace}},
                "podSelector": {"matchLabels": {NAME_LABEL: OPERATOR_NAME}},
            }],
            "ports": [{"protocol": "TCP", "port": AGENT_PORT}],
        }],
    });
    child(
        Kind::NetworkPolicy,
        naming::network_policy(&provider.name),
        provider,
        None,
        None,
        ("spec", spec),
    )
}

/// What the agents trust: the authority of the operator's certificate, which is no secret.
pub(super) fn tls_secret(provider: &ValidProvider, data: &secret::Data) -> Child {
    child(
        Kind::Secret,
        naming::tls_secret(&provider.name),
        provider,
        None,
        None,
        ("data", json!(data)),
    )
}

/// One agent of a model is moved at a time.
pub(super) fn disruption_budget(provider: &ValidProvider, model: &ValidModel, name: &str) -> Child {
    let spec = json!({
        "maxUnavailable": 1,
        "selector": {"matchLabels": selector(provider, Some(model))},
    });
    child(
        Kind::PodDisruptionBudget,
        name.to_owned(),
        provider,
        Some(model),
        None,
        ("spec", spec),
    )
}

/// The agents of one model.
pub(super) fn deployment(
    provider: &ValidProvider,
    model: &ValidModel,
    name: &str,
    replicas: u32,
    idle_since: Option<Timestamp>,
    config: &Config,
) -> Child {
    let own_labels = labels(provider, Some(model));
    // The operator's own come last: nothing that an offer sets takes their place.
    let pod_labels: BTreeMap<&str, &str> = model
        .pod
        .labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .chain(own_labels.iter().map(|(key, value)| (*key, value.as_str())))
        .collect();
    let mut pod_metadata = json!({"labels": pod_labels});
    if !model.pod.annotations.is_empty() {
        pod_metadata["annotations"] = json!(model.pod.annotations);
    }
    let spec = json!({
        "replicas": replicas,
        "revisionHistoryLimit": REVISIONS,
        "selector": {"matchLabels": selector(provider, Some(model))},
        // On a node whose GPUs are all taken, a new agent finds room only once the old one is gone.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        "template": {
            "metadata": pod_metadata,
            "spec": pod::spec(provider, model, config),
        },
    });
    let annotations = idle_since.map(|since| BTreeMap::from([(IDLE_SINCE_ANNOTATION, since.to_string())]));
    child(
        Kind::Deployment,
        name.to_owned(),
        provider,
        Some(model),
        annotations,
        ("spec", spec),
    )
}
