//! Work is covered while it can be claimed in time.

use super::*;

/// A channel of 500 with a reservation of 100, its voucher valid for two hours, its window an hour.
fn reserved() -> PaymentChannelStatus {
    let mut status = fresh();
    let mut spec = spec(500, 0);
    spec.voucher.as_mut().unwrap().valid_until = u32::try_from(NOW).unwrap() + 7_200;
    look(&mut status, &spec, &facts(Sight::Escrow(escrow(0, 900))));
    ledger::reserve(&mut status, &Bill::job("job"), "job", nano(100))
        .unwrap()
        .unwrap();
    status
}

fn cover(status: &PaymentChannelStatus, now: i64) -> Cover<'_> {
    Cover {
        status,
        leaving: false,
        seen_at: Some(NOW),
        now,
    }
}

fn runs(status: &PaymentChannelStatus, now: i64) -> bool {
    cover(status, now).may_run(&Bill::job("job")).unwrap().is_ok()
}

fn starts(status: &PaymentChannelStatus, now: i64) -> bool {
    cover(status, now).may_start(&Bill::job("job")).unwrap().is_ok()
}

#[test]
fn closing_lets_work_end_within_the_window_and_starts_none() {
    let mut status = reserved();
    assert!(starts(&status, NOW) && runs(&status, NOW));
    let closing = Escrow {
        stage: Stage::Closing {
            deadline: u32::try_from(NOW + 3_600).unwrap(),
        },
        ..escrow(0, 900)
    };
    look(&mut status, &spec(500, 0), &facts(Sight::Escrow(closing)));
    assert!(!starts(&status, NOW));
    assert!(runs(&status, NOW + 3_600 - CLAIM_SECONDS - 1));
    assert!(!runs(&status, NOW + 3_600 - CLAIM_SECONDS));
    let closed = Escrow {
        stage: Stage::Closed,
        ..escrow(0, 0)
    };
    look(&mut status, &spec(500, 0), &facts(Sight::Escrow(closed)));
    assert!(!runs(&status, NOW));
}

#[test]
fn work_ends_before_the_voucher_does() {
    let status = reserved();
    let seen_at = Some(NOW + 7_000);
    let runs = |now| {
        Cover {
            seen_at,
            ..cover(&status, now)
        }
        .may_run(&Bill::job("job"))
        .unwrap()
        .is_ok()
    };
    assert!(runs(NOW + 7_200 - CLAIM_SECONDS - 1));
    assert!(!runs(NOW + 7_200 - CLAIM_SECONDS));
}

#[test]
fn a_close_that_nobody_could_see_bounds_how_long_work_goes_on() {
    let status = reserved();
    assert!(starts(&status, NOW + MAX_LOOK_SECONDS));
    assert!(
        !starts(&status, NOW + MAX_LOOK_SECONDS + 1),
        "no new work on an old look"
    );
    assert!(runs(&status, NOW + 3_600 - CLAIM_SECONDS - 1));
    assert!(!runs(&status, NOW + 3_600 - CLAIM_SECONDS));
    let unseen = Cover {
        seen_at: None,
        ..cover(&status, NOW)
    };
    assert!(
        unseen.may_start(&Bill::job("job")).unwrap().is_err(),
        "this process has not looked yet"
    );
}

#[test]
fn what_can_be_claimed_shrinks_and_with_it_what_may_run() {
    let mut status = reserved();
    look(&mut status, &spec(500, 0), &facts(Sight::Escrow(escrow(0, 99))));
    assert!(!runs(&status, NOW));
    look(&mut status, &spec(500, 0), &facts(Sight::Escrow(escrow(0, 100))));
    assert!(runs(&status, NOW));
}

#[test]
fn a_channel_that_goes_or_is_behind_covers_nothing() {
    let mut status = reserved();
    let leaving = Cover {
        leaving: true,
        ..cover(&status, NOW)
    };
    assert!(leaving.may_run(&Bill::job("job")).unwrap().is_err());
    status.unexplained_nano = Some(nano(1));
    assert!(!runs(&status, NOW));
}

#[test]
fn free_work_needs_the_offers_consent() {
    use cocoon_api::units::Prices;
    let priced = Prices {
        minimum_nano: nano(1),
        ..Prices::default()
    };
    assert!(!consents_to_free(false, priced));
    assert!(consents_to_free(true, priced));
    assert!(consents_to_free(false, Prices::default()));
}
