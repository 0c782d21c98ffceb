//! The model that attempts run on.

use std::sync::Arc;

use cocoon_api::receipt::Sha256Digest;

use super::outcomes::Outcomes;
use crate::{
    engine::Engine,
    model::{chat::ChatTemplate, tokenizer::Tokenizer},
};

/// A model that is ready to serve.
pub struct Served {
    /// Name that jobs call it by.
    pub name: String,
    /// SHA-256 of its file.
    pub sha256: Sha256Digest,
    /// Its tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// Its chat template, if the file has one.
    pub chat: Option<ChatTemplate>,
    /// Tokens of context that one request may use.
    pub context: usize,
    /// What computes: `CPU` or `CUDA`.
    pub backend: String,
    /// Tokens a second of one sequence, measured at start.
    pub tokens_per_second: f64,
}

/// A model, the engine that computes it, and what came of requests.
pub struct Serving {
    /// The model.
    pub model: Served,
    /// Its engine.
    pub engine: Engine,
    /// How requests ended.
    pub outcomes: Outcomes,
}
