//! From a budget to limits, and from weights to a decoder.

use super::{
    forward::{Decoder, Stage},
    load::Loaded,
    needs::ShareNeed,
    room::{Room, need},
};
use crate::backend::{AllocationError, Batch, Budget, Limits, ReserveError, ops::Ops};

impl<O: Ops> Loaded<O> {
    /// Allocates working memory and a cache within a budget.
    ///
    /// The context is at most the model's own. The cache has as many blocks as the budget allows on every device, at
    /// least one sequence of full length, and at most what `budget.cache_tokens` asks for.
    ///
    /// # Errors
    /// The budget is too small, and what would fit; or a device refuses the memory.
    pub fn reserve(self, budget: Budget) -> Result<Decoder<O>, ReserveError> {
        let limits = self.limits(budget)?;
        let Self {
            spec,
            segments,
            rope_factors,
        } = self;
        let mut stages = segments
            .into_iter()
            .map(|mut segment| {
                let room = Room::new(&mut segment, &spec, &limits, rope_factors.as_deref())?;
                Ok(Stage { segment, room })
            })
            .collect::<Result<Vec<Stage<O>>, AllocationError>>()?;
        let mut hops = Vec::new();
        for pair in 1..stages.len() {
            let (before, after) = stages.split_at_mut(pair);
            let [from, to] = [&mut before[pair - 1], &mut after[0]].map(|stage| &mut stage.segment.ops);
            hops.push(O::hop(from, to, limits.rows, spec.width)?);
        }
        Ok(Decoder {
            microbatch: Batch::new(limits.block_tokens),
            spec,
            limits,
            stages,
            hops,
        })
    }

    /// What the budget allows.
    fn limits(&self, budget: Budget) -> Result<Limits, ReserveError> {
        let mut limits = Limits {
            rows: budget.rows.max(1),
            outputs: budget.outputs.clamp(1, budget.rows.max(1)),
            context: budget.context.clamp(1, self.spec.context),
            blocks: 0,
            block_tokens: self.block_tokens(),
            vocabulary: self.spec.vocabulary,
        };
        let least = limits.blocks_for(limits.context);
        limits.blocks = limits.blocks_for(budget.cache_tokens).max(least);
        for (index, segment) in self.segments.iter().enumerate() {
            let ends = [index == 0, index + 1 == self.segments.len()];
            let need = need(segment, &self.spec, &limits, ends);
            let left = budget.bytes.checked_sub(need.room(limits.context, least));
            let Some(left) = left else {
                return Err(refusal(&limits, budget.bytes, &need));
            };
            let more = usize::try_from(left / need.block.max(1)).unwrap_or(usize::MAX);
            limits.blocks = limits.blocks.min(least.saturating_add(more));
        }
        Ok(limits)
    }
}

fn refusal(limits: &Limits, bytes: u64, need: &ShareNeed) -> ReserveError {
    let block_tokens = limits.block_tokens;
    let one = need.token * block_tokens as u64 + need.block;
    let blocks = bytes.saturating_sub(need.working) / one.max(1);
    ReserveError::Budget {
        rows: limits.rows,
        context: limits.context,
        needed: need.room(limits.context, limits.blocks_for(limits.context)),
        bytes,
        fitting_context: usize::try_from(blocks)
            .unwrap_or(usize::MAX)
            .saturating_mul(block_tokens)
            .min(limits.context),
        smallest: need.working.saturating_add(one),
    }
}
