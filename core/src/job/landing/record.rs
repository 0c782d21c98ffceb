//! One line of `results.jsonl`, and one of `tokens.jsonl`.

use cocoon_api::{agent::FailureCode, receipt::AnswerTokens};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Bytes of a failure's message as JSON, at most: some sentences.
pub(super) const MAX_MESSAGE_BYTES: usize = 400;

/// How one request ended, as it is stored: one line of `results.jsonl`, in the format of `OpenAI` batches.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResultRecord {
    /// Index in the job's input.
    pub index: u32,
    /// The name that the user gave the request.
    pub custom_id: String,
    /// The answer.
    pub response: Option<ResponseRecord>,
    /// Or the failure.
    pub error: Option<ErrorRecord>,
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResponseRecord {
    /// Always 200.
    pub status_code: u16,
    /// The body exactly as delivered: its digest is in the receipt.
    pub body: Box<RawValue>,
}

/// A failure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorRecord {
    /// For programs.
    pub code: FailureCode,
    /// For people.
    pub message: String,
}

/// The tokens of one delivered result, as they are stored: one line of `tokens.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokensRecord {
    /// Index in the job's input.
    pub index: u32,
    /// Of the prompt and of the answer.
    #[serde(flatten)]
    pub tokens: AnswerTokens,
}

impl TokensRecord {
    pub(super) fn new(index: u32, tokens: AnswerTokens) -> Self {
        Self { index, tokens }
    }
}

impl ResultRecord {
    pub(super) fn answered(index: u32, custom_id: String, body: Box<RawValue>) -> Self {
        Self {
            index,
            custom_id,
            response: Some(ResponseRecord {
                status_code: 200,
                body,
            }),
            error: None,
        }
    }

    /// An agent's words come from outside: as much of them is kept as there is always room for.
    pub(super) fn failed(index: u32, custom_id: String, code: FailureCode, message: &str) -> Self {
        let message = bounded(message);
        Self {
            index,
            custom_id,
            response: None,
            error: Some(ErrorRecord { code, message }),
        }
    }
}

/// The beginning of a message that takes no more than [`MAX_MESSAGE_BYTES`] as JSON.
fn bounded(message: &str) -> String {
    let mut bytes = 0;
    let printable = message
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter });
    printable
        .take_while(|letter| {
            bytes += match letter {
                '"' | '\\' => 2,
                letter => letter.len_utf8(),
            };
            bytes <= MAX_MESSAGE_BYTES
        })
        .collect()
}
