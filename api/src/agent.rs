//! The protocol between operator and agent, HTTP/1.1 with mutual TLS.
//!
//! | request | meaning |
//! |---|---|
//! | `PUT /v1/jobs/{uid}/{attempt}` | body [`AttemptRequest`]; idempotent: 201 the first time, 200 for the same body again, 409 for another body. Answers [`AttemptProgress`] |
//! | `GET /v1/jobs/{uid}/{attempt}` | [`AttemptProgress`], or 404 |
//! | `GET /v1/jobs/{uid}/{attempt}/results?from=N` | NDJSON of [`ResultLine`] from position `N` on, open until the attempt ends; an empty line is a sign of life |
//! | `DELETE /v1/jobs/{uid}/{attempt}` | cancels what is not finished; what is finished stays readable. Answers [`AttemptProgress`] |
//! | `GET /v1/identity` | [`Identity`] |
//! | `GET /v1/credential` | [`Credential`], or 503 where it cannot be read |
//! | `GET /v1/attempts` | the [`ChainId`](crate::receipt::ChainId) of every attempt that it knows, as a JSON array |
//!
//! An error answers with its HTTP status and an [`ErrorBody`].
//!
//! The agent is the only one that counts tokens, and it keeps what it knows in memory: what an agent had not
//! handed over when its machine died was neither delivered nor billed, and runs again elsewhere.

mod devices;
mod fetch;
mod fetch_fault;
mod gpu_fault;
mod last_word;
mod start_fault;

pub use devices::{DeviceEnd, Devices};
pub use fetch::{FETCH_EXIT_STATUS, FetchProgress, FetchStage, PROGRESS_PATH};
pub use fetch_fault::FetchFault;
pub use gpu_fault::GpuFault;
pub use start_fault::StartFault;

use serde::{Deserialize, Serialize};

use crate::{
    json::Payload,
    receipt::{AgentKey, AnswerTokens, Receipt, Sha256Digest},
    units::{NanoTon, Prices, Usage},
};

/// Requests in one attempt at most: one `InferenceJob` holds no more.
pub const MAX_REQUESTS: usize = 256;
/// Bytes of one [`AttemptRequest`] at most: 256 KiB of input and what surrounds it.
pub const MAX_ATTEMPT_BYTES: usize = 1 << 20;
/// Bytes of one line of results at most: a whole context of text and of tokens, escaped, and its receipt. An agent
/// whose answer takes more says [`FailureCode::ResultTooLarge`] instead.
pub const MAX_RESULT_LINE_BYTES: usize = 1 << 20;
/// Seconds between signs of life on a stream of results.
pub const KEEP_ALIVE_SECONDS: u64 = 5;
/// Bytes of the token in a [`Credential`] at most: tokens of an API server take one or two KiB.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Stop strings of one request at most, as in the `OpenAI` API.
pub const MAX_STOP_STRINGS: usize = 4;

/// The `OpenAI` endpoint whose bodies the requests have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum Endpoint {
    /// `{"messages": [{"role", "content"}]}`; the model's chat template applies.
    #[serde(rename = "/v1/chat/completions")]
    ChatCompletions,
    /// `{"prompt": "…"}`; the text is continued as it is.
    #[serde(rename = "/v1/completions")]
    Completions,
}

impl Endpoint {
    /// The path, as in the `OpenAI` API.
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
        }
    }
}

/// Sampling of every request that does not say otherwise in its own body.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SamplingDefaults {
    /// Completion tokens at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// `0` is greedy; `0..=2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus, `0..=1`; 0 leaves the likeliest token alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Only the `k` likeliest tokens; absent or 0 is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Seed of the sampler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// One request of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestItem {
    /// Index in the job's input, from 0; unique in an attempt.
    pub index: u32,
    /// Body as in the `OpenAI` API, as the bytes in which its author wrote it; `stream` and `n > 1` are refused.
    pub body: Payload,
}

/// What the operator asks of one agent: some or all requests of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptRequest {
    /// Name of the model; must be the one that the agent serves.
    pub model: String,
    /// SHA-256 of the model file; must be the one that the agent loaded.
    pub model_sha256: Sha256Digest,
    /// How the bodies read.
    pub endpoint: Endpoint,
    /// Address of the channel that pays; absent for a job that is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Prices in force for the whole attempt.
    pub prices: Prices,
    /// What the attempt may cost. A request starts only while the costs so far, and the most that it and those
    /// in flight can cost, fit; the others end with [`FailureCode::BudgetExceeded`]. Absent: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<NanoTon>,
    /// Sampling where a body is silent.
    #[serde(default)]
    pub sampling: SamplingDefaults,
    /// Requests in flight at once, at least 1.
    pub parallelism: u32,
    /// The requests, 1 to [`MAX_REQUESTS`].
    pub requests: Vec<RequestItem>,
}

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttemptState {
    /// Some requests are waiting or in flight.
    Running,
    /// Every request has a result line.
    Finished,
    /// Cancelled; every request has a result line, some of them failures with [`FailureCode::Cancelled`].
    Cancelled,
}

/// Live figures of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptProgress {
    /// Key of the agent that answers.
    pub agent: AgentKey,
    /// Where it stands.
    pub state: AttemptState,
    /// Requests in all.
    pub total: u32,
    /// Requests being computed.
    pub in_flight: u32,
    /// Requests with a result.
    pub succeeded: u32,
    /// Requests that failed.
    pub failed: u32,
    /// Tokens so far, those of requests in flight included; never billed from here.
    pub usage: Usage,
    /// Completion tokens a second over the last seconds.
    pub tokens_per_second: f64,
}

