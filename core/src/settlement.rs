//! When and how usage becomes money: which channels to redeem, and how one signed message is brought to the chain.
//!
//! Wanted properties, each a property test:
//! - a claim never exceeds what was metered, what was vouched for, or what the contract can pay;
//! - no claim costs more than it brings;
//! - a message counts as paid only when the wallet's transaction is known and every channel shows its claim;
//! - a message is replaced only after it can no longer take effect, whatever the endpoint drops, repeats or delays.

mod candidate;
mod days;
mod decide;
mod earnings;
mod history;
mod outlook;
mod policy;
mod retention;
mod sender;
mod sweep;

pub use candidate::{Candidate, Urgency, pays};
pub use days::{Day, EarnedByDay, earned_by_day};
pub use decide::{
    Decision, MAX_COVERED_JOBS, MAX_REDEEMS, Setback, Wait, decide, is_worth_it, least_urgent, retry_at,
    still_claimable,
};
pub use earnings::{confirmed, earnings, health, steps};
pub use history::{ended_at, has_ended, next_name, setbacks, signed_by, state};
pub use outlook::{Dues, outlook};
pub use policy::{FeeRatio, Policy, PolicyError, REDEEM_FEE, claimed_by, ruling, terms};
pub use retention::{Ended, KEEP_NEWEST, KEEP_SECONDS, superfluous};
pub use sender::{
    InFlight, Landed, MAX_LAG_SECONDS, Next, RESEND_SECONDS, Sighting, VALID_SECONDS, Waiting, lags,
};
pub use sweep::{LEAST_SWEEP, SWEEP_RETRY_SECONDS, may_sweep, surplus};

#[cfg(test)]
mod tests;
