//! `InferenceJob`: a batch of requests to one model.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{Agreement, KeyReference, LocalReference, MaxPrices, ProviderReference, output::Output};
use crate::{
    agent::Endpoint,
    conditions::{self, Complete, Failed, Reason as _},
    json::Payload,
    units::{NanoTon, Prices, Usage},
};

/// A batch of requests to one model, its budget and where the results go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "cocoon.farm",
    version = "v1alpha1",
    kind = "InferenceJob",
    plural = "inferencejobs",
    shortname = "ij",
    category = "cocoon",
    namespaced,
    status = "InferenceJobStatus",
    derive = "PartialEq",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name is the value of a label: at most 63 characters"),
    doc = "InferenceJob is a batch of requests to one model. Its results are in a Secret of the job's name, and in those that its status lists.",
    selectable = ".spec.model",
    selectable = ".status.phase",
    printcolumn(name = "Model", type_ = "string", json_path = ".spec.model"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Done", type_ = "string", json_path = ".status.progress"),
    printcolumn(
        name = "Cost",
        type_ = "string",
        json_path = ".status.cost.spent",
        description = "TON"
    ),
    printcolumn(
        name = "Settled",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Settled\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.waitingFor",
        priority = 1
    ),
    printcolumn(
        name = "Tokens",
        type_ = "integer",
        json_path = ".status.usage.completionTokens",
        priority = 1
    ),
    printcolumn(
        name = "Provider",
        type_ = "string",
        json_path = ".status.provider",
        priority = 1
    ),
    printcolumn(
        name = "Queue",
        type_ = "integer",
        json_path = ".status.queuePosition",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("self.model == oldSelf.model && self.endpoint == oldSelf.endpoint && self.input == oldSelf.input && has(self.parameters) == has(oldSelf.parameters) && (!has(self.parameters) || self.parameters == oldSelf.parameters) && has(self.providerRef) == has(oldSelf.providerRef) && (!has(self.providerRef) || self.providerRef == oldSelf.providerRef)").message("model, providerRef, endpoint, input and parameters are immutable: make a new job"))]
#[x_kube(validation = Rule::new("self.billing.mode == oldSelf.billing.mode && has(self.billing.channelRef) == has(oldSelf.billing.channelRef) && (!has(self.billing.channelRef) || self.billing.channelRef == oldSelf.billing.channelRef) && (!has(oldSelf.billing.maxNano) || self.billing.maxNano >= oldSelf.billing.maxNano) && has(self.billing.maxPrices) == has(oldSelf.billing.maxPrices) && (!has(self.billing.maxPrices) || self.billing.maxPrices == oldSelf.billing.maxPrices)").message("billing is immutable, except that maxNano may grow"))]
pub struct InferenceJobSpec {
    /// Name of the model, as the provider offers it.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    )]
    pub model: String,
    /// The provider that is asked. Absent: the one that the channel pays; of a job that is free, any of the namespace
    /// that offers the model for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<ProviderReference>,
    /// Which API the requests use.
    #[serde(default = "default_endpoint")]
    pub endpoint: Endpoint,
    /// The requests.
    pub input: Input,
    /// Sampling of requests that do not say otherwise.
    #[serde(default)]
    pub parameters: Parameters,
    /// Requests that are computed at once.
    #[serde(default = "default_parallelism")]
    #[schemars(range(min = 1, max = 256))]
    pub parallelism: u32,
    /// Holds the job back, or stops it and keeps what is finished, as in `batch/v1`.
    #[serde(default)]
    pub suspend: bool,
    /// Seconds that the job may run, counted from its first dispatch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub active_deadline_seconds: Option<i64>,
    /// How often the rest of the job is dispatched again after its agent was lost.
    #[serde(default = "default_backoff_limit")]
    #[schemars(range(min = 0, max = 100))]
    pub backoff_limit: u32,
    /// Seconds after which a finished and settled job is deleted; absent keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<i64>,
    /// Who pays, and how much at most.
    pub billing: Billing,
}

fn default_endpoint() -> Endpoint {
    Endpoint::ChatCompletions
}
fn default_parallelism() -> u32 {
    4
}
fn default_backoff_limit() -> u32 {
    6
}

/// The requests: exactly one source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("(has(self.inline) ? 1 : 0) + (has(self.configMapRef) ? 1 : 0) + (has(self.secretRef) ? 1 : 0) == 1").message("exactly one of inline, configMapRef and secretRef must be set"))]
pub struct Input {
    /// Request bodies as in the OpenAI API. Whoever may read jobs reads them here: a Secret keeps them apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub inline: Option<Vec<Payload>>,
    /// OpenAI batch JSONL in a `ConfigMap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyReference>,
    /// OpenAI batch JSONL in a Secret that carries the label `cocoon.farm/input: "true"`: no other Secret is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyReference>,
}

