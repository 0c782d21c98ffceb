use std::collections::BTreeMap;

use cocoon_api::{conditions::Observation, crd::PaymentChannel};

use super::{
    decide::{NOW, TON, candidate, channel, policy},
    nano,
};
use crate::settlement::{Decision, Dues, MAX_REDEEMS, Policy, REDEEM_FEE, decide, outlook};

fn look(channel: &PaymentChannel, settles_at: Option<u64>, policy: Option<&Policy>) -> Observation {
    outlook(&Dues {
        channel,
        settles_at: settles_at.map(nano),
        policy,
        now: NOW,
    })
    .unwrap()
}

#[test]
fn a_job_is_paid_once_as_much_is_redeemed_as_was_metered_at_its_end() {
    // Later jobs have metered 40 more, so that the channel never shows everything as paid.
    let busy = channel("c", &[60, 40], 60, TON, TON);
    assert_eq!(look(&busy, Some(60), None).reason, "Paid");
    assert_ne!(look(&busy, Some(61), None).reason, "Paid");
    assert_ne!(look(&busy, None, None).reason, "Paid");
    assert_eq!(
        look(&channel("c", &[60], 60, TON, TON), None, None).reason,
        "Paid"
    );
}

#[test]
fn what_does_not_pay_for_its_claim_says_so_and_is_not_claimed() {
    let fee = REDEEM_FEE.nano();
    let policy = policy(1, 0, "1");
    let small = channel("c", &[fee], 0, TON, TON);
    let observed = look(&small, Some(fee), Some(&policy));
    assert_eq!((observed.status, observed.reason), (false, "BelowFee"));
    assert_eq!(
        observed.message,
        "0.0015 TON are metered on channel c and not paid; a claim costs up to 0.0015 TON and is made only for twice as much: later \
         jobs on the channel have it paid with theirs, and if the channel is closed or deleted before, it is given up"
    );
    let decided = decide(
        vec![candidate(&small)],
        &BTreeMap::default(),
        &policy,
        MAX_REDEEMS,
        NOW,
    );
    assert!(matches!(decided, Ok(Decision::Wait(_))));
    assert_eq!(
        look(
            &channel("c", &[fee + 1], 0, TON, TON),
            Some(fee + 1),
            Some(&policy)
        )
        .reason,
        "Pending"
    );
}

#[test]
fn what_is_beyond_the_fee_ratio_says_from_when_on_it_is_claimed() {
    let policy = policy(1, 0, "0.01");
    let observed = look(
        &channel("c", &[149_999_999], 0, TON, TON),
        Some(149_999_999),
        Some(&policy),
    );
    assert_eq!(observed.reason, "BelowFee");
    assert!(
        observed.message.contains("from 0.15 TON on"),
        "{}",
        observed.message
    );
    let enough = look(
        &channel("c", &[150_000_000], 0, TON, TON),
        Some(150_000_000),
        Some(&policy),
    );
    assert_eq!(enough.reason, "Pending");
}

#[test]
fn what_the_channel_does_not_cover_points_to_the_channel() {
    let observed = look(&channel("c", &[TON], 0, TON / 2, TON), Some(TON), None);
    assert_eq!(observed.reason, "Pending");
    assert!(
        observed.message.contains("0.5 TON can be claimed"),
        "{}",
        observed.message
    );
}
