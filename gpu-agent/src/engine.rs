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
mod figures;
mod measure;
mod prefix;
mod request;
mod runner;
pub mod scheduler;
pub mod sequence;
pub mod text;

use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use crate::{
    backend::{Backend, Limits},
    model::tokenizer::Tokenizer,
};
use runner::{Runner, Submission};

pub use fault::{EngineFault, Failure};
pub use figures::Figures;
pub use measure::measure;
pub use request::{Event, FinishReason, GenerationRequest};
pub use scheduler::Options;

/// Requests on their way to the engine's thread. It takes them between two batches, a few milliseconds apart; the rest
/// of the waiting happens in the scheduler's queue and, beyond that, with the submitter.
const SUBMISSIONS: usize = 64;

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
