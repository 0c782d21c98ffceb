use cocoon_api::{
    NanoTon,
    crd::{Settlement, settlement::SettlementState},
};
use proptest::prelude::*;
use serde_json::json;

use crate::settlement::{Day, earned_by_day};

fn nano(nano: u64) -> NanoTon {
    NanoTon::from_nano(nano).unwrap()
}

/// A settlement that ended so.
fn settlement(state: SettlementState, at: &str, confirmed: u64) -> Settlement {
    let type_ = if state == SettlementState::Failed {
        "Failed"
    } else {
        "Confirmed"
    };
    serde_json::from_value(json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "Settlement",
        "metadata": {"name": "farm-0-0-0", "namespace": "farm"},
        "spec": {
            "providerRef": {"name": "farm"}, "wallet": "w", "seqno": 0, "validUntil": 0, "message": "",
            "messageHash": "", "redeems": [], "claimed": "0",
        },
        "status": {"state": state, "confirmedNano": confirmed, "conditions": [
            {"type": type_, "status": "True", "reason": "Redeemed", "message": "", "lastTransitionTime": at},
        ]},
    }))
    .unwrap()
}

fn day(date: &str, earned: u64, settlements: u32) -> Day {
    Day {
        date: date.parse().unwrap(),
        earned: nano(earned),
        settlements,
    }
}

#[test]
fn a_day_ends_at_midnight_in_utc_and_only_confirmed_settlements_count() {
    use SettlementState::{Broadcast, Confirmed, Failed};
    let settlements = [
        settlement(Confirmed, "2026-11-25T23:59:59Z", 5),
        settlement(Confirmed, "2026-11-26T00:00:00Z", 7),
        settlement(Confirmed, "2026-11-26T12:00:00Z", 1),
        settlement(Confirmed, "2026-11-26T13:00:00Z", 0),
        settlement(Failed, "2026-11-26T12:00:00Z", 100),
        settlement(Broadcast, "2026-11-26T12:00:00Z", 100),
    ];
    let earned = earned_by_day(&settlements, nano(13)).unwrap();
    assert_eq!(earned.days, [day("2026-11-26", 8, 2), day("2026-11-25", 5, 1)]);
    assert_eq!((earned.earlier, earned.ahead), (nano(0), nano(0)));
}

#[test]
fn what_the_ledgers_know_beyond_the_settlements_is_earlier_and_what_they_do_not_know_is_said() {
    let settlements = [settlement(SettlementState::Confirmed, "2026-11-26T00:00:00Z", 7)];
    let earned = earned_by_day(&settlements, nano(10)).unwrap();
    assert_eq!((earned.earlier, earned.ahead), (nano(3), nano(0)));
    let earned = earned_by_day(&settlements, nano(4)).unwrap();
    assert_eq!((earned.earlier, earned.ahead), (nano(0), nano(3)));
    let earned = earned_by_day([], nano(4)).unwrap();
    assert_eq!((earned.days.len(), earned.earlier), (0, nano(4)));
}

#[test]
fn a_sum_that_no_amount_holds_is_an_error_and_not_a_figure() {
    let most = settlement(
        SettlementState::Confirmed,
        "2026-11-26T00:00:00Z",
        i64::MAX.unsigned_abs(),
    );
    assert!(earned_by_day([&most, &most], nano(0)).is_err());
    let other_day = settlement(SettlementState::Confirmed, "2026-11-25T00:00:00Z", 1);
    assert!(earned_by_day([&most, &other_day], nano(0)).is_err());
}

proptest! {
    #[test]
    fn days_and_what_was_earlier_add_up_to_what_the_ledgers_say(
        paid in proptest::collection::vec((0_i64..200_000_000, 0_u64..1_u64 << 40), 0..50),
        confirmed in 0_u64..1 << 50,
    ) {
        let settlements: Vec<Settlement> = paid
            .iter()
            .map(|(at, amount)| {
                let at = k8s_openapi::jiff::Timestamp::from_second(*at).unwrap().to_string();
                settlement(SettlementState::Confirmed, &at, *amount)
            })
            .collect();
        let earned = earned_by_day(&settlements, nano(confirmed)).unwrap();
        let by_day = NanoTon::sum(earned.days.iter().map(|day| day.earned)).unwrap();
        prop_assert_eq!(
            by_day.checked_add(earned.earlier).unwrap(),
            nano(confirmed).checked_add(earned.ahead).unwrap()
        );
        prop_assert!(earned.days.windows(2).all(|two| two[0].date > two[1].date));
        prop_assert!(earned.days.iter().all(|day| day.settlements > 0 && day.earned > NanoTon::ZERO));
    }
}
