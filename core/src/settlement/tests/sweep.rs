//! What leaves the wallet that claims, and when.

use cocoon_api::{
    conditions::{self, Confirmed, Reason as _, SettlementFailed},
    crd::{
        Settlement, SettlementStatus,
        settlement::{SettlementState, Sweep},
    },
};
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::nano;
use crate::settlement::{LEAST_SWEEP, SWEEP_RETRY_SECONDS, may_sweep, surplus};

proptest! {
    #[test]
    fn the_reserve_stays_and_nothing_is_swept_that_its_fee_would_eat(
        balance in 0..10_000_000_000_u64,
        reserve in 0..5_000_000_000_u64,
    ) {
        match surplus(nano(balance), nano(reserve)) {
            Some(swept) => {
                prop_assert!(swept >= LEAST_SWEEP);
                prop_assert_eq!(swept.nano(), balance - reserve);
            }
            None => prop_assert!(balance < reserve + LEAST_SWEEP.nano()),
        }
    }
}

/// A settlement that ended at this second, or is in flight.
fn settlement(is_sweep: bool, ended: Option<(SettlementState, i64)>) -> Settlement {
    let mut settlement: Settlement = serde_json::from_value(json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "Settlement", "metadata": {"name": "s"},
        "spec": {"providerRef": {"name": "farm"}, "wallet": "0:ab", "seqno": 1, "validUntil": 1, "message": "m",
                 "messageHash": "", "redeems": [], "claimed": "0"},
    }))
    .unwrap();
    settlement.spec.sweep = is_sweep.then(|| Sweep {
        to: "0:cold".into(),
        nano: LEAST_SWEEP,
    });
    if let Some((state, at)) = ended {
        let mut status = SettlementStatus {
            state: Some(state),
            ..SettlementStatus::default()
        };
        let observed = match state {
            SettlementState::Failed => SettlementFailed::NotSwept.condition("why"),
            _ => Confirmed::Redeemed.condition("done"),
        };
        let at = Timestamp::from_second(at).unwrap();
        conditions::set(&mut status.conditions, observed, None, at);
        settlement.status = Some(status);
    }
    settlement
}

#[test]
fn after_a_sweep_that_failed_the_next_one_waits_and_after_a_good_one_it_does_not() {
    use SettlementState::{Confirmed, Failed};
    let now = 1_000_000;
    assert!(may_sweep(&[], now));
    assert!(may_sweep(&[settlement(true, Some((Confirmed, now)))], now));
    let failed = |at| settlement(true, Some((Failed, at)));
    assert!(!may_sweep(&[failed(now - SWEEP_RETRY_SECONDS + 1)], now));
    assert!(may_sweep(&[failed(now - SWEEP_RETRY_SECONDS)], now));
    assert!(may_sweep(
        &[failed(now - 9), settlement(true, Some((Confirmed, now - 8)))],
        now
    ));
    assert!(
        may_sweep(&[settlement(false, Some((Failed, now)))], now),
        "that was a claim"
    );
}
