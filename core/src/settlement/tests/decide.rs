use std::collections::BTreeMap;

use cocoon_api::{
    NanoTon, Subject, Usage,
    conditions::{self, Reason as _, VoucherValid},
    crd::{
        FullName, PaymentChannel, PaymentChannelSpec, PaymentChannelStatus, ProviderReference,
        channel::{ChannelState, Counter, Voucher},
    },
};
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;

use super::nano;
use crate::{
    ledger,
    placement::departure::Dues,
    settlement::{
        Candidate, Decision, FeeRatio, MAX_REDEEMS, Policy, REDEEM_FEE, Setback, Urgency, decide,
        least_urgent, retry_at, still_claimable,
    },
};

pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const TON: u64 = 1_000_000_000;

/// An open channel with a valid voucher of a week.
pub(super) fn channel(name: &str, used: &[u64], redeemed: u64, deposit: u64, cap: u64) -> PaymentChannel {
    let mut channel = PaymentChannel::new(
        name,
        PaymentChannelSpec {
            provider: ProviderReference {
                name: "farm".into(),
                namespace: None,
            },
            network: "testbed".into(),
            contract_address: format!("0:{name:0>64}"),
            payer_public_key: "00".repeat(32),
            binding: None,
            voucher: None,
        },
    );
    let mut status = PaymentChannelStatus {
        state: Some(ChannelState::Open),
        deposit_nano: nano(deposit),
        epoch: Some(0),
        vouchers: vec![Voucher {
            cap_nano: nano(cap),
            valid_until: u32::try_from(NOW + 7 * 86_400).unwrap(),
            epoch: 0,
            signature: "00".repeat(64),
        }],
        cap_nano: nano(cap),
        redeemed_nano: nano(redeemed),
        ..Default::default()
    };
    conditions::set(
        &mut status.conditions,
        VoucherValid::Valid.condition(""),
        None,
        Timestamp::UNIX_EPOCH,
    );
    for (job, used) in used.iter().enumerate() {
        let counter = Counter {
            agent: "agent".into(),
            subject: Subject::job(format!("uid-{job}"), 1),
            name: format!("job-{job}"),
            count: 1,
            usage: Usage::default(),
            nano: nano(*used),
            head: String::new(),
        };
        ledger::merge(&mut status, counter).unwrap();
    }
    ledger::recompute(&mut status, NOW).unwrap();
    channel.status = Some(status);
    channel
}

pub(super) fn policy(threshold: u64, max_age: i64, ratio: &str) -> Policy {
    Policy {
        threshold: nano(threshold),
        max_age,
        max_fee_ratio: FeeRatio::parse(ratio).unwrap(),
        redeem_fee: REDEEM_FEE,
    }
}

pub(super) fn candidate(channel: &PaymentChannel) -> Candidate {
    Candidate::of(channel, false, NOW).unwrap().unwrap()
}

fn settled(decision: Decision) -> Vec<String> {
    match decision {
        Decision::Settle(chosen) => chosen.into_iter().map(|candidate| candidate.name).collect(),
        Decision::Wait(_) => Vec::new(),
    }
}

fn run(channels: &[PaymentChannel], policy: &Policy, now: i64) -> Decision {
    let candidates = channels
        .iter()
        .filter_map(|channel| Candidate::of(channel, false, now).unwrap())
        .collect();
    decide(candidates, &BTreeMap::new(), policy, 10, now).unwrap()
}

#[test]
fn a_claim_of_everything_lists_each_job_with_its_sum() {
    let candidate = candidate(&channel("a", &[TON, 2 * TON], 0, 9 * TON, 9 * TON));
    assert_eq!(candidate.claim, nano(3 * TON));
    let jobs: Vec<_> = candidate
        .jobs
        .iter()
        .map(|job| (job.name.as_str(), job.nano))
        .collect();
    assert_eq!(jobs, [("job-0", nano(TON)), ("job-1", nano(2 * TON))]);
}

