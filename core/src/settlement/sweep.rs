//! What leaves a wallet that claims for a payout address of its own: everything above the reserve for fees.
//!
//! The wallet's key is at work in the operator, and whoever steals it has what lies there. So little lies there: claims
//! are paid to the payout address, and what reaches the wallet all the same (the claims of channels that still name it
//! as their provider, a top-up that was too generous) goes on to the payout address.
//!
//! Wanted properties, each a property test:
//! - the reserve stays;
//! - nothing is swept that its fee would eat;
//! - where a sweep failed, the next one waits.

use cocoon_api::{
    NanoTon,
    crd::{Settlement, settlement::SettlementState},
};

use super::history::{ended_at, state};

/// The least that is swept: two hundred times the 0.0005 TON that such a message costs.
pub const LEAST_SWEEP: NanoTon = match NanoTon::from_nano(100_000_000) {
    Ok(amount) => amount,
    Err(_) => panic!("a constant amount is out of range"),
};

/// After a sweep that failed: what made it fail is an endpoint or the chain, which recover within minutes, and each one
/// that the wallet took burnt its fee.
pub const SWEEP_RETRY_SECONDS: i64 = 3_600;

/// What a wallet with this balance passes on; none where that is too little. The message's fee comes out of the
/// reserve.
pub fn surplus(balance: NanoTon, reserve: NanoTon) -> Option<NanoTon> {
    let above = balance.saturating_sub(reserve);
    (above >= LEAST_SWEEP).then_some(above)
}

/// Whether a sweep may be signed at `now` (Unix seconds): the last one did not fail a moment ago.
pub fn may_sweep(settlements: &[Settlement], now: i64) -> bool {
    let sweeps = settlements
        .iter()
        .filter(|settlement| settlement.spec.sweep.is_some());
    let last = sweeps
        .filter_map(|settlement| Some((ended_at(settlement)?, settlement)))
        .max_by_key(|(at, settlement)| (*at, settlement.metadata.name.clone()));
    last.is_none_or(|(at, settlement)| {
        state(settlement) != Some(SettlementState::Failed) || now >= at.saturating_add(SWEEP_RETRY_SECONDS)
    })
}
