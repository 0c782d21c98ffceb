//! Decides when a channel is looked at again, and whether its object may go.

use std::time::Duration;

use cocoon_api::{
    conditions::{self, Ready, Reason as _},
    crd::{FullName, PaymentChannel, PaymentChannelStatus, Settlement, channel::ChannelState},
    names::ABANDON_ANNOTATION,
    units::UnitError,
};
use cocoon_core::{
    funds::{Clock, Departure, Leaving, depart},
    ledger,
    settlement::{has_ended, ruling, still_claimable},
};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::observe::Seen;

/// A channel that waits for its payer is looked at this often at first, so that a deposit is seen within seconds.
const WAITING_INTERVAL: Duration = Duration::from_secs(5);
/// A channel that has not been in order for ten minutes or more, a closed one for instance: a public endpoint that
/// allows one request a second has room for sixty of them.
const IDLE_INTERVAL: Duration = Duration::from_mins(1);
/// A tenth of the time that it has waited is how long it may go unseen.
const WAITED_PARTS: u32 = 10;
/// A channel that is in order: its top-ups are seen within this time, and a close within a sixth of the shortest
/// challenge window.
const QUIET_INTERVAL: Duration = Duration::from_secs(10);
/// A channel whose object is being deleted: a person waits.
const LEAVING_INTERVAL: Duration = Duration::from_secs(1);

/// When to look again at a channel with this status.
pub(super) fn next_look(
    channel: &PaymentChannel,
    status: Option<&PaymentChannelStatus>,
    now: Timestamp,
) -> Duration {
    if channel.metadata.deletion_timestamp.is_some() {
        return LEAVING_INTERVAL;
    }
    if status.is_some_and(|status| status.state == Some(ChannelState::Closing)) {
        return WAITING_INTERVAL;
    }
    let list = status.map_or(&[][..], |status| &status.conditions);
    match conditions::find(list, Ready::TYPE) {
        Some(ready) if ready.status == "True" => QUIET_INTERVAL,
        Some(ready) => {
            let waited = now.duration_since(ready.last_transition_time.0);
            let waited = Duration::try_from(waited).unwrap_or_default();
            (waited / WAITED_PARTS).clamp(WAITING_INTERVAL, IDLE_INTERVAL)
        }
        None => WAITING_INTERVAL,
    }
}

/// Whether a deleted object may go; none where it is not deleted.
pub(super) fn departure(
    channel: &PaymentChannel,
    seen: &Seen,
    settlements: &[Settlement],
    now: Timestamp,
) -> Result<Option<Departure>, UnitError> {
    let Some(deleted_at) = &channel.metadata.deletion_timestamp else {
        return Ok(None);
    };
    let status = channel.status.clone().unwrap_or_default();
    let clock = Clock {
        own: now.as_second(),
        chain: seen.chain_time.map(i64::from),
    };
    let name = FullName::of(channel);
    let claims = |settlement: &Settlement| {
        let home = settlement.namespace().unwrap_or_default();
        let mut redeems = settlement.spec.redeems.iter();
        redeems.any(|redeem| redeem.full_name(&home) == name)
    };
    Ok(Some(depart(Leaving {
        age: now.as_second().saturating_sub(deleted_at.0.as_second()),
        abandoned: is_written_off(channel, seen),
        busy: !status.reservations.is_empty(),
        in_flight: settlements
            .iter()
            .any(|settlement| !has_ended(settlement) && claims(settlement)),
        has_provider: seen.provider.is_some(),
        has_wallet: seen.has_wallet,
        outstanding: ledger::accrued(&status)?.saturating_sub(status.redeemed_nano),
        claimable: still_claimable(channel, seen.redeem_fee, clock.now())?,
    })))
}

