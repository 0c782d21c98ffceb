use proptest::prelude::*;

use super::*;

const MESSAGE: Unconfirmed = Unconfirmed {
    seqno: 7,
    valid_until: 1_000,
    sent_at: None,
};

fn look(chain_time: u32, seqno: u32) -> Look {
    Look {
        chain_time,
        seqno,
        clock: i64::from(chain_time),
    }
}

#[test]
fn a_message_is_sent_until_its_end_and_given_up_after_the_margin() {
    let cases = [
        (950, Verdict::Send),
        (1_000, Verdict::Send),
        (1_001, Verdict::Wait(Pending::Expiry)),
        (1_000 + EXPIRY_MARGIN_SECONDS, Verdict::Wait(Pending::Expiry)),
        (1_001 + EXPIRY_MARGIN_SECONDS, Verdict::Expired),
    ];
    for (time, expected) in cases {
        assert_eq!(MESSAGE.judge(&look(time, 7)), expected, "{time}");
    }
}

#[test]
fn the_same_bytes_go_out_again_after_a_dozen_blocks() {
    let sent = Unconfirmed {
        sent_at: Some(900),
        ..MESSAGE
    };
    assert_eq!(sent.judge(&look(904, 7)), Verdict::Wait(Pending::Block));
    assert_eq!(sent.judge(&look(905, 7)), Verdict::Send);
}

#[test]
fn a_used_number_waits_for_its_transaction_and_then_belongs_to_another_message() {
    assert_eq!(MESSAGE.judge(&look(950, 8)), Verdict::Wait(Pending::Transaction));
    let end = 1_000 + HISTORY_SECONDS;
    assert_eq!(MESSAGE.judge(&look(end, 8)), Verdict::Wait(Pending::Transaction));
    assert_eq!(MESSAGE.judge(&look(end + 1, 8)), Verdict::Superseded);
}

#[test]
fn an_old_look_decides_nothing() {
    let old = Look {
        clock: 2_000,
        ..look(1_500, 7)
    };
    assert_eq!(MESSAGE.judge(&old), Verdict::Wait(Pending::Lag));
    assert_eq!(MESSAGE.judge(&look(5_000, 6)), Verdict::Wait(Pending::Lag));
}

proptest! {
    /// A message is replaced only when no block can take it any more, and never sent when none can.
    #[test]
    fn a_message_that_may_still_be_taken_is_never_given_up(
        chain_time in 0u32..3_000, seqno in 0u32..12, ahead in -100i64..200, sent_at in proptest::option::of(0i64..3_000),
    ) {
        let message = Unconfirmed { sent_at, ..MESSAGE };
        let look = Look { chain_time, seqno, clock: i64::from(chain_time) + ahead };
        match message.judge(&look) {
            Verdict::Expired => prop_assert!(chain_time > message.valid_until && seqno == message.seqno),
            Verdict::Superseded => prop_assert!(seqno > message.seqno && chain_time > message.valid_until),
            Verdict::Send => prop_assert!(chain_time <= message.valid_until && seqno == message.seqno),
            Verdict::Wait(_) => {}
        }
        if ahead > MAX_LAG_SECONDS {
            prop_assert_eq!(message.judge(&look), Verdict::Wait(Pending::Lag));
        }
    }
}