#[test]
fn a_channel_of_another_namespace_is_claimed_by_its_full_name() {
    let mut channel = channel("a", &[TON], 0, 9 * TON, 9 * TON);
    channel.metadata.namespace = Some("team".into());
    assert_eq!(candidate(&channel).redeem().namespace, None);
    channel.spec.provider.namespace = Some("farm".into());
    let candidate = candidate(&channel);
    assert_eq!(candidate.name, "team/a");
    let redeem = candidate.redeem();
    assert_eq!(redeem.full_name("farm"), FullName::of(&channel));
    assert_eq!(
        (redeem.channel.as_str(), redeem.namespace.as_deref()),
        ("a", Some("team"))
    );
}

#[test]
fn a_claim_cut_by_cap_or_deposit_covers_no_job() {
    for (deposit, cap) in [(2 * TON, 9 * TON), (9 * TON, 2 * TON)] {
        let candidate = candidate(&channel("a", &[3 * TON], 0, deposit, cap));
        assert_eq!(candidate.claim, nano(2 * TON));
        assert!(candidate.jobs.is_empty());
    }
}

#[test]
fn the_threshold_counts_all_channels_together() {
    let channels = [
        channel("a", &[TON], 0, 9 * TON, 9 * TON),
        channel("b", &[TON], 0, 9 * TON, 9 * TON),
    ];
    assert_eq!(
        settled(run(&channels, &policy(2 * TON, 86_400, "0.01"), NOW)),
        ["a", "b"]
    );
    let Decision::Wait(wait) = run(&channels, &policy(3 * TON, 86_400, "0.01"), NOW) else {
        panic!()
    };
    assert_eq!((wait.pending, wait.due_at), (nano(2 * TON), Some(NOW + 86_400)));
}

#[test]
fn age_makes_an_amount_due_and_the_fee_ratio_holds_it_back() {
    let channels = [
        channel("a", &[TON], 0, 9 * TON, 9 * TON),
        channel("b", &[TON / 100], 0, TON, TON),
    ];
    assert_eq!(
        settled(run(&channels, &policy(9 * TON, 60, "0.01"), NOW + 59)),
        [""; 0]
    );
    assert_eq!(
        settled(run(&channels, &policy(9 * TON, 60, "0.01"), NOW + 60)),
        ["a"]
    );
    assert_eq!(
        settled(run(&channels, &policy(9 * TON, 60, "0.2"), NOW + 60)),
        ["a", "b"]
    );
}

#[test]
fn a_closing_channel_is_redeemed_at_once_whatever_the_ratio_but_not_for_the_fees_alone() {
    let mut closing = channel("a", &[least_urgent(REDEEM_FEE).nano()], 0, TON, TON);
    let status = closing.status.as_mut().unwrap();
    (status.state, status.challenge_ends_at) = (Some(ChannelState::Closing), Some(NOW + 300));
    assert_eq!(candidate(&closing).urgency, Some(Urgency::Closing));
    let strict = policy(9 * TON, 86_400, "0.000001");
    assert_eq!(settled(run(&[closing.clone()], &strict, NOW)), ["a"]);
    closing.status.as_mut().unwrap().counters[0].nano = nano(least_urgent(REDEEM_FEE).nano() - 1);
    assert_eq!(settled(run(&[closing.clone()], &strict, NOW)), [""; 0]);
    closing.status.as_mut().unwrap().counters[0].nano = nano(TON);
    assert_eq!(
        Candidate::of(&closing, false, NOW + 300).unwrap(),
        None,
        "the window is over"
    );
}

#[test]
fn a_voucher_near_its_end_is_redeemed_early_and_not_after_it() {
    let mut channel = channel("a", &[TON], 0, 9 * TON, 9 * TON);
    channel.status.as_mut().unwrap().vouchers[0].valid_until = u32::try_from(NOW + 599).unwrap();
    assert_eq!(candidate(&channel).urgency, Some(Urgency::VoucherExpiring));
    assert_eq!(Candidate::of(&channel, false, NOW + 599).unwrap(), None);
}

