//! What a channel is worth: from what the chain shows of its contract and what its vouchers allow to figures,
//! conditions, and what work they cover.
//!
//! Wanted properties, each a test:
//! - what the payer signed once stays evidence, whatever becomes of the specification;
//! - no false reading is stored for good: what later readings say counts;
//! - a figure of the chain changes only with a believed look at the chain;
//! - `Ready` is true only if a job's cost could be claimed now.

mod contract;
mod coverage;
mod departure;
mod escrow;
mod evidence;
mod facts;
mod payee;
mod reading;
mod standing;
mod steps;
mod words;

pub use contract::Contender;
pub use coverage::{
    CLAIM_SECONDS, Cover, Coverage, MAX_LOOK_SECONDS, claim, consents_to_free, is_behind, owes, redeemable,
};
pub use departure::{Departure, JOBS_SECONDS, Leaving, SETTLE_SECONDS, depart};
pub use escrow::{Escrow, Stage};
pub use evidence::{MAX_KEPT, MIN_VOUCHER_SECONDS, evidence};
pub use facts::{Clock, Facts, MAX_SKEW_SECONDS, MIN_CHALLENGE_SECONDS, Sight, Signature, Terms};
pub use payee::{ForeignEscrow, Payee};
pub use standing::{Standing, judge};
pub use steps::allowance;
pub use words::not_granted;

#[cfg(test)]
mod tests;
