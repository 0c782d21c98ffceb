//! Where a job's results lie.

use serde::{Deserialize, Serialize};

use super::reference::LocalReference;

/// Where the results are: in pages, all of which are Secrets of the job's namespace and belong to the job. Keys of
/// each: `results.jsonl`, OpenAI batch results; `receipts.jsonl`, the agents' receipts of what was delivered and is
/// billed; `tokens.jsonl`, the tokens that those receipts count; `undelivered.jsonl`, receipts of answers that did not
/// fit or came twice, which are free. One JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// The open page, of the job's name: what came last. Its key `pages.jsonl` lists the closed ones.
    pub secret_ref: LocalReference,
    /// Digest of the open page's texts, once the job has ended and nothing more is added to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub sha256: Option<String>,
    /// The closed pages in the order in which they were closed. Each was written once and is immutable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub pages: Vec<OutputPage>,
}

/// Closed pages of one job at most, as the schema of its status says.
pub const MAX_PAGES: usize = 128;

/// One closed page of results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutputPage {
    /// Name of the Secret.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Digest of its texts: SHA-256 over `results.jsonl`, `receipts.jsonl`, `undelivered.jsonl` and `tokens.jsonl`,
    /// each after its length in eight bytes, big-endian, and before all of them the text `cocoon.farm/page/v1`,
    /// likewise.
    #[schemars(length(max = 64))]
    pub sha256: String,
}
