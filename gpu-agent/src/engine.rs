//! Continuous batching: every step computes one batch of whatever is ready, decode and prefill mixed.
//!
//! ```text
//! submit ─▶ waiting ─▶ running: schedule ─▶ Backend::forward ─▶ sample ─▶ events
//!               ▲ blocks and a place are free          ▲ one thread owns the backend
//! ```
//!
//! A sequence is admitted when all the cache blocks that it can ever need are free, so nothing that runs is ever
//! preempted. What is submitted while no block is free waits, in order; the queue is bounded and pushes back.

pub mod blocks;
mod runner;
pub mod sampler;
pub mod scheduler;
pub mod sequence;
pub mod text;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc;

use crate::{
    backend::{Backend, Limits},
    model::tokenizer::Tokenizer,
};
use runner::{Runner, Submission};
use sampler::Sampling;

pub use runner::measure;

/// Requests on their way to the engine's thread. It takes them between two batches, a few milliseconds apart; the rest
/// of the waiting happens in the scheduler's queue and, beyond that, with the submitter.
const SUBMISSIONS: usize = 64;

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

/// What happens to a request, in order: `Prefilled`, `Token` for every sampled token, `Finished`.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The prompt was computed.
    Prefilled,
    /// One token was sampled.
    Token {
        /// The token.
        id: u32,
        /// Text that is certain to be part of the answer; it may lag behind the tokens, and has caught up with the last.
        text: String,
    },
    /// Nothing follows.
    Finished {
        /// Why.
        reason: FinishReason,
    },
    /// The engine could not compute the sequence; nothing follows.
    Failed,
}

/// Figures of a running engine, for metrics.
#[derive(Debug, Default)]
pub struct Figures {
    /// Prompt tokens computed.
    pub prompt_tokens: AtomicU64,
    /// Tokens sampled.
    pub completion_tokens: AtomicU64,
    /// Batches computed.
    pub batches: AtomicU64,
    /// Microseconds spent in the backend.
    pub busy_micros: AtomicU64,
    /// Sequences that are being computed.
    pub running: AtomicU64,
    /// Sequences that wait for a place or for blocks.
    pub waiting: AtomicU64,
    /// Cache blocks in use.
    pub blocks_used: AtomicU64,
}

impl Figures {
    fn add(counter: &AtomicU64, value: usize) {
        counter.fetch_add(value as u64, Ordering::Relaxed);
    }

    fn set(gauge: &AtomicU64, value: usize) {
        gauge.store(value as u64, Ordering::Relaxed);
    }
}

/// The engine is gone: its thread ended, which happens only at shutdown or after a fault that was logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot submit a request: the engine has stopped")]
pub struct Stopped;

/// Hands requests to the engine's thread. When the last handle and the last events are dropped, the thread ends.
#[derive(Debug, Clone)]
pub struct Engine {
    submissions: mpsc::Sender<Submission>,
    figures: Arc<Figures>,
    limits: Limits,
}

impl Engine {
    /// Starts the thread that owns the backend and computes up to `max_sequences` at once.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn start(
        backend: Box<dyn Backend>,
        tokenizer: Arc<Tokenizer>,
        max_sequences: usize,
    ) -> std::io::Result<Self> {
        let (submissions, receiver) = mpsc::channel(SUBMISSIONS);
        let figures = Arc::new(Figures::default());
        let limits = *backend.limits();
        let runner = Runner::new(backend, tokenizer, max_sequences, receiver, Arc::clone(&figures));
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || runner.run())?;
        Ok(Self {
            submissions,
            figures,
            limits,
        })
    }

    /// Queues a request; waits while the queue is full. Dropping the returned receiver cancels the request.
    ///
    /// The receiver holds at most one event for every token of the request.
    ///
    /// # Errors
    /// The engine has stopped.
    pub async fn submit(
        &self,
        request: GenerationRequest,
    ) -> Result<mpsc::UnboundedReceiver<Event>, Stopped> {
        let (events, receiver) = mpsc::unbounded_channel();
        self.submissions
            .send(Submission { request, events })
            .await
            .map_err(|_| Stopped)?;
        Ok(receiver)
    }

    /// Figures for metrics.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// What the backend was sized for.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether the engine's thread is there to take requests.
    pub fn is_alive(&self) -> bool {
        !self.submissions.is_closed()
    }
}
