//! The model that attempts run on.

use std::sync::Arc;

use cocoon_api::{
    agent::{DeviceEnd, Devices, GpuFault},
    receipt::Sha256Digest,
};

use super::outcomes::Outcomes;
use crate::{
    engine::{Engine, EngineFault, Health},
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
    /// Version of the arithmetic that computes, as receipts name it; absent where answers are not equal to the bit.
    pub arithmetic: Option<String>,
    /// Tokens a second of one sequence, measured at start.
    pub tokens_per_second: f64,
    /// Why GPUs that the agent was given were left out when it started.
    pub left_out: Vec<GpuFault>,
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

impl Serving {
    /// What it was given to compute with, and what has ended of it.
    pub fn devices(&self) -> Devices {
        let left_out = self.model.left_out.iter().copied().map(DeviceEnd::Gpu);
        let ended = self.engine.backends().filter_map(end);
        let mut ended: Vec<DeviceEnd> = left_out.chain(ended).collect();
        ended.sort();
        let given = self.engine.backends().count() + self.model.left_out.len();
        Devices {
            given: u32::try_from(given).unwrap_or(u32::MAX),
            ended,
        }
    }
}

fn end(health: Health) -> Option<DeviceEnd> {
    match health {
        Health::Serving => None,
        Health::Failed(EngineFault::Device(fault)) => Some(DeviceEnd::Gpu(fault.into())),
        Health::Failed(EngineFault::BatchRefused) | Health::Stopped => Some(DeviceEnd::Engine),
    }
}
