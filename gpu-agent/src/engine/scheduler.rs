//! Which sequences make up the next batch. Pure: no threads, no clock.
//!
//! Order within a batch: sequences that need one more token (decode), so that nobody who is being answered stalls; then
//! rest of prompts that were begun; then new prompts in order of arrival. A long prompt is computed in parts.

use std::collections::VecDeque;

use super::{
    blocks::BlockPool,
    sequence::{Sequence, SequenceId},
};
use crate::backend::{Batch, Limits};

/// Sequences that wait for a place: four full batches of the largest engine. Beyond it the submitters wait.
pub const MAX_WAITING: usize = 256;

/// One sequence's part of a planned batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Whose.
    pub sequence: SequenceId,
    /// Tokens that the batch computes of it.
    pub tokens: usize,
    /// Which of the batch's outputs is its next token, if the batch completes what is pending.
    pub output: Option<usize>,
}

/// Waiting and running sequences and the blocks they hold.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    max_sequences: usize,
    blocks: BlockPool,
    waiting: VecDeque<Sequence>,
    /// In order of admission.
    running: Vec<Sequence>,
}

impl Scheduler {
    /// An idle scheduler for a backend of these limits that runs at most `max_sequences` at once.
    pub fn new(limits: Limits, max_sequences: usize) -> Self {
        let max_sequences = max_sequences.clamp(1, limits.outputs.min(limits.rows));
        Self {
            limits,
            max_sequences,
            blocks: BlockPool::new(limits.blocks, limits.block_tokens),
            waiting: VecDeque::new(),
            running: Vec::new(),
        }
    }

    /// Whether a sequence can ever run: it has a prompt, and fits the context and the cache.
    pub fn fits(&self, sequence: &Sequence) -> bool {
        let most = sequence.most_tokens();
        let cache = self.limits.cache_tokens();
        !sequence.pending().is_empty() && most <= self.limits.context && most <= cache
    }

    /// Whether another sequence may be queued.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING
    }

    /// Queues a sequence that fits.
    pub fn submit(&mut self, sequence: Sequence) {
        self.waiting.push_back(sequence);
    }

    /// Sequences being computed.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Sequences that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Cache blocks in use.
    pub fn blocks_used(&self) -> usize {
        self.blocks.used()
    }

    /// A running sequence.
    pub fn get(&self, id: SequenceId) -> Option<&Sequence> {
        self.running.iter().find(|sequence| sequence.id == id)
    }

    /// A running sequence.
    pub fn get_mut(&mut self, id: SequenceId) -> Option<&mut Sequence> {
        self.running.iter_mut().find(|sequence| sequence.id == id)
    }

    /// Forgets the sequences that `gone` names, wherever they are, and frees their blocks.
    pub fn remove(&mut self, gone: impl Fn(SequenceId) -> bool) {
        self.waiting.retain(|sequence| !gone(sequence.id));
        for sequence in self.running.extract_if(.., |sequence| gone(sequence.id)) {
            self.blocks.give_back(sequence.blocks);
        }
    }

    /// Fills `batch` with what to compute next, admitting sequences for which there is room.
    pub fn plan(&mut self, batch: &mut Batch) -> Vec<Step> {
        batch.clear();
        let mut steps = Vec::new();
        let decoding = |sequence: &&Sequence| sequence.pending().len() == 1;
        for sequence in self.running.iter().filter(decoding) {
            add(sequence, self.limits.rows, batch, &mut steps);
        }
        for sequence in self.running.iter().filter(|sequence| !decoding(sequence)) {
            add(sequence, self.limits.rows, batch, &mut steps);
        }
        while batch.tokens.len() < self.limits.rows && self.running.len() < self.max_sequences {
            let Some(most) = self.waiting.front().map(Sequence::most_tokens) else {
                break;
            };
            let Some(blocks) = self.blocks.take(most) else {
                break;
            };
            if let Some(mut sequence) = self.waiting.pop_front() {
                sequence.blocks = blocks;
                add(&sequence, self.limits.rows, batch, &mut steps);
                self.running.push(sequence);
            }
        }
        steps
    }
}

/// Adds as much of a sequence as the batch has rows for.
fn add(sequence: &Sequence, rows: usize, batch: &mut Batch, steps: &mut Vec<Step>) {
    let pending = sequence.pending();
    let tokens = pending.len().min(rows - batch.tokens.len());
    if tokens == 0 {
        return;
    }
    let start = batch.push(&pending[..tokens], sequence.computed(), &sequence.blocks);
    let output = (tokens == pending.len()).then(|| {
        batch.want(start + tokens - 1);
        batch.outputs.len() - 1
    });
    steps.push(Step {
        sequence: sequence.id,
        tokens,
        output,
    });
}

#[cfg(test)]
mod tests;
