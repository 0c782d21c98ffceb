//! Continuous batching: every step computes one batch of whatever is ready, decode and prefill mixed.
//!
//! ```text
//! submit ─▶ waiting ─▶ running: schedule ─▶ Backend::step ─▶ events
//!               ▲ blocks and a place are free     ▲ one thread owns the backend
//! ```
//!
//! Cache blocks are taken as sequences grow; when none is left, the youngest sequence is preempted and computed anew later.
//! What is submitted while there is no room waits, in order; the queue is bounded and pushes back. The engine owns
//! the count of tokens: receipts, answers and metrics take theirs from its events.
//!
//! A fault of the device, or of the engine's own books, ends the engine: every unfinished request is handed back, and
//! [`Engine::health`] says why.

pub mod blocks;
mod fault;
mod measure;
mod prefix;
mod runner;
pub mod scheduler;
pub mod sequence;
pub mod text;

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use cocoon_api::{TokenCount, Usage};
use tokio::sync::mpsc;

use crate::{
    backend::{Backend, Limits, Sampling},
    model::tokenizer::Tokenizer,
};
use runner::{Runner, Submission};

pub use fault::{EngineFault, Failure};
pub use measure::measure;

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
        /// Text that is certain to be part of the answer; it may lag behind the tokens, and has caught up with the last.
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

/// How an engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Sequences that are computed at once, as far as the backend's limits allow.
    pub max_sequences: usize,
    /// Whether sequences that begin alike share what is computed of their beginnings.
    pub prefix_cache: bool,
}

/// Whether an engine takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Serving,
    /// A fault ended it.
    Failed(EngineFault),
    /// Its thread ended without saying why, which is a fault that was logged.
    Stopped,
}

impl Health {
    /// The state as probes and metrics name it.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Serving => "Serving",
            Self::Failed(fault) => fault.reason(),
            Self::Stopped => "EngineStopped",
        }
    }
}

/// Figures of a running engine, for metrics.
#[derive(Debug, Default)]
pub struct Figures {
    /// Prompt tokens computed, each request's once.
    pub prompt_tokens: AtomicU64,
    /// Prompt tokens that came from the prefix cache.
    pub cached_prompt_tokens: AtomicU64,
    /// Tokens sampled.
    pub completion_tokens: AtomicU64,
    /// Batches computed.
    pub batches: AtomicU64,
    /// Microseconds spent in the backend.
    pub busy_micros: AtomicU64,
    /// Times that a sequence lost its blocks to an older one.
    pub preemptions: AtomicU64,
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

    fn add_prompt(&self, usage: Usage) {
        self.prompt_tokens
            .fetch_add(usage.prompt_tokens.get(), Ordering::Relaxed);
        self.cached_prompt_tokens
            .fetch_add(usage.cached_prompt_tokens.get(), Ordering::Relaxed);
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
    fault: Arc<OnceLock<EngineFault>>,
    limits: Limits,
}

impl Engine {
    /// Starts the thread that owns the backend.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn start(
        backend: Box<dyn Backend>,
        tokenizer: Arc<Tokenizer>,
        options: Options,
    ) -> std::io::Result<Self> {
        let (submissions, receiver) = mpsc::channel(SUBMISSIONS);
        let (figures, fault) = (Arc::new(Figures::default()), Arc::new(OnceLock::new()));
        let limits = *backend.limits();
        let runner = Runner::new(
            backend,
            tokenizer,
            options,
            receiver,
            Arc::clone(&figures),
            Arc::clone(&fault),
        );
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || runner.run())?;
        Ok(Self {
            submissions,
            figures,
            fault,
            limits,
        })
    }

    /// Queues a request; waits while the queue is full. Dropping the returned receiver cancels the request.
    ///
    /// The receiver holds at most one event for every token of the request, and two more.
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

    /// Whether the engine takes requests, and why it does not.
    pub fn health(&self) -> Health {
        match self.fault.get() {
            Some(fault) => Health::Failed(*fault),
            None if self.submissions.is_closed() => Health::Stopped,
            None => Health::Serving,
        }
    }
}
