//! What an offer serves: models, and where their files come from.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{DURATION_PATTERN, PodResources, PodSettings};
use crate::units::Prices;

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
    #[schemars(length(min = 1, max = 16), regex(pattern = DURATION_PATTERN))]
    pub idle_timeout: String,
    /// What the model takes in memory, as `kubectl cocoon model add` reads it off the file. From it follows what memory
    /// its agents ask for and may take; without it they ask for 512Mi and have no limit. `pod.resources` goes before
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footprint: Option<Footprint>,
    /// How the pods of its agents are scheduled, labelled and limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodSettings>,
    /// What tokens of this model cost.
    pub price: Prices,
    /// Takes jobs with `billing.mode: Free` although tokens have a price. Where all prices are 0, such jobs run anyway.
    #[serde(default)]
    pub allow_free: bool,
}

/// What a model takes in memory. With backend `CPU` an agent asks for weights, a full cache (`contextLength` rounded up
/// to 64, times `maxInFlight`, times `cacheBytesPerToken`) and 512Mi, and may take a quarter of the weights and 768Mi
/// more. With backend `CUDA` the cards hold both: it asks for 512Mi and 512Mi for each GPU, and may take 1280Mi and 1Gi
/// for each GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Footprint {
    /// Bytes of the weights.
    #[schemars(range(min = 1, max = 1_125_899_906_842_624_u64))]
    pub weights_bytes: u64,
    /// Bytes of keys and values of one token of context, over all layers.
    #[schemars(range(min = 1, max = 1_073_741_824))]
    pub cache_bytes_per_token: u64,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(has(self.hostPath) ? 1 : 0) + (has(self.pvc) ? 1 : 0) + (has(self.url) ? 1 : 0) == 1").message("exactly one of hostPath, pvc and url must be set"),
    validation = Rule::new("!has(self.headersFrom) || has(self.url)").message("headersFrom is for a url"),
    validation = Rule::new("!has(self.resources) || has(self.url)").message("resources are for a url: those of agents are in pod.resources")
)]
pub struct ModelSource {
    /// Address of the file, http or https. Each node on which an agent is to run downloads it once, verifies it and
    /// keeps it, by its digest: other agents start from that copy, those of other offers too. What the nodes keep is
    /// bounded by the chart's `models.cache`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 2048), regex(pattern = r"^https?://[^\s/?#]+[^\s#]*$"))]
    #[x_kube(validation = Rule::new("!self.matches('^https?://[^/?#]*@')").message("url must hold no user or password: put them into a header, and name its Secret in headersFrom"))]
    pub url: Option<String>,
    /// Secret whose keys and texts are headers of the requests to `url`, for example `Authorization`. It carries the
    /// label `cocoon.farm/headers: "true"`, so that no other Secret can be sent somewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_from: Option<HeadersFrom>,
    /// What the container that downloads from `url` asks for and may take. Where it is left out, that is 10m of a core
    /// and 32Mi, and at most a core and 256Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<PodResources>,
    /// Absolute path of the file on every matching node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^/[^\x00]*[^/]$"))]
    #[x_kube(validation = Rule::new("!self.split('/').exists(part, part == '..')").message("hostPath must not contain .."))]
    pub host_path: Option<String>,
    /// File on a persistent volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pvc: Option<PvcSource>,
    /// SHA-256 of the file, as 64 hexadecimal digits; any other file is refused.
    #[schemars(length(min = 64, max = 64), regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
}

/// A Secret with headers of requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeadersFrom {
    /// Name of the Secret, of the provider's namespace.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
}

/// A file on a persistent volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PvcSource {
    /// Name of the `PersistentVolumeClaim`.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub claim_name: String,
    /// Path of the file within the volume.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[^/\x00][^\x00]*$"))]
    #[x_kube(validation = Rule::new("!self.split('/').exists(part, part == '..')").message("path must not contain .."))]
    pub path: String,
}
