//! Continuous batching: every step computes one batch of whatever is ready, decode and prefill mixed.
//!
//! ```text
//! submit ─▶ waiting ─▶ running: schedule ─▶ Backend::step ─▶ events
//!               ▲ blocks and a place are free     ▲ one thread owns the backend
//! ```
//!
//! Cache blocks are taken as sequences grow; when none is left, the youngest sequence is preempted and computed anew
//! later. What is submitted while there is no room waits, in order; the queue is bounded and pushes back. The engine
//! owns the count of tokens: receipts, answers and metrics take theirs from its events.
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
use runner::{Recipient, Runner, Submission};

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

/// Hands requests to the threads of the engine, one for each backend. When the last handle and the last events are
/// dropped, the threads end.
#[derive(Debug, Clone)]
pub struct Engine {
    /// At least one.
    workers: Arc<[Worker]>,
    limits: Limits,
}

/// One backend's thread.
#[derive(Debug)]
struct Worker {
    submissions: mpsc::Sender<Submission>,
    /// Cloned for each request that the backend has, from its submission to its last event.
    counted: Arc<()>,
    figures: Arc<Figures>,
    fault: Arc<OnceLock<EngineFault>>,
}

impl Worker {
    fn start(
        backend: Box<dyn Backend>,
        tokenizer: Arc<Tokenizer>,
        options: Options,
    ) -> std::io::Result<Self> {
        let (submissions, receiver) = mpsc::channel(SUBMISSIONS);
        let (figures, fault) = (Arc::new(Figures::default()), Arc::new(OnceLock::new()));
        let runner = Runner::new(
            backend,
            tokenizer,
            options,
            receiver,
            Arc::clone(&figures),
            Arc::clone(&fault),
        );
        let clock = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || runner.run(&clock))?;
        Ok(Self {
            submissions,
            counted: Arc::new(()),
            figures,
            fault,
        })
    }

    fn health(&self) -> Health {
        match self.fault.get() {
            Some(fault) => Health::Failed(*fault),
            None if self.submissions.is_closed() => Health::Stopped,
            None => Health::Serving,
        }
    }

    /// Requests that it has: on their way to it, waiting and running.
    fn requests(&self) -> usize {
        Arc::strong_count(&self.counted) - 1
    }
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
        Self::start_all(vec![backend], tokenizer, options)
    }

    /// Starts a thread for each of some backends of the same model. Each request is computed by one of them; where one
    /// fails, the others go on.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    ///
    /// # Panics
    /// There is no backend.
    pub fn start_all(
        backends: Vec<Box<dyn Backend>>,
        tokenizer: Arc<Tokenizer>,
        options: Options,
    ) -> std::io::Result<Self> {
        let limits = backends.iter().map(|backend| *backend.limits());
        let together = |all: Limits, one: Limits| Limits {
            context: all.context.min(one.context),
            blocks: all.blocks + one.blocks,
            ..all
        };
        let Some(limits) = limits.reduce(together) else {
            panic!("an engine has at least one backend");
        };
        let start = move |backend| Worker::start(backend, Arc::clone(&tokenizer), options);
        let workers = backends.into_iter().map(start).collect::<Result<_, _>>()?;
        Ok(Self { workers, limits })
    }

    /// Queues a request with the backend that has the fewest; waits while the queue is full. Dropping the returned
    /// receiver cancels the request.
    ///
    /// The receiver holds at most one event for every token of the request, and two more.
    ///
    /// # Errors
    /// The engine has stopped.
    pub async fn submit(
        &self,
        mut request: GenerationRequest,
    ) -> Result<mpsc::UnboundedReceiver<Event>, Stopped> {
        let (events, receiver) = mpsc::unbounded_channel();
        // A backend can fail between the choice and the call: then the choice is made anew, without it.
        while let Some(worker) = self.idlest() {
            let recipient = Recipient {
                events: events.clone(),
                counted: Arc::clone(&worker.counted),
            };
            match worker.submissions.send(Submission { request, recipient }).await {
                Ok(()) => return Ok(receiver),
                Err(mpsc::error::SendError(back)) => request = back.request,
            }
        }
        Err(Stopped)
    }

    /// Of the backends that take requests, the one with the fewest, the first of equals.
    fn idlest(&self) -> Option<&Worker> {
        let serving = self
            .workers
            .iter()
            .filter(|worker| !worker.submissions.is_closed());
        serving.min_by_key(|worker| worker.requests())
    }

    /// Figures of all backends together, for metrics.
    pub fn figures(&self) -> Figures {
        let sum = Figures::default();
        for worker in self.workers.iter() {
            sum.include(&worker.figures);
        }
        sum
    }

    /// What the backends were sized for: all their blocks, and what is the same for each of them.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether the engine takes requests, and why it does not: the first backend's fault, once all have ended.
    pub fn health(&self) -> Health {
        let mut all = self.workers.iter().map(Worker::health);
        let first = self.workers.first().map_or(Health::Stopped, Worker::health);
        all.find(|health| *health == Health::Serving).unwrap_or(first)
    }

    /// Whether each backend takes requests, and why it does not.
    pub fn backends(&self) -> impl Iterator<Item = Health> + '_ {
        self.workers.iter().map(Worker::health)
    }
}
