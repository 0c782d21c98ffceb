//! What settlements that ended tell.

use cocoon_api::{
    conditions::{self, Confirmed, Reason as _, SettlementFailed},
    crd::{
        LocalReference, Settlement, SettlementSpec, SettlementStatus,
        settlement::{Redeem, SettlementState},
    },
};
use k8s_openapi::jiff::Timestamp;

use super::nano;
use crate::settlement::{next_name, setbacks};

fn settlement(at: i64, channels: &[&str], unpaid: Option<&[&str]>) -> Settlement {
    let redeem = |channel: &&str| Redeem {
        channel: (*channel).to_owned(),
        namespace: None,
        channel_uid: String::new(),
        contract_address: String::new(),
        cumulative_nano: nano(1),
        redeemed_before_nano: nano(0),
        receipts_root: None,
        jobs: Vec::new(),
    };
    let spec = SettlementSpec {
        provider_ref: LocalReference { name: "farm".into() },
        wallet: String::new(),
        seqno: 1,
        valid_until: 1,
        message: String::new(),
        message_hash: String::new(),
        redeems: channels.iter().map(redeem).collect(),
        sweep: None,
        claimed: String::new(),
    };
    let mut settlement = Settlement::new(&format!("s{at}"), spec);
    let mut status = SettlementStatus::default();
    let (state, observation) = match unpaid {
        None => (SettlementState::Confirmed, Confirmed::Redeemed.condition("")),
        Some(_) => (
            SettlementState::Failed,
            SettlementFailed::NotRedeemed.condition(""),
        ),
    };
    status.state = Some(state);
    status.unpaid = unpaid
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect();
    let at = Timestamp::from_second(at).unwrap();
    conditions::set(&mut status.conditions, observation, None, at);
    settlement.status = Some(status);
    settlement
}

#[test]
fn one_channel_that_does_not_pay_is_no_setback_of_the_others() {
    let counts = |settlements: &[Settlement]| {
        setbacks(settlements)
            .into_iter()
            .map(|(channel, setback)| (channel, setback.count, setback.last_at))
            .collect::<Vec<_>>()
    };
    let failed = settlement(10, &["a", "b", "c"], Some(&["b"]));
    assert_eq!(counts(std::slice::from_ref(&failed)), [("b".to_owned(), 1, 10)]);
    let again = settlement(20, &["a", "b"], Some(&["b"]));
    assert_eq!(
        counts(&[again.clone(), failed.clone()]),
        [("b".to_owned(), 2, 20)]
    );
    // A message of which the others paid ends their own setbacks.
    let other = settlement(5, &["a"], Some(&["a"]));
    assert_eq!(counts(&[other, failed.clone()]), [("b".to_owned(), 1, 10)]);
    assert_eq!(counts(&[failed, again, settlement(30, &["b"], None)]), []);
}

#[test]
fn a_settlement_is_named_after_the_number_that_it_uses_up_and_no_name_comes_twice() {
    let wallet = format!("0:{}", "ab".repeat(32));
    let name = |taken: &[&str]| next_name("farm", &wallet, 7, taken.iter().copied());
    assert_eq!(name(&[]), "farm-abababab-7-0");
    assert_eq!(name(&["farm-abababab-7-0"]), "farm-abababab-7-1");
    // Retention removed those before.
    assert_eq!(
        name(&["farm-abababab-7-4", "farm-abababab-8-9"]),
        "farm-abababab-7-5"
    );
    let long = next_name(&format!("{}.{}", "a".repeat(199), "b".repeat(53)), &wallet, 7, []);
    assert_eq!(long, format!("{}-abababab-7-0", "a".repeat(199)));
}
