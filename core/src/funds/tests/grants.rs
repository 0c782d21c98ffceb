//! Channels whose provider is of another namespace.

use super::*;

fn closed(sight: Sight) -> Facts {
    Facts {
        granted: false,
        ..facts(sight)
    }
}

fn elsewhere() -> PaymentChannelSpec {
    let mut spec = spec(500, 0);
    spec.provider.namespace = Some("farm".into());
    spec
}

#[test]
fn what_a_channel_owes_is_claimed_although_its_provider_is_closed_to_it() {
    let mut status = seen(0, 900, 500);
    look(&mut status, &elsewhere(), &closed(Sight::Escrow(escrow(0, 900))));
    assert!(!conditions::is_true(&status.conditions, "Ready"));
    assert_eq!(
        (status.deposit_nano, status.state),
        (nano(900), Some(ChannelState::Open))
    );
    assert!(redeemable(&status, NOW));
    let cover = Cover {
        status: &status,
        leaving: false,
        seen_at: Some(NOW),
        now: NOW,
    };
    assert!(
        cover.may_start(&Bill::job("job")).unwrap().is_err(),
        "nothing new starts"
    );
    assert!(cover.coverage().unwrap().is_ok(), "what runs may end");
}

#[test]
fn a_channel_that_owes_nothing_covers_nothing_where_its_provider_is_closed_to_it() {
    let mut status = seen(0, 900, 500);
    assert!(!owes(&status));
    look(&mut status, &elsewhere(), &closed(Sight::NotGranted));
    assert_eq!(status.deposit_nano, NanoTon::ZERO);
    assert!(!conditions::is_true(&status.conditions, "Ready"));
}

#[test]
fn a_reservation_or_unpaid_usage_is_owed() {
    let mut status = seen(0, 900, 500);
    ledger::reserve(&mut status, &Bill::job("job"), "j", nano(5))
        .unwrap()
        .unwrap();
    assert!(owes(&status));
    ledger::release(&mut status, &Bill::job("job"));
    assert!(!owes(&status));
    status.finished_nano = nano(5);
    ledger::recompute(&mut status, NOW).unwrap();
    assert!(owes(&status));
    status.redeemed_nano = nano(5);
    assert!(!owes(&status));
}

#[test]
fn a_provider_of_another_namespace_is_closed_and_missing_in_the_same_words() {
    let words = |sight: Sight| {
        let facts = Facts {
            payee: None,
            ..closed(sight)
        };
        let standing = judge(&elsewhere(), &fresh(), &facts).unwrap();
        let funded = standing
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Funded");
        let funded = funded.unwrap().clone();
        (funded.reason, funded.message)
    };
    assert_eq!(words(Sight::NotGranted), words(Sight::ProviderNotFound));
}
