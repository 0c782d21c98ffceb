//! Which card gets which part of a model, and what of its memory each part takes. Pure: numbers in, a plan out.
//!
//! ```text
//! place ◀ refusal
//! ```
//!
//! Where the whole model fits one card, every such card gets all of it and computes sequences of its own. Where it does
//! not, the layers are spread over the cards in order, so that only one row of the residual stream for each token crosses from
//! card to card.

mod place;
mod refusal;

pub use place::{Card, CardPlan, Demand, Plan, Spread, human};
pub use refusal::PlanError;

use super::needs::Needs;

impl Plan {
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
