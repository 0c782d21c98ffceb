//! The engine's thread: takes requests, computes batches, sends events.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::{
    runtime::Runtime,
    sync::mpsc::{Receiver, UnboundedSender, error::TryRecvError},
    time::timeout,
};

use super::{
    fault::{EngineFault, Failure, rows_at_fault},
    figures::Figures,
    request::{Event, GenerationRequest},
    scheduler::{Options, Scheduler, Step},
    sequence::{Sequence, SequenceId},
};
use crate::{
    backend::{Backend, Batch, SampleSpec},
    model::tokenizer::Tokenizer,
};

/// As often are devices without work asked whether they still answer: a lost one is known before a probe of the pod's
/// readiness has failed thrice, and a check is a copy of a word.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// A request and where its events go.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) request: GenerationRequest,
    pub(super) recipient: Recipient,
}

/// Where a request's events go.
#[derive(Debug)]
pub(super) struct Recipient {
    pub(super) events: UnboundedSender<Event>,
    /// Lives as long as the request is its backend's: the backend's requests are counted by it.
    #[expect(dead_code, reason = "counts by being held")]
    pub(super) counted: Arc<()>,
}

impl Recipient {
    /// Sends an event. A receiver that is gone has cancelled, which the next batch notices.
    fn notify(&self, event: Event) {
        if self.events.send(event).is_err() {
            tracing::debug!("a request was cancelled");
        }
    }
}

pub(super) struct Runner {
    backend: Box<dyn Backend>,
    tokenizer: Arc<Tokenizer>,
    scheduler: Scheduler,
    batch: Batch,
    submissions: Receiver<Submission>,
    recipients: BTreeMap<SequenceId, Recipient>,
    next: u64,
    figures: Arc<Figures>,
    fault: Arc<OnceLock<EngineFault>>,
    /// How long the devices may have nothing to do before they are asked whether they still answer.
    check_every: Duration,
}

/// What came of looking for submissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Something may be computed.
    Some,
    /// Nothing may, until something is submitted.
    None,
    /// Nothing ever will: every handle is gone.
    Over,
}

impl Runner {
    pub(super) fn new(
        backend: Box<dyn Backend>,
        tokenizer: Arc<Tokenizer>,
        options: Options,
        submissions: Receiver<Submission>,
        figures: Arc<Figures>,
        fault: Arc<OnceLock<EngineFault>>,
    ) -> Self {
        let limits = *backend.limits();
        Self {
            backend,
            tokenizer,
            scheduler: Scheduler::new(limits, options),
            batch: Batch::new(limits.block_tokens),
            submissions,
            recipients: BTreeMap::new(),
            next: 0,
            figures,
            fault,
            check_every: CHECK_EVERY,
        }
    }

    /// Runs until every handle is dropped and nothing is left to compute, or until a fault. `clock` times the checks of
    /// devices that have nothing to do.
    pub(super) fn run(mut self, clock: &Runtime) {
        loop {
            match self.take_submissions() {
                Work::Some => {}
                Work::Over => return,
                Work::None => {
                    match clock.block_on(async { timeout(self.check_every, self.submissions.recv()).await }) {
                        Ok(Some(submission)) => self.accept(submission),
                        Ok(None) => return,
                        Err(_) => {
                            if let Err(error) = self.backend.check() {
                                tracing::error!(
                                    error = &error as &dyn std::error::Error,
                                    "a device without work no longer answers"
                                );
                                return self.hand_back(EngineFault::Device(error.fault));
                            }
                        }
                    }
                }
            }
            if let Err(fault) = self.turn() {
                return self.hand_back(fault);
            }
        }
    }

    /// Moves submissions to the scheduler, as far as it has room.
    fn take_submissions(&mut self) -> Work {
        while self.scheduler.has_room() {
            match self.submissions.try_recv() {
                Ok(submission) => self.accept(submission),
                Err(_) if !self.recipients.is_empty() => return Work::Some,
                Err(TryRecvError::Empty) => return Work::None,
                Err(TryRecvError::Disconnected) => return Work::Over,
            }
        }
        Work::Some
    }

    fn accept(&mut self, Submission { request, recipient }: Submission) {
        let id = SequenceId(self.next);
        self.next += 1;
        let sequence = Sequence::new(id, request);
        if self.scheduler.fits(&sequence) {
            self.recipients.insert(id, recipient);
            self.scheduler.submit(sequence);
        } else {
            tracing::error!(
                most_tokens = sequence.most_tokens(),
                "a request was submitted that cannot ever run"
            );
            recipient.notify(Event::Failed(Failure::DoesNotFit));
        }
    }

    /// Plans and computes one batch.
    fn turn(&mut self) -> Result<(), EngineFault> {
        self.drop_cancelled();
        let steps = self.scheduler.plan(&mut self.batch);
        self.publish_state();
        if steps.is_empty() {
            return Ok(());
        }
        self.compute(&steps)?;
        self.publish_state();
        Ok(())
    }