impl schemars::JsonSchema for Payload {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RequestBody".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "object",
            "description": "One request body as in the OpenAI API: `messages` for chat completions, `prompt` for completions; besides these max_tokens, temperature, top_p, top_k, seed, stop and user, and ignore_eos to go on after the model has ended its answer.",
            "x-kubernetes-preserve-unknown-fields": true,
        })
    }
}

/// Sampling of requests that do not say otherwise.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Parameters {
    /// Completion tokens at most; absent: until the context is full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub max_tokens: Option<u32>,
    /// 0 is greedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: Option<f64>,
    /// Only the likeliest tokens whose probabilities add up to this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: Option<f64>,
    /// Only this many of the likeliest tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub top_k: Option<u32>,
    /// Seed of the sampler: the same seed gives the same answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub seed: Option<u64>,
}

/// Who pays, and how much at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("self.mode == 'Channel' ? has(self.channelRef) && has(self.maxNano) : !has(self.channelRef) && !has(self.maxNano) && !has(self.maxPrices) && !has(self.step)").message("mode Channel needs channelRef and maxNano; mode Free takes neither"))]
pub struct Billing {
    /// `Channel` pays from a payment channel, `Free` costs nothing.
    #[serde(default)]
    pub mode: BillingMode,
    /// The channel that pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_ref: Option<LocalReference>,
    /// The most that the job may cost, in nanoTON; reserved on the channel before anything runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1))]
    pub max_nano: Option<NanoTon>,
    /// The most that tokens may cost; absent: any price, within `maxNano`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prices: Option<MaxPrices>,
    /// Requests that run at once before the payer has to sign for more; absent: all. A step may cost its requests'
    /// share of `maxNano`, and is reserved alone: the job waits after each until the channel's voucher covers the next,
    /// as `kubectl cocoon run --step` has it do once the receipts of the last one verify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub step: Option<u32>,
}

/// How a job is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum BillingMode {
    /// From a payment channel.
    #[default]
    Channel,
    /// Not at all.
    Free,
}

/// Where a job stands. Only the operator writes it, whole, so that the API server need not keep who wrote which field
/// of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
#[x_kube(validation = Rule::new("!has(oldSelf.agreed) || (has(self.agreed) && self.agreed == oldSelf.agreed)").message("what was agreed is immutable"))]
pub struct InferenceJobStatus {
    /// Generation of the specification that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// For people; programs read the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<JobPhase>,
    /// `Accepted`, `FundsReserved`, `Scheduled`, `Suspended`, `Complete`, `Failed`, `Settled`.
    #[serde(default)]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// UID of the `PaymentChannel` that holds the budget. Usage is metered on that object alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub channel_uid: Option<String>,
    /// When the first request was dispatched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the job ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Requests by state.
    #[serde(default)]
    pub requests: RequestCounts,
    /// `done/total`, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub progress: Option<String>,
    /// Jobs before this one at its provider, counted again when a quarter of them is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u32>,
    /// What the job waits for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub waiting_for: Option<String>,
    /// The provider that serves it: its name, or `namespace/name` where it is of another namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 317))]
    pub provider: Option<String>,
    /// What payer and provider agreed on: written with the first attempt, and immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreed: Option<Agreement>,
    /// Tokens of delivered requests.
    #[serde(default)]
    pub usage: Usage,
    /// Completion tokens a second, as the agent last said.
    #[serde(default)]
    pub tokens_per_second: i64,
    /// Money.
    #[serde(default)]
    pub cost: JobCost,
    /// One entry for each attempt, in order.
    #[serde(default)]
    #[schemars(length(max = 101), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["attempt"]))]
    pub assignments: Vec<Assignment>,
    /// SHA-256 of the requests as they were accepted; a job whose input changes afterwards fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[serde(rename = "inputSHA256")]
    pub input_sha256: Option<String>,
    /// Where the results are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// Digest over all receipts of the job, in the order of its requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub receipts_root: Option<String>,
    /// How the cost reaches the chain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["channel"]))]
    pub settlement: Vec<JobSettlement>,
    /// All usage of the job is in its channel's counters; no more will come.
    #[serde(default)]
    pub metered: bool,
}

/// Where a job stands, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum JobPhase {
    /// It waits; `waitingFor` says for what.
    Pending,
    /// Held back.
    Suspended,
    /// An agent works on it.
    Running,
    /// Every request has a result; the cost is not yet on chain.
    Complete,
    /// Complete and paid.
    Settled,
    /// Ended without completing.
    Failed,
}