/// Whether the provider gave up what the channel owes: for this channel by a ruling, or for all by its own annotation.
/// The payer owns the channel's object, so that nothing on that says so.
pub(super) fn is_written_off(channel: &PaymentChannel, seen: &Seen) -> bool {
    let Some(provider) = &seen.provider else {
        return false;
    };
    let ruling = channel
        .metadata
        .uid
        .as_deref()
        .and_then(|uid| ruling(&provider.spec.payout, uid));
    ruling.is_some_and(|ruling| ruling.write_off)
        || provider
            .annotations()
            .get(ABANDON_ANNOTATION)
            .is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use cocoon_api::NanoTon;
    use cocoon_core::{funds::Sight, settlement::REDEEM_FEE};
    use serde_json::json;

    use super::*;

    fn seconds(status: &serde_json::Value, now: &str) -> u64 {
        let channel: PaymentChannel = serde_json::from_value(json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "PaymentChannel", "metadata": {"name": "payer"},
            "spec": {"provider": {"name": "farm"}, "network": "testbed", "contractAddress": "0:00", "payerPublicKey": "00"},
        }))
        .unwrap();
        let status = serde_json::from_value(status.clone()).unwrap();
        next_look(&channel, Some(&status), now.parse().unwrap()).as_secs()
    }

    /// Deleted a second before `now`, and owing so much.
    fn leaving(owed: u64) -> (PaymentChannel, Timestamp) {
        let channel = json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "PaymentChannel",
            "metadata": {"name": "payer", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"provider": {"name": "farm"}, "network": "testbed", "contractAddress": "0:00", "payerPublicKey": "00"},
            "status": {
                "state": "Open", "epoch": 0, "depositNano": 1_000_000_000, "capNano": 1_000_000_000,
                "vouchers": [{"capNano": 1_000_000_000, "validUntil": 4_000_000_000_u32, "epoch": 0, "signature": ""}],
                "accruedNano": owed,
                "counters": [{"agent": "a", "job": "uid", "name": "job", "attempt": 1, "count": 1, "usage": {},
                              "nano": owed, "head": ""}],
            },
        });
        (
            serde_json::from_value(channel).unwrap(),
            "2026-01-01T00:00:01Z".parse().unwrap(),
        )
    }

    fn seen(redeem_fee: NanoTon) -> Seen {
        let provider = json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "CocoonProvider", "metadata": {"name": "farm"},
            "spec": {
                "backend": "CPU",
                "models": [],
                "payout": {"network": "testbed", "address": "0:00", "walletSecretRef": {"name": "wallet"}},
            },
        });
        Seen {
            provider: Some(serde_json::from_value(provider).unwrap()),
            granted: true,
            has_wallet: true,
            sight: Sight::Unavailable(String::new()),
            chain_time: None,
            redeem_fee,
        }
    }

    #[test]
    fn a_deleted_channel_waits_for_no_claim_that_costs_too_much_at_the_chains_fee() {
        let (channel, now) = leaving(2 * REDEEM_FEE.nano());
        let departs = |fee| departure(&channel, &seen(fee), &[], now).unwrap();
        assert!(matches!(departs(REDEEM_FEE), Some(Departure::Wait(_))));
        let risen = NanoTon::from_nano(2 * REDEEM_FEE.nano()).unwrap();
        assert!(matches!(departs(risen), Some(Departure::WriteOff { .. })));
    }

    #[test]
    fn a_channel_that_waits_long_is_looked_at_less_often_unless_it_is_closing() {
        let status = |state: &str, ready: &str| {
            let ready = json!({"type": "Ready", "status": ready, "reason": "R", "message": "",
                               "lastTransitionTime": "2026-01-01T00:00:00Z"});
            json!({"state": state, "conditions": [ready]})
        };
        for state in ["Unfunded", "Closed"] {
            let waiting = status(state, "False");
            assert_eq!(seconds(&waiting, "2026-01-01T00:00:01Z"), 5);
            assert_eq!(seconds(&waiting, "2026-01-01T00:05:00Z"), 30);
            assert_eq!(seconds(&waiting, "2026-02-01T00:00:00Z"), 60);
            assert_eq!(
                seconds(&waiting, "2025-12-31T00:00:00Z"),
                5,
                "a clock that went back"
            );
        }
        assert_eq!(seconds(&json!({}), "2026-02-01T00:00:00Z"), 5);
        assert_eq!(seconds(&status("Closing", "False"), "2026-02-01T00:00:00Z"), 5);
        assert_eq!(seconds(&status("Open", "True"), "2026-02-01T00:00:00Z"), 10);
    }
}