#[test]
fn a_leaving_provider_makes_every_channel_urgent() {
    let channel = channel("a", &[TON], 0, 9 * TON, 9 * TON);
    let candidate = Candidate::of(&channel, true, NOW).unwrap().unwrap();
    assert_eq!(candidate.urgency, Some(Urgency::Leaving));
}

#[test]
fn a_filling_ledger_is_settled_early() {
    let channel = channel("a", &[REDEEM_FEE.nano(); 800], 0, 9 * TON, 9 * TON);
    assert_eq!(candidate(&channel).urgency, Some(Urgency::LedgerFilling));
}

#[test]
fn a_channel_that_did_not_pay_waits_longer_each_time() {
    let channels = [channel("a", &[TON], 0, 9 * TON, 9 * TON)];
    let waits: Vec<i64> = (0..9)
        .map(|count| retry_at(Setback { count, last_at: 0 }))
        .collect();
    assert_eq!(waits, [0, 60, 120, 240, 480, 960, 1920, 3840, 3840]);
    let setbacks = BTreeMap::from([(
        "a".to_owned(),
        Setback {
            count: 2,
            last_at: NOW,
        },
    )]);
    let at = |now| {
        let candidates = vec![candidate(&channels[0])];
        settled(decide(candidates, &setbacks, &policy(1, 1, "1"), 10, now).unwrap())
    };
    assert_eq!(at(NOW + 119), [""; 0]);
    assert_eq!(at(NOW + 120), ["a"]);
    let mut closing = channels[0].clone();
    let status = closing.status.as_mut().unwrap();
    (status.state, status.challenge_ends_at) = (Some(ChannelState::Closing), Some(NOW + 300));
    let decision = decide(vec![candidate(&closing)], &setbacks, &policy(1, 1, "1"), 10, NOW).unwrap();
    assert_eq!(settled(decision), ["a"], "there may be no later time");
}

#[test]
fn fifty_channels_that_close_at_once_are_all_redeemed_in_time() {
    // Windows of five minutes, a wallet that affords ten claims, ten seconds for each message, and one channel that
    // never pays.
    let mut channels: Vec<PaymentChannel> = (0..50)
        .map(|index| {
            let mut channel = channel(&format!("c{index:02}"), &[TON], 0, 9 * TON, 9 * TON);
            let status = channel.status.as_mut().unwrap();
            (status.state, status.challenge_ends_at) = (Some(ChannelState::Closing), Some(NOW + 300 - index));
            channel
        })
        .collect();
    let mut setbacks = BTreeMap::new();
    let mut now = NOW;
    while now < NOW + 240 {
        let candidates = channels
            .iter()
            .filter_map(|channel| Candidate::of(channel, false, now).unwrap())
            .collect();
        now += 10;
        let Decision::Settle(chosen) = decide(candidates, &setbacks, &policy(1, 1, "1"), 10, now).unwrap()
        else {
            continue;
        };
        for claim in chosen {
            if claim.name == "c49" {
                setbacks.insert(
                    claim.name,
                    Setback {
                        count: 1,
                        last_at: now,
                    },
                );
                continue;
            }
            let paid = channels
                .iter_mut()
                .find(|channel| channel.metadata.name.as_ref() == Some(&claim.name));
            paid.unwrap().status.as_mut().unwrap().redeemed_nano = claim.claim;
        }
    }
    let unpaid: Vec<_> = channels
        .iter()
        .filter(|channel| channel.status.as_ref().unwrap().redeemed_nano == NanoTon::ZERO)
        .map(|channel| channel.metadata.name.clone().unwrap())
        .collect();
    assert_eq!(unpaid, ["c49"]);
}

#[test]
fn a_wallet_that_affords_one_claim_makes_the_most_urgent() {
    let channels = [channel("a", &[5 * TON], 0, 9 * TON, 9 * TON), {
        let mut leaving = channel("b", &[TON], 0, 9 * TON, 9 * TON);
        leaving.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            Timestamp::UNIX_EPOCH,
        ));
        leaving
    }];
    let candidates = || channels.iter().map(candidate).collect();
    let chosen = |affordable| {
        settled(
            decide(
                candidates(),
                &BTreeMap::new(),
                &policy(1, 1, "1"),
                affordable,
                NOW,
            )
            .unwrap(),
        )
    };
    assert_eq!(chosen(2), ["b", "a"]);
    assert_eq!(chosen(1), ["b"]);
    assert_eq!(chosen(0), [""; 0]);
}

