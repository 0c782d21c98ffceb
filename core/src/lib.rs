//! Decisions: what to place where, what to dispatch, what was used, what may be reserved and what is settled.
//!
//! Functions take values and return values. There is no client, no clock and no randomness here: `now`, seeds
//! and ids are arguments. The operator observes the world, asks this crate, and acts.

pub mod agents;
pub mod duration;
pub mod footprint;
pub mod funds;
pub mod grant;
pub mod inventory;
pub mod job;
pub mod ledger;
pub mod placement;
pub mod scope;
pub mod settlement;
