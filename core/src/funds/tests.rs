mod coverage;
mod evidence;
mod grants;
mod payee;
mod reading;

use cocoon_api::{
    Bill, NanoTon, conditions,
    crd::{
        PaymentChannelSpec, PaymentChannelStatus, ProviderReference,
        channel::{ChannelState, Voucher},
        provider::Rebuilt,
    },
};
use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::ledger;

const NOW: i64 = 1_800_000_000;

fn nano(value: u64) -> NanoTon {
    NanoTon::from_nano(value).unwrap()
}

fn spec(cap: u64, epoch: u32) -> PaymentChannelSpec {
    PaymentChannelSpec {
        provider: ProviderReference {
            name: "farm".into(),
            namespace: None,
        },
        network: "testbed".into(),
        contract_address: format!("0:{}", "11".repeat(32)),
        payer_public_key: "22".repeat(32),
        binding: None,
        voucher: Some(Voucher {
            cap_nano: nano(cap),
            valid_until: u32::try_from(NOW).unwrap() + 3_600,
            epoch,
            signature: String::new(),
        }),
    }
}

fn escrow(redeemed: u64, available: u64) -> Escrow {
    Escrow {
        stage: Stage::Open,
        epoch: 0,
        redeemed: nano(redeemed),
        available: nano(available),
        payer_key: "22".repeat(32),
        provider: "0:wallet".into(),
        claimer: "0:wallet".into(),
        challenge_period: 3_600,
    }
}

fn facts(sight: Sight) -> Facts {
    Facts {
        sight,
        granted: true,
        payee: Some(Payee {
            address: "0:wallet".into(),
            claimer: "0:wallet".into(),
        }),
        signature: Signature::Genuine,
        wallet: None,
        terms: Terms {
            min_challenge_seconds: 3_600,
            min_voucher_seconds: 3_600,
        },
        acknowledged: NanoTon::ZERO,
        rebuilt: None,
        leaving: false,
        clock: Clock {
            own: NOW,
            chain: Some(NOW),
        },
    }
}

fn reason(standing: &Standing, type_: &str) -> (&'static str, bool) {
    let found = standing
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)
        .unwrap();
    (found.reason, found.status)
}

fn fresh() -> PaymentChannelStatus {
    PaymentChannelStatus::default()
}

/// What a status says after one good look.
fn seen(redeemed: u64, available: u64, cap: u64) -> PaymentChannelStatus {
    let mut status = fresh();
    look(
        &mut status,
        &spec(cap, 0),
        &facts(Sight::Escrow(escrow(redeemed, available))),
    );
    status
}

/// One look, written.
fn look(status: &mut PaymentChannelStatus, spec: &PaymentChannelSpec, facts: &Facts) {
    let standing = judge(spec, status, facts).unwrap();
    standing.write(status, Some(1), Timestamp::UNIX_EPOCH).unwrap();
}

#[test]
fn a_funded_channel_with_a_good_voucher_is_ready() {
    let status = seen(0, 900, 500);
    assert!(
        ["Funded", "VoucherValid", "Ready"]
            .iter()
            .all(|type_| conditions::is_true(&status.conditions, type_))
    );
    assert!(!conditions::is_true(&status.conditions, "Closing"));
    assert_eq!((status.deposit_nano, status.cap_nano), (nano(900), nano(500)));
    assert_eq!(status.available, nano(500).to_ton_string());
}

#[test]
fn every_fault_of_the_contract_has_its_reason() {
    let change = |edit: fn(&mut Escrow)| {
        let mut escrow = escrow(0, 900);
        edit(&mut escrow);
        Sight::Escrow(escrow)
    };
    let cases = [
        (Sight::NotDeployed, "NotDeployed"),
        (Sight::Foreign("other code".into()), "ForeignCode"),
        (Sight::Unavailable("down".into()), "EndpointUnavailable"),
        (Sight::WrongNetwork("none".into()), "WrongNetwork"),
        (Sight::ProviderNotFound, "ProviderNotFound"),
        (Sight::NotGranted, "ProviderNotGranted"),
        (Sight::InUse("ns/payer holds it".into()), "ContractInUse"),
        (
            change(|escrow| escrow.payer_key = "33".repeat(32)),
            "ForeignParties",
        ),
        (
            change(|escrow| escrow.provider = "0:other".into()),
            "ForeignParties",
        ),
        (
            change(|escrow| escrow.challenge_period = 3_599),
            "ChallengeTooShort",
        ),
        (
            change(|escrow| escrow.available = NanoTon::ZERO),
            "InsufficientDeposit",
        ),
    ];
    for (sight, expected) in cases {
        let standing = judge(&spec(500, 0), &fresh(), &facts(sight)).unwrap();
        assert_eq!(reason(&standing, "Funded"), (expected, false));
        assert!(!reason(&standing, "Ready").1, "{expected}");
    }
}

