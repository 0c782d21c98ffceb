//! The recorded reference outputs of one model.

use serde::Deserialize;

use crate::model::chat::Message;

/// Largest golden file: those in the repository are about 24 KiB.
const MAX_GOLDEN_BYTES: usize = 16 << 20;

/// Why a golden file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// Larger than any golden file.
    #[error("golden file has {0} bytes, more than the {MAX_GOLDEN_BYTES} that are accepted")]
    Size(usize),
    /// Not the expected JSON.
    #[error("golden file is not valid")]
    Json(#[from] serde_json::Error),
    /// A digest that is none.
    #[error("golden file's file_sha256 is not 64 hexadecimal digits")]
    Digest,
}

/// One golden file.
#[derive(Debug, Clone, Deserialize)]
pub struct Golden {
    /// Name of the model.
    pub model: String,
    /// SHA-256 of the model file, in hexadecimal.
    pub file_sha256: String,
    /// Texts and their tokens.
    pub tokenize: Vec<Tokenized>,
    /// Conversations and what the template makes of them.
    pub chat: Vec<Rendered>,
    /// Prompts and fixed continuations with the reference's log-probabilities.
    pub completions: Vec<Completion>,
    /// How far a recorded peer is from the reference.
    pub peer_deviation: Deviation,
}

impl Golden {
    /// Parses a golden file.
    ///
    /// # Errors
    /// The text is too large or not of this form.
    pub fn parse(text: &[u8]) -> Result<Self, GoldenError> {
        if text.len() > MAX_GOLDEN_BYTES {
            return Err(GoldenError::Size(text.len()));
        }
        let golden: Self = serde_json::from_slice(text)?;
        golden.sha256()?;
        Ok(golden)
    }

    /// SHA-256 of the model file.
    ///
    /// # Errors
    /// The recorded text is no digest.
    pub fn sha256(&self) -> Result<[u8; 32], GoldenError> {
        let mut digest = [0; 32];
        hex::decode_to_slice(&self.file_sha256, &mut digest).map_err(|_| GoldenError::Digest)?;
        Ok(digest)
    }

    /// Tokens of the longest completion, prompt included.
    pub fn longest(&self) -> usize {
        self.completions
            .iter()
            .map(|case| case.prompt_tokens.len() + case.tokens.len())
            .max()
            .unwrap_or(0)
    }
}

/// A text and its tokens: special tokens recognised, none added.
#[derive(Debug, Clone, Deserialize)]
pub struct Tokenized {
    /// The text.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<u32>,
}

/// A conversation and the prompt that the template makes of it.
#[derive(Debug, Clone, Deserialize)]
pub struct Rendered {
    /// The conversation.
    pub messages: Vec<Message>,
    /// The rendered prompt.
    #[serde(rename = "rendered")]
    pub prompt: String,
    /// Its tokens.
    pub tokens: Vec<u32>,
}

/// A prompt and a fixed continuation.
#[derive(Debug, Clone, Deserialize)]
pub struct Completion {
    /// The prompt's text; absent where only its tokens are given.
    pub prompt: Option<String>,
    /// The prompt's tokens, by the model's rule about a beginning-of-sequence token.
    pub prompt_tokens: Vec<u32>,
    /// The continuation.
    pub tokens: Vec<u32>,
    /// For each step, the likeliest tokens and their log-probabilities, best first.
    pub top: Vec<Vec<(u32, f64)>>,
}

/// Absolute differences of log-probabilities to the reference over the first 8 steps.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Deviation {
    /// Mean over the likeliest tokens.
    pub top1_mean: f64,
    /// 95th percentile over the likeliest tokens.
    pub top1_p95: f64,
    /// Mean over the five likeliest tokens.
    pub top5_mean: f64,
    /// 95th percentile over the five likeliest tokens.
    pub top5_p95: f64,
}