    /// A dropped receiver is a cancelled request.
    fn drop_cancelled(&mut self) {
        let (recipients, scheduler) = (&mut self.recipients, &mut self.scheduler);
        let is_gone = |recipient: &Recipient| recipient.events.is_closed();
        if recipients.values().any(is_gone) {
            recipients.retain(|_, recipient| !is_gone(recipient));
            scheduler.remove(|id| !recipients.contains_key(&id));
        }
    }

    fn compute(&mut self, steps: &[Step]) -> Result<(), EngineFault> {
        let started = Instant::now();
        let sampling = steps.iter().filter(|step| step.output.is_some());
        let specs: Vec<SampleSpec<'_>> = sampling
            .filter_map(|step| self.scheduler.get(step.sequence).map(Sequence::spec))
            .collect();
        let chosen = match self.backend.step(&self.batch, &specs) {
            Ok(chosen) => chosen,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    rows = self.batch.rows(),
                    "a batch has no result"
                );
                let rows = rows_at_fault(error)?;
                return self.fail_rows(&rows, steps);
            }
        };
        let mut ended = Vec::new();
        for step in steps {
            let prefilled = self.scheduler.advance(step);
            let (Some(sequence), Some(recipient)) = (
                self.scheduler.get_mut(step.sequence),
                self.recipients.get(&step.sequence),
            ) else {
                continue;
            };
            if prefilled {
                let usage = sequence.usage();
                self.figures.add_prompt(usage);
                let cached = usage.cached_prompt_tokens;
                recipient.notify(Event::Prefilled { cached });
            }
            let Some(output) = step.output else { continue };
            let id = chosen.ids[output];
            let taken = sequence.take(id, &self.tokenizer);
            Figures::add(&self.figures.completion_tokens, 1);
            let tokens = Event::Tokens {
                ids: vec![id],
                text: taken.text,
                logprobs: vec![chosen.logprobs[output]],
            };
            recipient.notify(tokens);
            if let Some(reason) = taken.finished {
                let usage = sequence.usage();
                recipient.notify(Event::Finished { reason, usage });
                ended.push(step.sequence);
            }
        }
        self.end(&ended);
        let micros = usize::try_from(started.elapsed().as_micros()).unwrap_or(usize::MAX);
        Figures::add(&self.figures.busy_micros, micros);
        Figures::add(&self.figures.batches, 1);
        Ok(())
    }

    /// Ends the sequences that these rows of the batch belong to; the others are computed again without them.
    fn fail_rows(&mut self, rows: &[u32], steps: &[Step]) -> Result<(), EngineFault> {
        let mut failed: Vec<SequenceId> = rows
            .iter()
            .filter_map(|row| self.batch.sequence_of(*row))
            .filter_map(|index| steps.get(index).map(|step| step.sequence))
            .collect();
        failed.dedup();
        if failed.is_empty() {
            // Nothing would be different the next time.
            return Err(EngineFault::BatchRefused);
        }
        for recipient in failed.iter().filter_map(|id| self.recipients.get(id)) {
            recipient.notify(Event::Failed(Failure::NotFinite));
        }
        self.end(&failed);
        Ok(())
    }

    fn end(&mut self, ended: &[SequenceId]) {
        for id in ended {
            self.recipients.remove(id);
        }
        if !ended.is_empty() {
            self.scheduler.remove(|id| ended.contains(&id));
        }
    }

    /// Ends every request, those that were submitted and not yet taken included: another engine may compute them.
    fn hand_back(mut self, fault: EngineFault) {
        // First of all: whoever sees a request fail, or cannot submit one, finds the reason.
        self.fault.get_or_init(|| fault);
        self.submissions.close();
        let mut handed_back = self.recipients.len();
        let failed = || Event::Failed(Failure::Engine(fault));
        for recipient in std::mem::take(&mut self.recipients).into_values() {
            recipient.notify(failed());
        }
        while let Some(Submission { recipient, .. }) = self.submissions.blocking_recv() {
            recipient.notify(failed());
            handed_back += 1;
        }
        self.scheduler.remove(|_| true);
        self.publish_state();
        tracing::error!(reason = fault.reason(), handed_back, "the engine has ended");
    }

    fn publish_state(&self) {
        Figures::set(&self.figures.running, self.scheduler.running());
        Figures::set(&self.figures.waiting, self.scheduler.waiting());
        Figures::set(&self.figures.blocks_used, self.scheduler.blocks_used());
        let preemptions = usize::try_from(self.scheduler.preemptions()).unwrap_or(usize::MAX);
        Figures::set(&self.figures.preemptions, preemptions);
    }
}

#[cfg(test)]
mod tests;
