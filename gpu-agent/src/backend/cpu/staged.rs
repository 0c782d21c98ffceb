//! What a step takes from the host, copied once when it begins.

use std::{
    num::NonZeroUsize,
    ops::Range,
    sync::{Mutex, PoisonError},
};

use super::{
    Isa,
    masses::softmax,
    pool::{Parts, Pool},
};
use crate::backend::{
    batch::Batch,
    sample::{SampleSpec, Sampled, Sampling, SeenToken, TokenMask},
    sampling::{Scratch, sample_with},
};

/// The staged batch and specifications, and what was chosen.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) batch: Batch,
    specs: Vec<Spec>,
    /// Tokens seen by the sequences of all specifications, one after the other.
    seen: Vec<SeenToken>,
    chosen: Vec<Option<(u32, f32)>>,
    pub(super) sampled: Sampled,
    /// Of each thread.
    scratch: Vec<Mutex<Scratch>>,
}

#[derive(Debug)]
struct Spec {
    sampling: Sampling,
    index: u64,
    /// Its part of `seen`.
    seen: Range<usize>,
    allowed: Option<TokenMask>,
}

impl Staged {
    pub(super) fn new(block_tokens: usize, threads: NonZeroUsize) -> Self {
        Self {
            batch: Batch::new(block_tokens),
            specs: Vec::new(),
            seen: Vec::new(),
            chosen: Vec::new(),
            sampled: Sampled::default(),
            scratch: (0..threads.get()).map(|_| Mutex::default()).collect(),
        }
    }

    pub(super) fn stage(&mut self, batch: &Batch, specs: &[SampleSpec<'_>]) {
        self.batch.clone_from(batch);
        self.specs.clear();
        self.seen.clear();
        self.sampled.clear();
        for spec in specs {
            let start = self.seen.len();
            self.seen.extend_from_slice(spec.seen);
            self.specs.push(Spec {
                sampling: spec.sampling,
                index: spec.index,
                seen: start..self.seen.len(),
                allowed: spec.allowed.cloned(),
            });
        }
    }

    /// Chooses a token for every output, whose logits are `[outputs, vocabulary]`; calls `fault` with the rows that
    /// have none.
    #[expect(unsafe_code, reason = "threads write disjoint elements of one slice")]
    pub(super) fn sample(
        &mut self,
        pool: &Pool,
        isa: Isa,
        logits: &[f32],
        vocabulary: usize,
        mut fault: impl FnMut(usize),
    ) {
        self.chosen.clear();
        self.chosen.resize(self.specs.len(), None);
        let (specs, seen, scratch) = (&self.specs, &self.seen, &self.scratch);
        let chosen = Parts::new(&mut self.chosen);
        pool.run(specs.len(), &|thread, index| {
            let spec = &specs[index];
            let whole = SampleSpec {
                sampling: spec.sampling,
                index: spec.index,
                seen: &seen[spec.seen.clone()],
                allowed: spec.allowed.as_ref(),
            };
            let room = &mut *scratch[thread].lock().unwrap_or_else(PoisonError::into_inner);
            let logits = &logits[index * vocabulary..][..vocabulary];
            let token = softmax(isa, logits).and_then(|softmax| sample_with(&whole, logits, &softmax, room));
            // SAFETY: every output is one chunk, and has one element of its own.
            let place = unsafe { chosen.part(index, 1) };
            place.fill(token);
        });
        for (chosen, row) in self.chosen.iter().zip(&self.batch.outputs) {
            let (id, logprob) = chosen.unwrap_or_else(|| {
                fault(*row as usize);
                (0, f32::NEG_INFINITY)
            });
            self.sampled.ids.push(id);
            self.sampled.logprobs.push(logprob);
        }
    }
}
