//! What the operator observed of an offer.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::{Deserialize, Serialize};

use super::Earnings;

/// What the operator observed of an offer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CocoonProviderStatus {
    /// Generation of the specification that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` sums up `InventoryReady`, `AgentsAvailable`, `WalletReady` and `SettlementHealthy`.
    #[serde(default)]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Nodes of the offer.
    #[serde(default)]
    pub nodes: NodeCounts,
    /// GPUs on these nodes.
    #[serde(default)]
    pub gpus: GpuCounts,
    /// Kinds of GPUs found.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub products: Vec<ProductCount>,
    /// Where the inventory comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory_source: Option<InventorySource>,
    /// Agents by model.
    #[serde(default)]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub models: Vec<ModelStatus>,
    /// Money.
    #[serde(default)]
    pub earnings: Earnings,
    /// The wallet's Secret that carries the operator's finalizer, so that its key outlives what it must still sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub held_secret: Option<String>,
    /// Completion tokens a second over all agents, as measured when they started.
    #[serde(default)]
    pub tokens_per_second: i64,
    /// Agents that exist, for the scale subresource.
    #[serde(default)]
    pub replicas: i32,
    /// Label selector of the agents, for the scale subresource.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub selector: String,
    /// `free/allocatable`, for people.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub gpu_summary: String,
    /// `serving/offered`, for people.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub model_summary: String,
    /// `ready/matched`, for people.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub node_summary: String,
}

/// Nodes of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeCounts {
    /// Nodes that match.
    pub matched: u32,
    /// Of these, how many are ready.
    pub ready: u32,
}

/// GPUs on the nodes of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GpuCounts {
    /// In the machines.
    pub capacity: u32,
    /// Healthy, as the device plugin says.
    pub allocatable: u32,
    /// Taken by pods, of anyone.
    pub allocated: u32,
    /// Left.
    pub free: u32,
}

/// One kind of GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductCount {
    /// Product name, from the label `nvidia.com/gpu.product`.
    #[schemars(length(max = 63))]
    pub name: String,
    /// How many.
    pub count: u32,
    /// Memory of one, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(rename = "memoryMiB")]
    pub memory_mib: Option<u64>,
    /// Compute capability, e.g. `8.6`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub compute_capability: Option<String>,
    /// Driver version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub driver: Option<String>,
}

/// Where an inventory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum InventorySource {
    /// Labels of GPU feature discovery.
    GFD,
    /// Allocatable resources of the nodes alone.
    NodeStatus,
}

/// Agents of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelStatus {
    /// Name of the model.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Where its agents stand.
    pub phase: ModelPhase,
    /// Agents wanted.
    pub replicas: u32,
    /// Agents that serve.
    pub ready: u32,
    /// Jobs that wait for an agent.
    pub queued: u32,
    /// Completion tokens a second of its agents together, measured when they started.
    #[serde(default)]
    pub tokens_per_second: i64,
    /// Nodes that have a copy of the file of `source.url`, as their agents have shown it. A copy that was evicted since
    /// shows when the next agent starts there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 253)))]
    pub cached_nodes: Vec<String>,
    /// SHA-256 of these copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub cached_sha256: Option<String>,
    /// Downloads of the file that agents wait for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["node"]))]
    pub downloads: Vec<Download>,
}

/// A download of a model's file onto a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Download {
    /// The node.
    #[schemars(length(max = 253))]
    pub node: String,
    /// Bytes that are there.
    #[serde(default)]
    pub bytes: u64,
    /// Bytes of the whole file, once the server has said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// Bytes a second, over the last seconds.
    #[serde(default)]
    pub bytes_per_second: u64,
    /// Seconds until it ends, as fast as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// Why it failed last, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub failure: Option<String>,
}

/// Where the agents of a model stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum ModelPhase {
    /// No agent is wanted.
    Idle,
    /// An agent is wanted and none serves.
    Starting,
    /// At least one agent serves.
    Serving,
    /// Agents cannot start.
    Failed,
}
