//! Which card gets which part of a model, and what of its memory each part takes. Pure: numbers in, a plan out.
//!
//! ```text
//! place ◀ refusal
//! ```
//!
//! Where the whole model fits one card, every such card gets all of it and computes sequences of its own. Where it does
//! not, the layers are spread over the cards in order, so that only one row of the residual stream for each token
//! crosses from card to card.

mod place;
mod refusal;

pub use place::{Card, CardPlan, Demand, MemoryPlan, Spread, human};
pub use refusal::{CacheTooSmall, MemoryTaken, PlanError};

use super::needs::Needs;

impl MemoryPlan {
    /// With at most `bytes` of working memory, keys and values on each card.
    ///
    /// # Errors
    /// They do not hold one context.
    pub fn within(mut self, bytes: u64) -> Result<Self, CacheTooSmall> {
        let least = self.demand.context.div_ceil(self.block_tokens.max(1));
        for card in &mut self.cards {
            let block = card.cache / (card.blocks as u64).max(1);
            let blocks = bytes.saturating_sub(card.working) / block.max(1);
            let blocks = usize::try_from(blocks).unwrap_or(usize::MAX).min(card.blocks);
            if blocks < least {
                return Err(CacheTooSmall {
                    bytes,
                    working: card.working,
                    context: self.demand.context,
                    cache: block * least as u64,
                });
            }
            card.blocks = blocks;
            card.cache = block * blocks as u64;
        }
        Ok(self)
    }

    /// Plans for a model whose needs at some demand are `needs`.
    ///
    /// # Errors
    /// It does not fit, and what would.
    pub fn new(needs: &dyn Fn(Demand) -> Needs, cards: &[Card], demand: Demand) -> Result<Self, PlanError> {
        Self::attempt(needs, cards, demand).ok_or_else(|| PlanError::new(needs, cards, demand))
    }
}

#[cfg(test)]
mod tests;