#[test]
fn every_fault_of_the_voucher_has_its_reason() {
    let judged = |spec: &PaymentChannelSpec, before: &PaymentChannelStatus, signature, redeemed| {
        let facts = Facts {
            signature,
            ..facts(Sight::Escrow(escrow(redeemed, 900)))
        };
        reason(&judge(spec, before, &facts).unwrap(), "VoucherValid").0
    };
    assert_eq!(
        judged(&spec(500, 0), &fresh(), Signature::Forged, 0),
        "BadSignature"
    );
    assert_eq!(
        judged(&spec(500, 1), &fresh(), Signature::Genuine, 0),
        "WrongEpoch"
    );
    assert_eq!(
        judged(&spec(499, 0), &seen(0, 900, 500), Signature::Genuine, 0),
        "Lowered"
    );
    assert_eq!(
        judged(&spec(500, 0), &fresh(), Signature::Genuine, 501),
        "Lowered"
    );
    let missing = PaymentChannelSpec {
        voucher: None,
        ..spec(500, 0)
    };
    assert_eq!(judged(&missing, &fresh(), Signature::Missing, 0), "Missing");
    let mut expiring = spec(500, 0);
    expiring.voucher.as_mut().unwrap().valid_until = u32::try_from(NOW).unwrap() + 119;
    assert_eq!(judged(&expiring, &fresh(), Signature::Genuine, 0), "Expired");
    expiring.voucher.as_mut().unwrap().valid_until = u32::try_from(NOW).unwrap() + 3_599;
    assert_eq!(judged(&expiring, &fresh(), Signature::Genuine, 0), "TooShort");
}

#[test]
fn an_object_that_the_payer_did_not_sign_for_is_not_used() {
    let mut status = fresh();
    look(&mut status, &spec(500, 0), &facts(Sight::Unbound));
    let funded = conditions::find(&status.conditions, "Funded").unwrap();
    assert_eq!(
        (funded.status.as_str(), funded.reason.as_str()),
        ("False", "Unbound")
    );
    assert!(!redeemable(&status, NOW) && status.available == "0");
}

#[test]
fn a_provider_whose_wallet_cannot_redeem_is_not_fundable_but_is_still_owed() {
    let poor = Facts {
        wallet: Some("LowBalance".into()),
        ..facts(Sight::Escrow(escrow(0, 900)))
    };
    let mut status = fresh();
    look(&mut status, &spec(500, 0), &poor);
    let funded = conditions::find(&status.conditions, "Funded").unwrap();
    assert_eq!(
        (funded.status.as_str(), funded.reason.as_str()),
        ("False", "WalletNotReady")
    );
    assert!(!conditions::is_true(&status.conditions, "Ready"));
    assert_eq!(status.deposit_nano, nano(900));
}

