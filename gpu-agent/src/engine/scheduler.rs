//! Which sequences make up the next batch. Pure: no threads, no clock.
//!
//! Order within a batch: sequences that need one more token (decode), so that nobody who is being answered stalls; then
//! rest of prompts that were begun; then new prompts in order of arrival. A long prompt is computed in parts.
//!
//! A sequence gets the blocks of its tokens when it is admitted, and one more whenever it has filled them. When none is
//! left, the youngest running sequence is preempted: it loses its blocks, keeps its tokens, and is computed anew when
//! there is room. The oldest can always go on, since no request is accepted that does not fit an empty cache, so all
//! end; and what is preempted gets back in only when all its blocks are free, so nothing runs in circles.

use std::collections::VecDeque;

use super::{
    blocks::BlockPool,
    sequence::{Sequence, SequenceId},
};
use crate::backend::{Batch, Limits};

/// Sequences that wait for a place: four full batches of the largest engine. Beyond it the submitters wait.
pub const MAX_WAITING: usize = 256;

/// How an engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Sequences that are computed at once, as far as the backend's limits allow.
    pub max_sequences: usize,
    /// Whether sequences that begin alike share what is computed of their beginnings.
    pub prefix_cache: bool,
}

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
    prefix_cache: bool,
    blocks: BlockPool,
    /// In order of arrival.
    waiting: VecDeque<Sequence>,
    /// In order of arrival.
    running: Vec<Sequence>,
    preemptions: u64,
}

impl Scheduler {
    /// An idle scheduler for a backend of these limits.
    pub fn new(limits: Limits, options: Options) -> Self {
        let Options {
            max_sequences,
            prefix_cache,
        } = options;
        Self {
            limits,
            max_sequences: max_sequences.clamp(1, limits.outputs.min(limits.rows)),
            prefix_cache,
            blocks: BlockPool::new(limits.blocks),
            waiting: VecDeque::new(),
            running: Vec::new(),
            preemptions: 0,
        }
    }

    /// Whether a sequence can ever run: it has a prompt, may sample, and fits the context and the cache.
    pub fn fits(&self, sequence: &Sequence) -> bool {
        let most = sequence.most_tokens();
        let room = most <= self.limits.context && most <= self.limits.cache_tokens();
        !sequence.pending().is_empty() && most > sequence.tokens() && room
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

    /// How often a running sequence has lost its blocks.
    pub fn preemptions(&self) -> u64 {
        self.preemptions
    }

    /// A running sequence.
    pub fn get(&self, id: SequenceId) -> Option<&Sequence> {
        self.running.iter().find(|sequence| sequence.id == id)
    }

    /// A running sequence.
    pub fn get_mut(&mut self, id: SequenceId) -> Option<&mut Sequence> {
        self.running.iter_mut().find(|sequence| sequence.id == id)
    }

    /// Notes that a step was computed; full blocks can be shared from here on. True once a sequence: when its whole
    /// prompt is computed.
    pub fn advance(&mut self, step: &Step) -> bool {
        let mine = |sequence: &&mut Sequence| sequence.id == step.sequence;
        let Some(sequence) = self.running.iter_mut().find(mine) else {
            return false;
        };
        let block_tokens = self.limits.block_tokens;
        let full_before = sequence.computed() / block_tokens;
        let prefilled = sequence.advance(step.tokens);
        if self.prefix_cache {
            for index in full_before..sequence.computed() / block_tokens {
                let name = sequence.block_name(index, block_tokens);
                self.blocks.name(sequence.blocks[index], name);
            }
        }
        prefilled
    }

    /// Forgets the sequences that `gone` names, wherever they are, and gives up their blocks.
    pub fn remove(&mut self, gone: impl Fn(SequenceId) -> bool) {
        self.waiting.retain(|sequence| !gone(sequence.id));
        for sequence in self.running.extract_if(.., |sequence| gone(sequence.id)) {
            self.blocks.release(sequence.blocks);
        }
    }

    /// Fills `batch` with what to compute next, admitting sequences for which there is room.
    pub fn plan(&mut self, batch: &mut Batch) -> Vec<Step> {
        batch.clear();
        let before = self.preemptions;
        self.grow();
        let decoding = |sequence: &&Sequence| sequence.pending().len() == 1;
        let mut steps = Vec::new();
        for sequence in self.running.iter().filter(decoding) {
            add(sequence, self.limits.rows, batch, &mut steps);
        }
        for sequence in self.running.iter().filter(|sequence| !decoding(sequence)) {
            add(sequence, self.limits.rows, batch, &mut steps);
        }
        let admitting = self.preemptions == before;
        while admitting && batch.rows() < self.limits.rows && self.running.len() < self.max_sequences {
            let Some(sequence) = self.admit_next() else { break };
            add(&sequence, self.limits.rows, batch, &mut steps);
            self.running.push(sequence);
        }
        steps
    }

    /// Panics unless every block has exactly the users whose tables name it.
    #[cfg(test)]
    pub(super) fn check(&self) {
        self.blocks
            .check(self.running.iter().flat_map(|sequence| &sequence.blocks));
        assert!(self.waiting.iter().all(|sequence| sequence.blocks.is_empty()));
    }

    /// Gives every running sequence, the oldest first, the blocks of its tokens; the youngest pay for it.
    fn grow(&mut self) {
        let mut index = 0;
        while let Some(sequence) = self.running.get_mut(index) {
            let wanted = self.limits.blocks_for(sequence.tokens());
            if sequence.blocks.len() >= wanted {
                index += 1;
            } else if let Some(block) = self.blocks.take() {
                sequence.blocks.push(block);
            } else {
                self.preempt_youngest();
            }
        }
    }

    fn preempt_youngest(&mut self) {
        if let Some(mut youngest) = self.running.pop() {
            self.blocks.release(youngest.preempt());
            self.waiting.push_front(youngest);
            self.preemptions += 1;
        }
    }

    /// The first of those that wait, with blocks for all its tokens; `None` while they are not to be had.
    fn admit_next(&mut self) -> Option<Sequence> {
        let Limits { block_tokens, .. } = self.limits;
        let sequence = self.waiting.front_mut()?;
        let wanted = self.limits.blocks_for(sequence.tokens());
        // The last token is computed in any case: the next one is sampled from it.
        let sharable = if self.prefix_cache {
            (sequence.tokens() - 1) / block_tokens
        } else {
            0
        };
        let (mut shared, mut idle) = (0, 0);
        while shared < sharable
            && let Some(is_idle) = self.blocks.find(&sequence.block_name(shared, block_tokens))
        {
            shared += 1;
            idle += usize::from(is_idle);
        }
        if self.blocks.available() - idle < wanted - shared {
            return None;
        }
        let mut sequence = self.waiting.pop_front()?;
        let mut blocks = Vec::with_capacity(wanted);
        blocks.extend((0..shared).filter_map(|index| {
            let name = sequence.block_name(index, block_tokens);
            self.blocks.share(&name)
        }));
        blocks.extend((shared..wanted).filter_map(|_| self.blocks.take()));
        debug_assert_eq!(blocks.len(), wanted, "blocks were counted before they were taken");
        sequence.admit(blocks, shared * block_tokens);
        Some(sequence)
    }
}

/// Adds as much of a sequence as the batch has rows for.
fn add(sequence: &Sequence, rows: usize, batch: &mut Batch, steps: &mut Vec<Step>) {
    let pending = sequence.pending();
    let tokens = pending.len().min(rows - batch.rows());
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
