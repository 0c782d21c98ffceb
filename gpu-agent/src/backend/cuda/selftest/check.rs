//! What a check found.

use serde::Serialize;

/// A kernel whose results on a card differ from its twin's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "kernel {} of {} is wrong on {card} ({}): {difference}; {failed} of {checks} checks failed",
    check.kernel,
    check.module,
    check.shape
)]
pub struct WrongKernel {
    /// The card.
    pub card: String,
    /// The first check that failed.
    pub check: Check,
    /// What differs.
    pub difference: String,
    /// Checks that failed.
    pub failed: usize,
    /// Checks in all.
    pub checks: usize,
}

impl WrongKernel {
    /// Of a card's checks, if one has failed.
    pub fn of(card: &str, checks: &[Check]) -> Option<Self> {
        let mut wrong = checks
            .iter()
            .filter_map(|check| Some((check, check.difference.as_ref()?)));
        let failed = wrong.clone().count();
        let (check, difference) = wrong.next()?;
        Some(Self {
            card: card.to_owned(),
            check: check.clone(),
            difference: difference.clone(),
            failed,
            checks: checks.len(),
        })
    }
}

/// One kernel on one shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The kernel, as its module names it.
    pub kernel: String,
    /// The module.
    pub module: String,
    /// On what.
    pub shape: String,
    /// How the card's result differs from the twin's; nothing where all bits are equal.
    pub difference: Option<String>,
}