#[test]
fn the_later_clock_counts_and_a_minute_of_difference_is_named() {
    let judged = |own, chain| {
        let facts = Facts {
            clock: Clock { own, chain },
            ..facts(Sight::Escrow(escrow(0, 900)))
        };
        judge(&spec(500, 0), &fresh(), &facts).unwrap()
    };
    // The voucher is valid until NOW + 3,600, and the operator's clock stands.
    assert_eq!(reason(&judged(NOW, Some(NOW)), "VoucherValid").0, "Valid");
    assert_eq!(reason(&judged(NOW, Some(NOW + 1)), "VoucherValid").0, "TooShort");
    assert_eq!(
        reason(&judged(NOW + 3_600, Some(NOW + 3_600)), "VoucherValid").0,
        "Expired"
    );
    for (chain, expected) in [
        (Some(NOW + 60), ("InStep", true)),
        (Some(NOW + 61), ("OutOfStep", false)),
        (Some(NOW - 60), ("InStep", true)),
        (Some(NOW - 61), ("OutOfStep", false)),
        (None, ("Unknown", true)),
    ] {
        assert_eq!(reason(&judged(NOW, chain), "ClockInStep"), expected, "{chain:?}");
    }
    let stale = judged(NOW, Some(NOW - 61));
    assert_eq!(reason(&stale, "Funded"), ("EndpointUnavailable", false));
}

#[test]
fn a_new_epoch_may_lower_the_cap() {
    let before = seen(100, 900, 500);
    let reopened = Escrow {
        epoch: 1,
        ..escrow(100, 900)
    };
    let standing = judge(&spec(200, 1), &before, &facts(Sight::Escrow(reopened))).unwrap();
    assert_eq!(reason(&standing, "VoucherValid"), ("Valid", true));
    assert_eq!((standing.cap, standing.cap_epoch), (nano(200), 1));
}

#[test]
fn a_voucher_that_was_never_checked_against_a_contract_is_unknown() {
    let standing = judge(&spec(500, 0), &fresh(), &facts(Sight::Unavailable("down".into()))).unwrap();
    assert_eq!(reason(&standing, "VoucherValid"), ("Unknown", false));
}

#[test]
fn closing_ends_readiness_and_names_the_deadline() {
    let closing = Escrow {
        stage: Stage::Closing { deadline: 77 },
        ..escrow(0, 900)
    };
    let standing = judge(&spec(500, 0), &fresh(), &facts(Sight::Escrow(closing))).unwrap();
    assert_eq!(reason(&standing, "Closing"), ("ChallengeWindow", true));
    assert_eq!(
        (standing.state, standing.challenge_ends_at),
        (Some(ChannelState::Closing), Some(77))
    );
    assert!(!reason(&standing, "Ready").1);
}

#[test]
fn what_an_earlier_object_redeemed_is_not_claimed_again() {
    let status = seen(300, 600, 1_000);
    assert_eq!(
        (status.finished_nano, status.earlier_nano, status.accrued_nano),
        (nano(300), nano(300), nano(300))
    );
    assert_eq!(status.accruing_since, None);
    assert_eq!(ledger::available(&status).unwrap(), nano(600));
}

#[test]
fn nothing_is_reserved_or_claimed_on_a_channel_whose_contract_another_one_holds() {
    let spec = spec(1_000, 0);
    let mut status = seen(0, 900, 1_000);
    ledger::reserve(&mut status, &Bill::job("uid"), "job", nano(100))
        .unwrap()
        .unwrap();
    assert!(redeemable(&status, NOW));
    look(
        &mut status,
        &spec,
        &facts(Sight::InUse("ns/payer holds it".into())),
    );
    let ready = conditions::find(&status.conditions, "Ready").unwrap();
    assert_eq!(
        (ready.status.as_str(), ready.message.as_str()),
        ("False", "ns/payer holds it")
    );
    assert_eq!(
        ledger::reserve(&mut status, &Bill::job("other"), "other", nano(1)).unwrap(),
        Err(ledger::Refusal::Insufficient {
            available: NanoTon::ZERO,
            wanted: nano(1)
        })
    );
    assert!(!redeemable(&status, NOW));
}

#[test]
fn a_channel_that_takes_over_a_contract_claims_beyond_all_that_was_redeemed_before() {
    let spec = spec(1_000, 0);
    let mut status = fresh();
    for sight in [
        Sight::InUse("ns/payer holds it".into()),
        Sight::Escrow(escrow(300, 600)),
    ] {
        look(&mut status, &spec, &facts(sight));
    }
    assert_eq!((status.earlier_nano, status.accrued_nano), (nano(300), nano(300)));
    assert_eq!(ledger::available(&status).unwrap(), nano(600));
    assert!(redeemable(&status, NOW));
}
