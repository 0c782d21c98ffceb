use cocoon_api::crd::{LocalReference, channel::Voucher};
use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_800_000_000;

fn nano(value: u64) -> NanoTon {
    NanoTon::from_nano(value).unwrap()
}

fn spec(cap: u64, epoch: u32) -> PaymentChannelSpec {
    PaymentChannelSpec {
        provider: LocalReference { name: "farm".into() },
        network: "testbed".into(),
        contract_address: format!("0:{}", "11".repeat(32)),
        payer_public_key: "22".repeat(32),
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
        challenge_period: 3_600,
    }
}

fn facts(sight: Sight) -> Facts {
    Facts {
        sight,
        payee: Some("0:wallet".into()),
        signature: Signature::Genuine,
        leaving: false,
        now: NOW,
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
    judge(
        &spec(cap, 0),
        &status,
        &facts(Sight::Escrow(escrow(redeemed, available))),
    )
    .write(&mut status, Some(1), Timestamp::UNIX_EPOCH)
    .unwrap();
    status
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
        (Sight::InUse("ns/payer holds it".into()), "ContractInUse"),
        (
            change(|escrow| escrow.payer_key = "33".repeat(32)),
            "ForeignParties",
        ),
        (
            change(|escrow| escrow.provider = "0:other".into()),
            "ForeignParties",
        ),
        (change(|escrow| escrow.challenge_period = 59), "ChallengeTooShort"),
        (
            change(|escrow| escrow.available = NanoTon::ZERO),
            "InsufficientDeposit",
        ),
    ];
    for (sight, expected) in cases {
        let standing = judge(&spec(500, 0), &fresh(), &facts(sight));
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
        reason(&judge(spec, before, &facts), "VoucherValid").0
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
}

#[test]
fn a_new_epoch_may_lower_the_cap() {
    let before = seen(100, 900, 500);
    let reopened = Escrow {
        epoch: 1,
        ..escrow(100, 900)
    };
    let standing = judge(&spec(200, 1), &before, &facts(Sight::Escrow(reopened)));
    assert_eq!(reason(&standing, "VoucherValid"), ("Valid", true));
    assert_eq!((standing.cap, standing.cap_epoch), (nano(200), 1));
}

#[test]
fn an_endpoint_that_lags_is_not_believed() {
    let before = seen(300, 600, 500);
    for sight in [
        Sight::Escrow(escrow(299, 900)),
        Sight::NotDeployed,
        Sight::Foreign("other code".into()),
    ] {
        let standing = judge(&spec(500, 0), &before, &facts(sight));
        assert_eq!(reason(&standing, "Funded"), ("EndpointUnavailable", false));
        assert_eq!((standing.redeemed, standing.deposit), (nano(300), nano(600)));
        assert_eq!(
            reason(&standing, "VoucherValid"),
            ("Valid", true),
            "the voucher is as good as it was"
        );
    }
}

#[test]
fn a_voucher_that_was_never_checked_against_a_contract_is_unknown() {
    let standing = judge(&spec(500, 0), &fresh(), &facts(Sight::Unavailable("down".into())));
    assert_eq!(reason(&standing, "VoucherValid"), ("Unknown", false));
}

#[test]
fn closing_ends_readiness_and_names_the_deadline() {
    let closing = Escrow {
        stage: Stage::Closing { deadline: 77 },
        ..escrow(0, 900)
    };
    let standing = judge(&spec(500, 0), &fresh(), &facts(Sight::Escrow(closing)));
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
    ledger::reserve(&mut status, "uid", "job", nano(100))
        .unwrap()
        .unwrap();
    assert!(redeemable(&spec, &status, NOW));
    let in_use = facts(Sight::InUse("ns/payer holds it".into()));
    judge(&spec, &status, &in_use)
        .write(&mut status, Some(1), Timestamp::UNIX_EPOCH)
        .unwrap();
    let ready = conditions::find(&status.conditions, "Ready").unwrap();
    assert_eq!(
        (ready.status.as_str(), ready.message.as_str()),
        ("False", "ns/payer holds it")
    );
    assert_eq!(
        ledger::reserve(&mut status, "other", "other", nano(1)).unwrap(),
        Err(ledger::Refusal::Insufficient {
            available: NanoTon::ZERO,
            wanted: nano(1)
        })
    );
    assert!(!redeemable(&spec, &status, NOW));
}

#[test]
fn a_channel_that_takes_over_a_contract_claims_beyond_all_that_was_redeemed_before() {
    let spec = spec(1_000, 0);
    let mut status = fresh();
    for sight in [
        Sight::InUse("ns/payer holds it".into()),
        Sight::Escrow(escrow(300, 600)),
    ] {
        judge(&spec, &status, &facts(sight))
            .write(&mut status, Some(1), Timestamp::UNIX_EPOCH)
            .unwrap();
    }
    assert_eq!((status.earlier_nano, status.accrued_nano), (nano(300), nano(300)));
    assert_eq!(ledger::available(&status).unwrap(), nano(600));
    assert!(redeemable(&spec, &status, NOW));
}

proptest! {
    #[test]
    fn redeemed_never_falls_and_is_never_more_than_accrued(
        looks in proptest::collection::vec((0u64..1_000, 0u64..1_000, 0u32..3), 1..20),
    ) {
        let mut status = fresh();
        let mut highest = NanoTon::ZERO;
        for (redeemed, available, epoch) in looks {
            let escrow = Escrow { epoch, ..escrow(redeemed, available) };
            judge(&spec(2_000, epoch), &status, &facts(Sight::Escrow(escrow)))
                .write(&mut status, None, Timestamp::UNIX_EPOCH)
                .unwrap();
            prop_assert!(status.redeemed_nano >= highest);
            prop_assert!(status.accrued_nano >= status.redeemed_nano);
            highest = status.redeemed_nano;
        }
    }
}
