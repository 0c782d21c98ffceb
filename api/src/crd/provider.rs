//! `CocoonProvider`: a farm's offer of GPUs, models and prices.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::Toleration,
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Condition},
};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::LocalReference;
use crate::units::{NanoTon, Prices};

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

/// One model of an offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelOffer {
    /// Name that jobs ask for.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Where the model file comes from.
    pub source: ModelSource,
    /// Tokens of context; a request's prompt and answer must fit.
    #[serde(default = "default_context_length")]
    #[schemars(range(min = 64, max = 1_048_576))]
    pub context_length: u32,
    /// GPUs that one agent's pod requests; 0 only with backend `CPU`.
    #[serde(default = "default_gpus_per_replica")]
    #[schemars(range(min = 0, max = 64))]
    pub gpus_per_replica: u32,
    /// Agents kept although there is no work.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub min_replicas: u32,
    /// Agents at most.
    #[serde(default = "default_max_replicas")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: u32,
    /// Requests that one agent computes at once.
    #[serde(default = "default_max_in_flight")]
    #[schemars(range(min = 1, max = 256))]
    pub max_in_flight: u32,
    /// How long agents beyond `minReplicas` stay without work, as a Go duration.
    #[serde(default = "default_idle_timeout")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]+(h|m|s|ms))+$"))]
    pub idle_timeout: String,
    /// What tokens of this model cost.
    pub price: Prices,
}

fn default_context_length() -> u32 {
    4096
}
fn default_gpus_per_replica() -> u32 {
    1
}
fn default_max_replicas() -> u32 {
    1
}
fn default_max_in_flight() -> u32 {
    8
}
fn default_idle_timeout() -> String {
    "10m".into()
}

/// Where a model file comes from: exactly one place, and the digest that the file must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.hostPath) != has(self.pvc)").message("exactly one of hostPath and pvc must be set"))]
pub struct ModelSource {
    /// Absolute path of the file on every matching node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^/[^\x00]*[^/]$"))]
    #[x_kube(validation = Rule::new("!self.split('/').exists(part, part == '..')").message("hostPath must not contain .."))]
    pub host_path: Option<String>,
    /// File on a persistent volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pvc: Option<PvcSource>,
    /// SHA-256 of the file, as 64 hexadecimal digits; an agent refuses any other file.
    #[schemars(length(min = 64, max = 64), regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
}

/// A file on a persistent volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PvcSource {
    /// Name of the `PersistentVolumeClaim`.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
    /// Path of the file within the volume.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[^/\x00][^\x00]*$"))]
    #[x_kube(validation = Rule::new("!self.split('/').exists(part, part == '..')").message("path must not contain .."))]
    pub path: String,
}

/// Where earnings go and how they are settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Payout {
    /// TON network by the name that the operator's configuration gives it, e.g. `mainnet`.
    #[schemars(
        length(min = 1, max = 32),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    )]
    pub network: String,
    /// Address of the payout wallet (v5r1): where channels pay.
    #[schemars(length(min = 48, max = 67))]
    pub address: String,
    /// Secret whose key `key` holds the wallet's 24 words or its 64 hexadecimal digits. The wallet signs
    /// settlements and pays their fees: keep little in it.
    pub wallet_secret_ref: LocalReference,
    /// When usage is settled.
    #[serde(default)]
    pub settle: SettlePolicy,
}

/// When usage is settled: as soon as either the threshold or the age is reached, while the fee stays small.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SettlePolicy {
    /// Settle once this much is metered and not yet on chain, over all channels.
    #[serde(default = "default_threshold")]
    pub threshold_nano: NanoTon,
    /// Settle once the oldest metered amount is this old, as a Go duration.
    #[serde(default = "default_max_age")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]+(h|m|s|ms))+$"))]
    pub max_age: String,
    /// The most that fees may take of an amount, as a decimal between 0 and 1; channels below wait.
    #[serde(default = "default_fee_ratio")]
    #[schemars(length(max = 8), regex(pattern = r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$"))]
    pub max_fee_ratio: String,
}

fn default_threshold() -> NanoTon {
    NanoTon::from_nano(1_000_000_000).expect("one TON is in range")
}
fn default_max_age() -> String {
    "24h".into()
}
fn default_fee_ratio() -> String {
    "0.01".into()
}

impl Default for SettlePolicy {
    fn default() -> Self {
        Self {
            threshold_nano: default_threshold(),
            max_age: default_max_age(),
            max_fee_ratio: default_fee_ratio(),
        }
    }
}

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

/// Money of an offer, over all its channels.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Earnings {
    /// Metered so far, in nanoTON.
    pub accrued_nano: NanoTon,
    /// In settlements that are signed or sent.
    pub submitted_nano: NanoTon,
    /// Shown by the channels' getters.
    pub confirmed_nano: NanoTon,
    /// `confirmedNano` in TON, for people.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub confirmed: String,
    /// `accruedNano` less `confirmedNano`, in TON, for people.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub pending: String,
    /// Confirmed by channels that are gone; part of the other figures.
    #[serde(default)]
    pub closed_channels_nano: NanoTon,
    /// Hash of the wallet's last transaction that redeemed something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub last_transaction: Option<String>,
    /// When it was confirmed (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub last_settled_at: Option<String>,
}
