//! `CocoonProvider`: a farm's offer of GPUs, models and prices.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::Toleration, apimachinery::pkg::api::resource::Quantity};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

mod amount;
mod duration;
mod grant;
mod model;
mod payout;
mod pod;
mod status;

pub use duration::DURATION_PATTERN;
pub use grant::{AllowedFrom, AllowedNamespaces};
pub use model::{Footprint, HeadersFrom, ModelOffer, ModelSource, PvcSource};
pub use payout::{Earnings, Payout, Rebuilt, Ruling, SettlePolicy};
pub use pod::{Amounts, PodResources, PodSettings};
pub use status::{
    CocoonProviderStatus, Download, GpuCounts, InventorySource, ModelPhase, ModelStatus, NodeCounts,
    ProductCount,
};

/// An offer of GPUs: which nodes take part, which models they serve at which price, and where the earnings go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "cocoon.farm",
    version = "v1alpha1",
    kind = "CocoonProvider",
    plural = "cocoonproviders",
    shortname = "cprov",
    category = "cocoon",
    namespaced,
    status = "CocoonProviderStatus",
    derive = "PartialEq",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name is the value of a label: at most 63 characters"),
    doc = "CocoonProvider is an offer of GPUs: which nodes take part, which models they serve at which price, and where the earnings go.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "GPUs",
        type_ = "string",
        json_path = ".status.gpuSummary",
        description = "Free / allocatable GPUs on matching nodes"
    ),
    printcolumn(
        name = "Models",
        type_ = "string",
        json_path = ".status.modelSummary",
        description = "Serving / offered models"
    ),
    printcolumn(name = "Tok/s", type_ = "integer", json_path = ".status.tokensPerSecond"),
    printcolumn(
        name = "Earned",
        type_ = "string",
        json_path = ".status.earnings.confirmed",
        description = "TON confirmed on chain"
    ),
    printcolumn(
        name = "Pending",
        type_ = "string",
        json_path = ".status.earnings.pending",
        description = "TON metered, not yet on chain"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(
        name = "Nodes",
        type_ = "string",
        json_path = ".status.nodeSummary",
        priority = 1
    ),
    printcolumn(
        name = "Network",
        type_ = "string",
        json_path = ".spec.payout.network",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("self.backend == 'CPU' || self.models.all(m, m.gpusPerReplica >= 1)").message("gpusPerReplica may be 0 only with backend CPU"))]
pub struct CocoonProviderSpec {
    /// Takes no new work while true; agents finish what they have and go.
    #[serde(default)]
    pub paused: bool,
    /// What computes: `CUDA` on GPUs, or `CPU`. There is no silent fallback from one to the other.
    pub backend: Backend,
    /// The most agents over all models at one time; `kubectl scale` sets it.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// Labels that a node must carry to take part.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = Rule::new("self.all(k, k.size() <= 317 && self[k].size() <= 63)").message("a label key has at most 317 characters and a value at most 63"))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that agents tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,
    /// Which GPUs are offered.
    #[serde(default)]
    pub gpus: GpuOffer,
    /// Models that are served, by name.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[x_kube(validation = Rule::new("self.all(m, m.minReplicas <= m.maxReplicas)").message("minReplicas must not exceed maxReplicas"))]
    pub models: Vec<ModelOffer>,
    /// Which other namespaces' channels and jobs may name this provider. One that is taken out gets no new work; what
    /// its channels owe is claimed all the same.
    #[serde(default)]
    pub allowed_namespaces: AllowedNamespaces,
    /// Where earnings go and how they are settled.
    pub payout: Payout,
}

fn default_replicas() -> i32 {
    16
}

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Backend {
    /// GPUs, through the CUDA driver.
    CUDA,
    /// The CPU of the node.
    CPU,
}

/// Which GPUs are offered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GpuOffer {
    /// Extended resource that a device plugin offers, e.g. `nvidia.com/gpu` or `nvidia.com/mig-1g.10gb`.
    #[serde(default = "default_resource_name")]
    #[schemars(length(min = 1, max = 317), regex(pattern = r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$"))]
    pub resource_name: String,
    /// Accepted values of the node label `nvidia.com/gpu.product`; empty accepts any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 63)))]
    pub products: Vec<String>,
    /// Least memory of a GPU, compared with the node label `nvidia.com/gpu.memory`.
    #[serde(
        default,
        deserialize_with = "amount::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub min_memory: Option<Quantity>,
    /// Least compute capability, compared with `nvidia.com/gpu.compute.major` and `.minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5), regex(pattern = r"^[0-9]{1,2}\.[0-9]{1,2}$"))]
    pub min_compute_capability: Option<String>,
}

fn default_resource_name() -> String {
    "nvidia.com/gpu".into()
}

impl Default for GpuOffer {
    fn default() -> Self {
        Self {
            resource_name: default_resource_name(),
            products: Vec::new(),
            min_memory: None,
            min_compute_capability: None,
        }
    }
}
