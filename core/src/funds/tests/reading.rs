//! What is believed of what an endpoint shows.

use super::*;

fn shows(status: &mut PaymentChannelStatus, redeemed: u64) {
    look(
        status,
        &spec(500, 0),
        &facts(Sight::Escrow(escrow(redeemed, 600))),
    );
}

fn ledger_reason(status: &PaymentChannelStatus) -> &str {
    &conditions::find(&status.conditions, "LedgerCurrent")
        .unwrap()
        .reason
}

#[test]
fn a_reading_above_every_cap_and_claim_is_refused_and_freezes_nothing() {
    let mut status = seen(0, 600, 500);
    status.claimed_nano = nano(300);
    shows(&mut status, 300);
    let before = status.clone();
    shows(&mut status, 501);
    assert_eq!(ledger_reason(&status), "ReadingRefused");
    assert_eq!(
        (status.redeemed_nano, status.deposit_nano, status.claimed_nano),
        (before.redeemed_nano, before.deposit_nano, before.claimed_nano)
    );
    assert_eq!(
        conditions::find(&status.conditions, "VoucherValid")
            .unwrap()
            .reason,
        "Valid"
    );
    shows(&mut status, 300);
    assert_eq!(ledger_reason(&status), "UpToDate");
    assert!(conditions::is_true(&status.conditions, "Ready"));
}

#[test]
fn a_lower_reading_is_taken_as_it_is() {
    let mut status = seen(0, 600, 500);
    status.claimed_nano = nano(400);
    shows(&mut status, 400);
    shows(&mut status, 250);
    assert_eq!(status.redeemed_nano, nano(250));
    assert!(conditions::is_true(&status.conditions, "Ready"));
}

#[test]
fn a_first_look_that_was_too_high_costs_the_payer_nothing() {
    let mut status = seen(400, 600, 500);
    assert_eq!(status.accrued_nano, nano(400));
    shows(&mut status, 0);
    assert_eq!(
        (status.accrued_nano, status.redeemed_nano),
        (NanoTon::ZERO, NanoTon::ZERO)
    );
    shows(&mut status, 400);
    assert_eq!(
        (status.accrued_nano, ledger_reason(&status)),
        (nano(400), "UpToDate")
    );
}

#[test]
fn what_the_ledger_cannot_explain_stops_it_until_the_provider_acknowledges() {
    let mut status = seen(0, 600, 500);
    ledger::reserve(&mut status, &Bill::job("job"), "job", nano(50))
        .unwrap()
        .unwrap();
    shows(&mut status, 200);
    assert_eq!(ledger_reason(&status), "LedgerBehind");
    assert_eq!(
        (status.redeemed_nano, status.unexplained_nano),
        (NanoTon::ZERO, Some(nano(200)))
    );
    assert!(is_behind(&status) && !redeemable(&status, NOW));
    assert_eq!(ledger::available(&status).unwrap(), NanoTon::ZERO);
    let acknowledged = |nanos| Facts {
        acknowledged: nano(nanos),
        ..facts(Sight::Escrow(escrow(200, 600)))
    };
    look(&mut status, &spec(500, 0), &acknowledged(199));
    assert_eq!(
        ledger_reason(&status),
        "LedgerBehind",
        "as much as is shown must be acknowledged"
    );
    look(&mut status, &spec(500, 0), &acknowledged(200));
    assert_eq!(ledger_reason(&status), "UpToDate");
    // The job that runs may hand over once more what its 50 were for.
    assert_eq!((status.earlier_nano, status.accrued_nano), (nano(150), nano(150)));
    // It explains no later one.
    shows(&mut status, 201);
    assert_eq!(ledger_reason(&status), "LedgerBehind");
}

#[test]
fn an_endpoint_that_shows_no_channel_any_more_is_not_believed() {
    for sight in [Sight::NotDeployed, Sight::Foreign("other code".into())] {
        let mut status = seen(300, 600, 500);
        look(&mut status, &spec(500, 0), &facts(sight));
        assert_eq!(
            (status.redeemed_nano, status.deposit_nano),
            (nano(300), nano(600))
        );
        let funded = conditions::find(&status.conditions, "Funded").unwrap();
        assert_eq!(funded.reason, "EndpointUnavailable");
    }
}

#[test]
fn an_object_whose_voucher_is_below_what_was_redeemed_learns_nothing_from_it() {
    let mut status = fresh();
    look(
        &mut status,
        &spec(500, 0),
        &facts(Sight::Escrow(escrow(501, 600))),
    );
    assert_eq!(ledger_reason(&status), "ReadingRefused");
    assert_eq!(
        conditions::find(&status.conditions, "VoucherValid")
            .unwrap()
            .reason,
        "Lowered"
    );
    look(
        &mut status,
        &spec(600, 0),
        &facts(Sight::Escrow(escrow(501, 600))),
    );
    assert_eq!(
        (ledger_reason(&status), status.earlier_nano),
        ("UpToDate", nano(501))
    );
}

#[test]
fn what_is_acknowledged_after_a_reading_that_was_too_low_is_booked_once() {
    let mut status = seen(300, 600, 500);
    shows(&mut status, 0);
    let acknowledged = Facts {
        acknowledged: nano(400),
        ..facts(Sight::Escrow(escrow(400, 600)))
    };
    look(&mut status, &spec(500, 0), &acknowledged);
    assert_eq!((status.earlier_nano, status.accrued_nano), (nano(400), nano(400)));
}

#[test]
fn a_proof_from_receipts_ends_a_ledger_that_is_behind_and_the_payer_owes_what_was_proven() {
    let mut status = seen(0, 600, 500);
    shows(&mut status, 200);
    assert_eq!(ledger_reason(&status), "LedgerBehind");
    let rebuilt = |redeemed, gone| Facts {
        rebuilt: Some(Rebuilt {
            redeemed_nano: nano(redeemed),
            finished_nano: NanoTon::ZERO,
            gone_nano: nano(gone),
            open_nano: NanoTon::ZERO,
        }),
        ..facts(Sight::Escrow(escrow(200, 600)))
    };
    for not_enough in [rebuilt(200, 199), rebuilt(199, 250)] {
        look(&mut status, &spec(500, 0), &not_enough);
        assert_eq!(ledger_reason(&status), "LedgerBehind", "{:?}", not_enough.rebuilt);
    }
    for _ in 0..3 {
        look(&mut status, &spec(500, 0), &rebuilt(200, 250));
        assert_eq!(ledger_reason(&status), "UpToDate");
        let books = (status.redeemed_nano, status.accrued_nano, status.earlier_nano);
        assert_eq!(books, (nano(200), nano(250), NanoTon::ZERO), "it is booked once");
    }
    assert!(conditions::is_true(&status.conditions, "Ready") && redeemable(&status, NOW));
}
