//! The engine's thread: takes requests, computes batches, samples, sends events.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use tokio::sync::mpsc::{Receiver, UnboundedSender, error::TryRecvError};

use super::{
    Event, Figures, GenerationRequest,
    scheduler::{Scheduler, Step},
    sequence::{Sequence, SequenceId},
};
use crate::{
    backend::{BLOCK_TOKENS, Backend, Batch, BatchError, Limits},
    model::tokenizer::Tokenizer,
};

/// Tokens of the measurement at start: long enough to warm caches, about a tenth of a second.
const MEASURED_TOKENS: usize = 16;

/// A request and where its events go.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) request: GenerationRequest,
    pub(super) events: UnboundedSender<Event>,
}

pub(super) struct Runner {
    backend: Box<dyn Backend>,
    tokenizer: Arc<Tokenizer>,
    scheduler: Scheduler,
    submissions: Receiver<Submission>,
    events: BTreeMap<SequenceId, UnboundedSender<Event>>,
    next: u64,
    figures: Arc<Figures>,
}

impl Runner {
    pub(super) fn new(
        backend: Box<dyn Backend>,
        tokenizer: Arc<Tokenizer>,
        max_sequences: usize,
        submissions: Receiver<Submission>,
        figures: Arc<Figures>,
    ) -> Self {
        let scheduler = Scheduler::new(*backend.limits(), max_sequences);
        Self {
            backend,
            tokenizer,
            scheduler,
            submissions,
            events: BTreeMap::new(),
            next: 0,
            figures,
        }
    }

    /// Runs until every handle is dropped and nothing is left to compute.
    pub(super) fn run(mut self) {
        let mut batch = Batch::default();
        while self.take_submissions() {
            self.drop_cancelled();
            let steps = self.scheduler.plan(&mut batch);
            self.publish_state();
            if !steps.is_empty() {
                self.compute(&batch, &steps);
            }
        }
    }

    /// Moves submissions to the scheduler; waits for one when there is nothing to compute. False when all is done.
    fn take_submissions(&mut self) -> bool {
        loop {
            let idle = self.events.is_empty();
            if !self.scheduler.has_room() {
                return true;
            }
            let submission = match self.submissions.try_recv() {
                Ok(submission) => submission,
                Err(TryRecvError::Empty) if !idle => return true,
                Err(TryRecvError::Disconnected) => return !idle,
                Err(TryRecvError::Empty) => {
                    self.publish_state();
                    match self.submissions.blocking_recv() {
                        Some(submission) => submission,
                        None => return false,
                    }
                }
            };
            self.accept(submission);
        }
    }

    fn accept(&mut self, Submission { request, events }: Submission) {
        let id = SequenceId(self.next);
        self.next += 1;
        let sequence = Sequence::new(id, request);
        if self.scheduler.fits(&sequence) {
            self.events.insert(id, events);
            self.scheduler.submit(sequence);
        } else {
            tracing::error!(
                most_tokens = sequence.most_tokens(),
                "a request was submitted that cannot ever run"
            );
            notify(&events, Event::Failed);
        }
    }

    /// A dropped receiver is a cancelled request.
    fn drop_cancelled(&mut self) {
        let (events, scheduler) = (&mut self.events, &mut self.scheduler);
        if events.values().any(UnboundedSender::is_closed) {
            events.retain(|_, sender| !sender.is_closed());
            scheduler.remove(|id| !events.contains_key(&id));
        }
    }

    fn compute(&mut self, batch: &Batch, steps: &[Step]) {
        let started = Instant::now();
        let logits = match self.backend.forward(batch) {
            Ok(logits) => logits,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a planned batch was refused"
                );
                return self.fail(steps);
            }
        };
        let (mut prompt_tokens, mut sampled_tokens) = (0, 0);
        let mut ended = Vec::new();
        for step in steps {
            let (Some(sequence), Some(events)) = (
                self.scheduler.get_mut(step.sequence),
                self.events.get(&step.sequence),
            ) else {
                continue;
            };
            let advanced = sequence.advance(step.tokens);
            prompt_tokens += advanced.prompt_tokens;
            if advanced.prefilled {
                notify(events, Event::Prefilled);
            }
            let Some(row) = step.logits else { continue };
            let sampled = sequence.sample(logits.row(row), &self.tokenizer);
            sampled_tokens += 1;
            let token = Event::Token {
                id: sampled.token,
                text: sampled.text,
            };
            notify(events, token);
            match sampled.finished {
                None => {}
                Some(reason) => {
                    notify(events, Event::Finished { reason });
                    ended.push(step.sequence);
                }
            }
        }
        self.end(&ended);
        let micros = usize::try_from(started.elapsed().as_micros()).unwrap_or(usize::MAX);
        Figures::add(&self.figures.prompt_tokens, prompt_tokens);
        Figures::add(&self.figures.completion_tokens, sampled_tokens);
        Figures::add(&self.figures.busy_micros, micros);
        Figures::add(&self.figures.batches, 1);
    }

    fn fail(&mut self, steps: &[Step]) {
        let failed: Vec<SequenceId> = steps.iter().map(|step| step.sequence).collect();
        for events in failed.iter().filter_map(|id| self.events.get(id)) {
            notify(events, Event::Failed);
        }
        self.end(&failed);
    }

    fn end(&mut self, ended: &[SequenceId]) {
        for id in ended {
            self.events.remove(id);
        }
        if !ended.is_empty() {
            self.scheduler.remove(|id| ended.contains(&id));
        }
    }

    fn publish_state(&self) {
        Figures::set(&self.figures.running, self.scheduler.running());
        Figures::set(&self.figures.waiting, self.scheduler.waiting());
        Figures::set(&self.figures.blocks_used, self.scheduler.blocks_used());
    }
}

/// Sends an event. A receiver that is gone has cancelled, which the next batch notices.
fn notify(events: &UnboundedSender<Event>, event: Event) {
    if events.send(event).is_err() {
        tracing::debug!("a request was cancelled");
    }
}

/// Tokens a second of one sequence, measured on an idle backend; also touches all weights once.
///
/// # Errors
/// The backend refuses, which is a fault.
#[expect(clippy::cast_precision_loss, reason = "a few tokens")]
pub fn measure(backend: &mut dyn Backend) -> Result<f64, BatchError> {
    let Limits { context, blocks, .. } = *backend.limits();
    let tokens = MEASURED_TOKENS.min(context).min(blocks * BLOCK_TOKENS);
    let table: Vec<u32> = (0u32..).take(tokens.div_ceil(BLOCK_TOKENS)).collect();
    let mut batch = Batch::default();
    let mut started = Instant::now();
    for position in 0..tokens {
        if position == 1 {
            started = Instant::now();
        }
        batch.clear();
        let row = batch.push(&[0], position, &table);
        batch.want_logits(row);
        backend.forward(&batch)?;
    }
    Ok(tokens.saturating_sub(1) as f64 / started.elapsed().as_secs_f64())
}
