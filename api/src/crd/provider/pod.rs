//! How the pods of a model's agents look to the cluster: where they go, what they may take, and how they are labelled.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::Toleration, apimachinery::pkg::api::resource::Quantity};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::amount;

/// Settings of the pods of one model's agents. What is left out is the offer's, or the operator's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodSettings {
    /// Labels beside the operator's own, for example those that a queue, a cost report or a `NetworkPolicy` looks for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(
        validation = Rule::new("self.all(k, k.size() <= 317 && self[k].size() <= 63)").message("a label key has at most 317 characters and a value at most 63"),
        validation = Rule::new("self.all(k, !k.startsWith('cocoon.farm/') && !(k in ['app.kubernetes.io/name', 'app.kubernetes.io/component', 'app.kubernetes.io/managed-by', 'pod-template-hash']))").message("labels under cocoon.farm/, app.kubernetes.io/name, component and managed-by and pod-template-hash are the operator's own: use another key")
    )]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(
        validation = Rule::new("self.all(k, k.size() <= 317 && self[k].size() <= 1024)").message("an annotation key has at most 317 characters and a value at most 1024"),
        validation = Rule::new("self.all(k, !k.startsWith('cocoon.farm/'))").message("annotations under cocoon.farm/ are the operator's own: use another key")
    )]
    pub annotations: BTreeMap<String, String>,
    /// Labels that a node must carry beside those of the offer's `nodeSelector`; the same key must have the same value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = Rule::new("self.all(k, k.size() <= 317 && self[k].size() <= 63)").message("a label key has at most 317 characters and a value at most 63"))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that these agents tolerate beside those of the offer's `tolerations`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,
    /// `PriorityClass` of the pods; otherwise the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub priority_class_name: Option<String>,
    /// `RuntimeClass` of the pods, such as `nvidia` or a sandbox; otherwise the nodes' default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub runtime_class_name: Option<String>,
    /// Secrets with credentials for the agent's image, in this namespace; otherwise those that the operator was
    /// installed with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        inner(
            length(min = 1, max = 253),
            regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
        )
    )]
    pub image_pull_secrets: Vec<String>,
    /// What the agent's container asks for and may take beside its GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<PodResources>,
}

/// What a container asks for and may take. GPUs are set by `gpusPerReplica`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodResources {
    /// What the scheduler sets aside; what is left out is the operator's default.
    #[serde(default)]
    pub requests: Amounts,
    /// What the container may take at most. Namespaces with a `ResourceQuota` of limits ask for them.
    #[serde(default)]
    pub limits: Amounts,
}

/// Amounts of what every node has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Amounts {
    /// Cores, such as `2` or `500m`.
    #[serde(
        default,
        deserialize_with = "amount::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub cpu: Option<Quantity>,
    /// Memory, such as `16Gi`.
    #[serde(
        default,
        deserialize_with = "amount::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub memory: Option<Quantity>,
    /// Space of the container's own files, such as `1Gi`; an agent writes none.
    #[serde(
        default,
        deserialize_with = "amount::optional",
        skip_serializing_if = "Option::is_none",
        rename = "ephemeral-storage"
    )]
    pub ephemeral_storage: Option<Quantity>,
}