/// Requests by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestCounts {
    /// In the input.
    pub total: u32,
    /// Being computed.
    pub in_flight: u32,
    /// Delivered.
    pub succeeded: u32,
    /// Failed for good.
    pub failed: u32,
    /// Dispatched again after an agent was lost.
    pub retried: u32,
}

/// Money of a job.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobCost {
    /// Reserved on the channel while the job runs.
    #[serde(default)]
    pub reserved_nano: NanoTon,
    /// What the delivered requests cost.
    #[serde(default)]
    pub spent_nano: NanoTon,
    /// Metered on the channel in all when the job's last usage was: the job is paid once the channel has redeemed as
    /// much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settles_at_nano: Option<NanoTon>,
    /// `spentNano` in TON, for people.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub spent: String,
}

/// Attempts of one job at most, as the schema of its status says: the first, and one for each that `backoffLimit`
/// allows. Attempts that were stopped, by `suspend`, because they were no longer covered or because their agent was
/// evicted, count here as well.
pub const MAX_ASSIGNMENTS: usize = 101;

/// One attempt: some requests on one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// The provider: its name, or `namespace/name` where it is of another namespace.
    #[schemars(length(max = 317))]
    pub provider: String,
    /// Name of the agent's pod.
    #[schemars(length(max = 253))]
    pub pod: String,
    /// UID of the agent's pod.
    #[schemars(length(max = 36))]
    pub pod_uid: String,
    /// The agent's public key, which verifies its receipts.
    #[schemars(length(max = 64))]
    pub agent: String,
    /// The word of the provider's wallet that the key is its agent's; absent where no wallet is needed to serve for
    /// free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<AgentCertificate>,
    /// Prices of the attempt: those that were agreed.
    #[serde(default)]
    pub prices: Prices,
    /// Requests delivered by it.
    pub requests: u32,
    /// Completion tokens of them.
    #[serde(default)]
    pub completion_tokens: i64,
    /// What they cost.
    pub nano: NanoTon,
    /// Where the attempt stands.
    pub state: AssignmentState,
}

/// A wallet's word that a key is that of an agent of one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentCertificate {
    /// Global id of the wallet's network.
    pub global_id: i32,
    /// The wallet's Ed25519 public key, as 64 hexadecimal digits. With the network's id it makes the wallet's address.
    #[schemars(length(max = 64))]
    pub wallet_key: String,
    /// The wallet's signature over the network's id, namespace and name of the provider, and the agent's key, as 128
    /// hexadecimal digits.
    #[schemars(length(max = 128))]
    pub signature: String,
}

impl InferenceJob {
    /// Whether the job is complete or failed.
    pub fn is_ended(&self) -> bool {
        self.status.as_ref().is_some_and(InferenceJobStatus::is_ended)
    }
}

impl InferenceJobStatus {
    /// Whether the job is complete or failed.
    pub fn is_ended(&self) -> bool {
        conditions::is_true(&self.conditions, Complete::TYPE)
            || conditions::is_true(&self.conditions, Failed::TYPE)
    }

    /// The attempt that an agent works on.
    pub fn active(&self) -> Option<&Assignment> {
        self.assignments
            .iter()
            .find(|assignment| assignment.state == AssignmentState::Active)
    }

    /// The number of the attempt that would follow.
    pub fn next_attempt(&self) -> u32 {
        let numbers = self.assignments.iter().map(|assignment| assignment.attempt);
        numbers.max().unwrap_or_default().saturating_add(1)
    }
}

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum AssignmentState {
    /// The agent works on it.
    Active,
    /// All its results are landed.
    Ended,
    /// The agent is gone; what it had not delivered runs again.
    Lost,
    /// Stopped by `suspend`, because it was no longer covered, or because the cluster took its agent from its node;
    /// what it had not delivered runs later, and it counts against no limit.
    Suspended,
    /// The agent refused it; another is asked.
    Refused,
}

/// How the cost of a job reaches the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobSettlement {
    /// Name of the channel.
    #[schemars(length(max = 253))]
    pub channel: String,
    /// The settlement: its name, or `namespace/name` where it is of another namespace.
    #[schemars(length(max = 317))]
    pub settlement: String,
    /// Where it stands: `Signed`, `Broadcast`, `Confirmed`.
    #[schemars(length(max = 32))]
    pub state: String,
    /// Hash of the wallet's transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub transaction: Option<String>,
    /// The job's part of the claim.
    pub nano: NanoTon,
}
