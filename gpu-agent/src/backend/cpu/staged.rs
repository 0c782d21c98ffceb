//! What a step takes from the host, copied once when it begins.

use crate::backend::{
    batch::Batch,
    sample::{SampleSpec, Sampled, Sampling, Seen, TokenMask},
    sampling::{Scratch, sample},
};

/// The staged batch and specifications, and what was chosen.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) batch: Batch,
    specs: Vec<Spec>,
    /// Tokens seen by the sequences of all specifications, one after the other.
    seen: Vec<Seen>,
    pub(super) sampled: Sampled,
    scratch: Scratch,
}

#[derive(Debug)]
struct Spec {
    sampling: Sampling,
    index: u64,
    /// Where its part of `seen` ends.
    seen_end: usize,
    allowed: Option<TokenMask>,
}

impl Staged {
    pub(super) fn new(block_tokens: usize) -> Self {
        Self {
            batch: Batch::new(block_tokens),
            specs: Vec::new(),
            seen: Vec::new(),
            sampled: Sampled::default(),
            scratch: Scratch::default(),
        }
    }

    pub(super) fn stage(&mut self, batch: &Batch, specs: &[SampleSpec<'_>]) {
        self.batch.clone_from(batch);
        self.specs.clear();
        self.seen.clear();
        self.sampled.clear();
        for spec in specs {
            self.seen.extend_from_slice(spec.seen);
            self.specs.push(Spec {
                sampling: spec.sampling,
                index: spec.index,
                seen_end: self.seen.len(),
                allowed: spec.allowed.cloned(),
            });
        }
    }

    /// Chooses a token for every output, whose logits are `[outputs, vocabulary]`; calls `fault` with the rows that have
    /// none.
    pub(super) fn sample(&mut self, logits: &[f32], vocabulary: usize, mut fault: impl FnMut(usize)) {
        let mut seen_start = 0;
        for ((spec, row), logits) in self
            .specs
            .iter()
            .zip(&self.batch.outputs)
            .zip(logits.chunks_exact(vocabulary))
        {
            let whole = SampleSpec {
                sampling: spec.sampling,
                index: spec.index,
                seen: &self.seen[seen_start..spec.seen_end],
                allowed: spec.allowed.as_ref(),
            };
            seen_start = spec.seen_end;
            let (id, logprob) = sample(&whole, logits, &mut self.scratch).unwrap_or_else(|| {
                fault(*row as usize);
                (0, f32::NEG_INFINITY)
            });
            self.sampled.ids.push(id);
            self.sampled.logprobs.push(logprob);
        }
    }
}
