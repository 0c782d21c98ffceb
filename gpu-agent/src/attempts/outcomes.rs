//! How many requests ended how, for metrics.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use cocoon_api::agent::FailureCode;

/// Requests that ended, by outcome.
#[derive(Debug, Default)]
pub struct Outcomes(Mutex<BTreeMap<&'static str, u64>>);

impl Outcomes {
    /// Counts a request that ended; `None` succeeded.
    pub(super) fn count(&self, failure: Option<FailureCode>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(outcome_name(failure)).or_default() += 1;
    }

    /// Every outcome that was seen, and how often.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(name, count)| (*name, *count)).collect()
    }
}

/// An outcome as metrics name it.
pub const fn outcome_name(failure: Option<FailureCode>) -> &'static str {
    match failure {
        None => "succeeded",
        Some(FailureCode::InvalidRequest) => "invalid_request",
        Some(FailureCode::ContextLengthExceeded) => "context_length_exceeded",
        Some(FailureCode::BudgetExceeded) => "budget_exceeded",
        Some(FailureCode::Cancelled) => "cancelled",
        Some(FailureCode::Internal) => "internal",
        Some(FailureCode::NotComputable) => "not_computable",
        Some(FailureCode::ResultTooLarge) => "result_too_large",
    }
}
