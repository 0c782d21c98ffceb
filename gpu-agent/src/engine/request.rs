//! What is asked of an engine, and what it answers.

use cocoon_api::{TokenCount, Usage};

use super::fault::Failure;
use crate::backend::Sampling;

/// What to generate.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationRequest {
    /// Tokens to continue, at least one.
    pub prompt: Vec<u32>,
    /// Tokens to sample at most, at least one; fits the context together with the prompt.
    pub max_tokens: usize,
    /// How to sample.
    pub sampling: Sampling,
    /// Texts at which the completion ends; none is empty.
    pub stop: Vec<String>,
    /// Goes on after an end-of-sequence token, which is counted like any other.
    pub ignore_eos: bool,
}

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it, or a stop text appeared.
    Stop,
    /// It has as many tokens as were asked for.
    Length,
}

/// What happens to a request, in order: `Prefilled`, `Tokens` until all are sampled, `Finished`.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The prompt was computed.
    Prefilled {
        /// Tokens of the prompt that came from the prefix cache.
        cached: TokenCount,
    },
    /// Tokens were sampled.
    Tokens {
        /// The tokens, at least one.
        ids: Vec<u32>,
        /// Text that is certain to be part of the answer; it may lag behind the tokens, and has caught up with the
        /// last.
        text: String,
        /// Log-probabilities of the tokens by the model's logits as they were, before temperature and penalties.
        logprobs: Vec<f32>,
    },
    /// Nothing follows.
    Finished {
        /// Why.
        reason: FinishReason,
        /// Tokens of the whole request: what is billed.
        usage: Usage,
    },
    /// The request has no answer; nothing follows, and nothing is billed.
    Failed(Failure),
}
