//! What the handlers share: the model and its engine, the signing key and the attempts.

use std::sync::Arc;

use cocoon_api::{agent::Identity, receipt::ReceiptSigner};

use super::metrics::Metrics;
use crate::{
    attempts::{Outcomes, Registry, Served, Serving},
    engine::Engine,
};

/// The agent, as its handlers see it.
pub struct Service {
    pub(super) serving: Arc<Serving>,
    pub(super) signer: Arc<ReceiptSigner>,
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
            serving: Arc::new(Serving {
                model,
                engine,
                outcomes: Outcomes::default(),
            }),
            signer: Arc::new(signer),
            attempts: Registry::default(),
            metrics,
        }))
    }

    /// Who this agent is.
    pub fn identity(&self) -> Identity {
        let model = &self.serving.model;
        Identity {
            agent: self.signer.key(),
            model: model.name.clone(),
            model_sha256: model.sha256,
            backend: model.backend.clone(),
            context_length: u32::try_from(model.context).unwrap_or(u32::MAX),
            tokens_per_second: model.tokens_per_second,
            devices: self.serving.devices(),
        }
    }
}
