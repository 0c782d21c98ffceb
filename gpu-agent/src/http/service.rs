//! What the handlers share: the model, the engine, the signing key and the attempts.

use std::sync::Arc;

use cocoon_api::{
    agent::Identity,
    receipt::{ReceiptSigner, Sha256Digest},
};

use super::{metrics::Metrics, registry::Registry};
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

/// The agent, as its handlers see it.
pub struct Service {
    pub(super) model: Served,
    pub(super) engine: Engine,
    pub(super) signer: ReceiptSigner,
    pub(super) attempts: Registry,
    pub(super) metrics: Metrics,
}

impl Service {
    /// An agent that serves `model` with `engine` and signs with a key of its own.
    ///
    /// # Errors
    /// The metrics cannot be registered, which is a fault.
    pub fn new(model: Served, engine: Engine, signer: ReceiptSigner) -> Result<Arc<Self>, prometheus::Error> {
        let metrics = Metrics::new(&model.name)?;
        Ok(Arc::new(Self {
            model,
            engine,
            signer,
            attempts: Registry::default(),
            metrics,
        }))
    }

    /// Who this agent is.
    pub fn identity(&self) -> Identity {
        Identity {
            agent: self.signer.key(),
            model: self.model.name.clone(),
            model_sha256: self.model.sha256,
            backend: self.model.backend.clone(),
            context_length: u32::try_from(self.model.context).unwrap_or(u32::MAX),
            tokens_per_second: self.model.tokens_per_second,
        }
    }
}