#[test]
fn a_claim_is_worth_its_fee_at_the_chains_prices() {
    let step = 4 * REDEEM_FEE.nano();
    let channels = [channel("a", &[step], 0, TON, TON)];
    let cheap = policy(1, 1, "0.5");
    assert_eq!(settled(run(&channels, &cheap, NOW)), ["a"]);
    let dear = cheap.at_fee(nano(step / 2 + 1));
    assert!(matches!(run(&channels, &dear, NOW), Decision::Wait(wait) if wait.too_small == nano(step)));
}

#[test]
fn a_departure_waits_for_what_a_settlement_at_the_chains_fee_claims_and_for_nothing_else() {
    let step = 4 * REDEEM_FEE.nano();
    let owing = channel("a", &[step], 0, TON, TON);
    for fee in [1, REDEEM_FEE.nano(), step / 2, step / 2 + 1, step, TON] {
        let fee = nano(fee);
        let leaving = Candidate::of(&owing, true, NOW).unwrap().into_iter().collect();
        let policy = policy(TON, 86_400, "0.01").at_fee(fee);
        let decision = decide(leaving, &BTreeMap::new(), &policy, MAX_REDEEMS, NOW).unwrap();
        let claimed = matches!(decision, Decision::Settle(_));
        let expected = if claimed { nano(step) } else { NanoTon::ZERO };
        assert_eq!(still_claimable(&owing, fee, NOW), Ok(expected), "a fee of {fee}");
        let dues = Dues::of(&FullName::new("", "farm"), [&owing], [], 0, fee, NOW).unwrap();
        assert_eq!((dues.unsettled, dues.claimable), (nano(step), expected));
        assert_eq!(claimed, fee.nano() <= step / 2, "a fee of {fee}");
    }
}

proptest! {
    #[test]
    fn no_claim_exceeds_what_was_metered_vouched_or_payable_and_none_makes_a_loss(
        channels in proptest::collection::vec(
            (proptest::collection::vec(0..4 * TON, 0..4), 0..4 * TON, 0..8 * TON, 1..8 * TON, any::<bool>()), 0..8),
        threshold in 0..8 * TON,
        affordable in 0usize..200,
        age in 0i64..10,
    ) {
        let channels: Vec<PaymentChannel> = channels.iter().enumerate().map(|(index, (used, redeemed, deposit, cap, closing))| {
            let mut channel = channel(&format!("c{index}"), used, *redeemed, *deposit, *cap);
            if *closing {
                let status = channel.status.as_mut().unwrap();
                (status.state, status.challenge_ends_at) = (Some(ChannelState::Closing), Some(NOW + 5));
            }
            channel
        }).collect();
        let now = NOW + age;
        let candidates: Vec<Candidate> = channels.iter().filter_map(|channel| Candidate::of(channel, false, now).unwrap()).collect();
        let decision = decide(candidates, &BTreeMap::new(), &policy(threshold, 5, "0.5"), affordable, now).unwrap();
        if let Decision::Settle(chosen) = decision {
            prop_assert!(!chosen.is_empty() && chosen.len() <= affordable.min(MAX_REDEEMS));
            for claim in chosen {
                let status = channels.iter().find(|channel| channel.metadata.name.as_ref() == Some(&claim.name)).unwrap().status.as_ref().unwrap();
                prop_assert!(claim.claim <= status.accrued_nano);
                prop_assert!(claim.claim <= status.cap_nano);
                prop_assert!(claim.claim <= status.redeemed_nano.checked_add(status.deposit_nano).unwrap());
                prop_assert!(claim.step() > REDEEM_FEE);
                let covered = NanoTon::sum(claim.jobs.iter().map(|job| job.nano)).unwrap();
                prop_assert!(claim.jobs.is_empty() || covered <= claim.claim);
            }
        }
    }
}