/// Why one request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The body is not what the endpoint takes.
    InvalidRequest,
    /// The prompt, or prompt and `max_tokens`, do not fit the context.
    ContextLengthExceeded,
    /// The attempt's budget does not cover it.
    BudgetExceeded,
    /// The attempt was cancelled first.
    Cancelled,
    /// The agent failed; another attempt may succeed.
    Internal,
    /// The model has no finite result for it; another attempt would find the same.
    NotComputable,
    /// The answer does not fit one line of results, or one page where they are kept, or beside the others of the job.
    ResultTooLarge,
}

impl FailureCode {
    /// Whether another attempt can succeed where this one failed.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Internal | Self::Cancelled)
    }

    /// The code in our own words, for statuses, Events and logs: an agent's message, which may hold anything, stays
    /// with the results.
    pub const fn words(self) -> &'static str {
        match self {
            Self::InvalidRequest => "the body is not what the endpoint takes",
            Self::ContextLengthExceeded => {
                "the prompt, or prompt and max_tokens, do not fit the model's context"
            }
            Self::BudgetExceeded => "billing.maxNano does not cover it",
            Self::Cancelled => "it was cancelled before it had run",
            Self::Internal => "the agent failed",
            Self::NotComputable => "the model has no finite result for it",
            Self::ResultTooLarge => "the answer does not fit where results are kept",
        }
    }
}

/// Why an agent refuses a call, as its HTTP status says. The words beside it are for whoever speaks to the agent by
/// hand and go no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalCode {
    /// 400, 413 and others of the kind: it cannot read the attempt, or its path.
    Malformed,
    /// 401 and 403: it does not accept the caller's certificate.
    Forbidden,
    /// 404: it does not know the attempt.
    Unknown,
    /// 409: it has another body under this attempt's number.
    Conflict,
    /// 422: it serves another model, or cannot run such an attempt.
    Unfit,
    /// 408, 429 and 503: it has no room now.
    Busy,
    /// 5xx: it failed.
    Failed,
}

impl RefusalCode {
    /// The code of an HTTP status that is no success.
    pub const fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Forbidden,
            404 | 410 => Self::Unknown,
            408 | 425 | 429 | 503 => Self::Busy,
            409 => Self::Conflict,
            422 => Self::Unfit,
            500.. => Self::Failed,
            _ => Self::Malformed,
        }
    }

    /// Whether the same call can succeed later.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Busy | Self::Failed)
    }

    /// The code in our own words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Malformed => "it cannot read the attempt: operator and agent may be of different versions",
            Self::Forbidden => "it does not accept the operator's certificate",
            Self::Unknown => "it does not know the attempt",
            Self::Conflict => "it has another body under the attempt's number",
            Self::Unfit => "it serves another model or version than was agreed",
            Self::Busy => "it has no room now",
            Self::Failed => "it failed",
        }
    }
}

impl std::fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.words())
    }
}

/// How one request ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Delivered, and billed.
    Succeeded {
        /// The `OpenAI` response body, as JSON text: exactly the bytes whose digest the receipt names.
        body: String,
        /// The tokens whose root the receipt names.
        tokens: AnswerTokens,
        /// The signed record.
        receipt: Box<Receipt>,
    },
    /// Not delivered, and free.
    Failed {
        /// For programs.
        code: FailureCode,
        /// For people.
        message: String,
    },
}

/// One line of the stream of results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultLine {
    /// Place in the order of completion, from 0: what `?from=` counts.
    pub position: u32,
    /// Index of the request in the job's input.
    pub index: u32,
    /// How it ended.
    pub outcome: Outcome,
}

/// Who the agent is and what it serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Key that signs its receipts, made when the process started.
    pub agent: AgentKey,
    /// Name of the model.
    pub model: String,
    /// SHA-256 of the model file, verified at load.
    pub model_sha256: Sha256Digest,
    /// `CPU` or `CUDA`.
    pub backend: String,
    /// Tokens of context.
    pub context_length: u32,
    /// Completion tokens a second, measured at start.
    pub tokens_per_second: f64,
    /// What computes, and what has ended of it.
    #[serde(default)]
    pub devices: Devices,
}

/// The word of the API server on whose process answers: a token that is bound to the agent's pod, for the audience
/// [`AGENT_AUDIENCE`](crate::names::AGENT_AUDIENCE). It goes to the operator alone, which has just shown its
/// certificate, and says something only of the certificate of the very connection on which it came.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    /// The `ServiceAccount` token, as the kubelet wrote it.
    pub token: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").finish_non_exhaustive()
    }
}

/// Exit status of an agent that cannot use the GPUs that it was given: `EX_UNAVAILABLE` of `sysexits.h`. The last line
/// that it logs is `error: CODE: …`, where `CODE` is a [`GpuFault`].
pub const GPU_EXIT_STATUS: i32 = 69;

/// Exit status of an agent that cannot start for another reason that has a code: `EX_CONFIG` of `sysexits.h`. The last
/// line that it logs is `error: CODE: …`, where `CODE` is a [`StartFault`].
pub const START_EXIT_STATUS: i32 = 78;

/// Body of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// What was attempted, on what, and what can be done.
    pub message: String,
}
