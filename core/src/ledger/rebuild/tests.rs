use cocoon_api::{
    Subject, TokenCount, Usage,
    crd::channel::{Counter, Reservation, Voucher},
    receipt::{ChainId, Delivery, ReceiptChain, ReceiptSigner, ResolvedSampling, Sha256Digest, tokens_root},
    units::{Prices, TokenPrice},
};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ledger;

const CHANNEL: &str = "channel-uid";
const CONTRACT: &str = "0:aa";
/// What a receipt of one token costs.
const PRICE: u64 = 10;

fn nano(value: u64) -> NanoTon {
    NanoTon::from_nano(value).unwrap()
}

fn signer() -> ReceiptSigner {
    ReceiptSigner::from_seed([7; 32])
}

/// Receipts of one attempt, for these requests, of this contract.
fn receipts(
    signer: &ReceiptSigner,
    job: &str,
    attempt: u32,
    requests: &[u32],
    contract: &str,
) -> Vec<Receipt> {
    receipts_of(signer, Subject::job(job, attempt), requests, contract)
}

fn receipts_of(signer: &ReceiptSigner, subject: Subject, requests: &[u32], contract: &str) -> Vec<Receipt> {
    let mut chain = ReceiptChain::new(ChainId {
        agent: signer.key(),
        subject,
        channel: Some(contract.into()),
    });
    let delivery = |request| Delivery {
        request,
        request_sha256: Sha256Digest::of(b"body"),
        arithmetic: None,
        sampling: ResolvedSampling {
            max_tokens: 1,
            temperature: "0.0".into(),
            top_p: "1.0".into(),
            min_p: "0.0".into(),
            repetition_penalty: "1.0".into(),
            presence_penalty: "0.0".into(),
            frequency_penalty: "0.0".into(),
            top_k: 0,
            seed: 1,
            ignore_eos: false,
        },
        tokens_root: tokens_root(&[1], &[2]),
        model: Sha256Digest::of(b"model"),
        result: Sha256Digest::of(b"result"),
        usage: Usage {
            completion_tokens: TokenCount::new(1).unwrap(),
            ..Usage::default()
        },
        prices: Prices {
            completion: TokenPrice::from_nano_per_million(PRICE * 1_000_000).unwrap(),
            ..Prices::default()
        },
    };
    requests
        .iter()
        .map(|&request| signer.receipt(&mut chain, delivery(request)).unwrap())
        .collect()
}

fn job(uid: &str, status: &serde_json::Value) -> (String, InferenceJob) {
    let job = json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": uid, "uid": uid},
        "spec": {"model": "m", "input": {"inline": [{}]},
                 "billing": {"mode": "Channel", "channelRef": {"name": "c"}, "maxNano": 30}},
        "status": status,
    });
    (uid.to_owned(), serde_json::from_value(job).unwrap())
}

/// A ledger that a backup brought back: it claimed nothing, and the contract shows this.
fn behind(redeemed: u64) -> PaymentChannelStatus {
    PaymentChannelStatus {
        epoch: Some(0),
        cap_nano: nano(1_000),
        vouchers: vec![Voucher {
            cap_nano: nano(1_000),
            valid_until: u32::MAX,
            epoch: 0,
            signature: String::new(),
        }],
        unexplained_nano: Some(nano(redeemed)),
        ..PaymentChannelStatus::default()
    }
}

struct Case {
    ledger: PaymentChannelStatus,
    jobs: BTreeMap<String, InferenceJob>,
    agents: BTreeSet<AgentKey>,
    receipts: Vec<Receipt>,
    redeemed: u64,
}

impl Case {
    fn new(redeemed: u64, receipts: Vec<Receipt>) -> Self {
        Self {
            ledger: behind(redeemed),
            jobs: BTreeMap::new(),
            agents: BTreeSet::from([signer().key()]),
            receipts,
            redeemed,
        }
    }

    fn prove(&self) -> Result<Proof, Refusal> {
        prove(&Remains {
            ledger: &self.ledger,
            channel_uid: CHANNEL,
            contract: CONTRACT,
            jobs: &self.jobs,
            agents: &self.agents,
            receipts: &self.receipts,
            redeemed: nano(self.redeemed),
        })
    }
}

#[test]
fn jobs_that_are_gone_are_booked_once_however_often_their_receipts_were_found() {
    let mut found = receipts(&signer(), "gone", 1, &[0, 1, 2], CONTRACT);
    found.extend(found.clone());
    // Another attempt answered one of the requests once more: the payer owes it once.
    found.extend(receipts(&signer(), "gone", 2, &[2, 3], CONTRACT));
    // Another contract's, and a free job's, are none of this ledger.
    found.extend(receipts(&signer(), "other", 1, &[0], "0:bb"));
    let proof = Case::new(40, found).prove().unwrap();
    assert_eq!((proof.rebuilt.gone_nano, proof.added), (nano(40), nano(40)));
    assert_eq!(
        proof
            .rows
            .iter()
            .map(|row| (row.subject.attempt(), row.receipts))
            .collect::<Vec<_>>(),
        [(Some(1), 3), (Some(2), 1)]
    );
}

#[test]
fn work_that_was_proven_and_not_yet_paid_is_owed_again() {
    let proof = Case::new(10, receipts(&signer(), "gone", 1, &[0, 1, 2], CONTRACT))
        .prove()
        .unwrap();
    assert_eq!(proof.added, nano(30));
}

#[test]
fn what_the_sum_of_finished_jobs_may_hold_already_is_not_owed_twice() {
    let mut case = Case::new(40, receipts(&signer(), "gone", 1, &[0, 1, 2], CONTRACT));
    case.ledger.finished_nano = nano(25);
    case.redeemed = 26;
    // The sum may hold 25 of the 30, and one more was paid: five more can be owed at the most.
    assert_eq!(case.prove().unwrap().added, nano(5));
    case.redeemed = 55;
    assert_eq!(case.prove().unwrap().added, nano(30));
    case.redeemed = 56;
    assert_eq!(
        case.prove(),
        Err(Refusal::Short {
            redeemed: nano(56),
            explained: nano(55)
        })
    );
}

#[test]
fn a_job_that_goes_on_explains_what_was_paid_for_its_lost_work_and_is_charged_for_it_no_second_time() {
    let mut case = Case::new(20, receipts(&signer(), "open", 2, &[0, 1], CONTRACT));
    case.jobs.extend([job("open", &json!({"channelUid": CHANNEL}))]);
    let proof = case.prove().unwrap();
    assert_eq!((proof.rebuilt.open_nano, proof.added), (nano(20), NanoTon::ZERO));
    // Never beyond its budget of 30, of which the ledger counts 10.
    case.receipts = receipts(&signer(), "open", 2, &[0, 1, 2, 3], CONTRACT);
    case.ledger.counters.push(Counter {
        agent: "a".into(),
        subject: Subject::job("open", 1),
        name: "open".into(),
        count: 1,
        usage: Usage::default(),
        nano: nano(10),
        head: String::new(),
    });
    case.ledger.reservations.push(Reservation {
        bill: Bill::job("open"),
        name: "open".into(),
        nano: nano(30),
    });
    case.redeemed = 30;
    assert_eq!(case.prove().unwrap().rebuilt.open_nano, nano(20));
    case.redeemed = 31;
    assert!(matches!(case.prove(), Err(Refusal::Short { .. })));
}

#[test]
fn finished_jobs_explain_no_more_than_what_the_ledgers_sum_lacks_of_them() {
    let mut case = Case::new(30, receipts(&signer(), "j", 1, &[0, 1, 2], CONTRACT));
    case.jobs
        .extend([job("j", &json!({"channelUid": CHANNEL, "metered": true}))]);
    // The channel alone was set back.
    assert_eq!(case.prove().unwrap().added, nano(30));
    // The ledger holds the job: more than it was redeemed by somebody else.
    case.ledger.finished_nano = nano(30);
    case.redeemed = 31;
    assert!(matches!(case.prove(), Err(Refusal::Short { .. })));
    // Beside it, a job that is gone is owed in full.
    case.receipts
        .extend(receipts(&signer(), "gone", 1, &[0], CONTRACT));
    assert_eq!(case.prove().unwrap().added, nano(10));
}

#[test]
fn a_session_is_booked_as_what_is_gone_unless_the_ledger_holds_it_and_never_as_the_job_of_its_name() {
    let session = Subject::session("j");
    let mut case = Case::new(20, receipts_of(&signer(), session.clone(), &[0, 1], CONTRACT));
    // The job of that name is open, and would hand its usage over by itself.
    case.jobs.extend([job("j", &json!({"channelUid": CHANNEL}))]);
    case.receipts.extend(receipts(&signer(), "j", 1, &[0], CONTRACT));
    let proof = case.prove().unwrap();
    assert_eq!(
        (proof.rebuilt.gone_nano, proof.rebuilt.open_nano),
        (nano(20), nano(10))
    );
    case.ledger.reservations.push(Reservation {
        bill: session.bill(),
        name: "chat".into(),
        nano: nano(30),
    });
    let proof = case.prove().unwrap();
    assert_eq!(
        (proof.rebuilt.gone_nano, proof.rebuilt.open_nano),
        (nano(0), nano(30))
    );
}

#[test]
fn jobs_of_another_ledger_prove_nothing() {
    let mut case = Case::new(10, receipts(&signer(), "j", 1, &[0], CONTRACT));
    case.jobs.extend([job("j", &json!({"channelUid": "another"}))]);
    assert!(matches!(case.prove(), Err(Refusal::Short { .. })));
}

#[test]
fn what_is_not_proven_is_refused() {
    let good = receipts(&signer(), "gone", 1, &[0, 1], CONTRACT);
    let stranger = receipts(&ReceiptSigner::from_seed([8; 32]), "gone", 1, &[0], CONTRACT);
    assert!(matches!(
        Case::new(10, stranger).prove(),
        Err(Refusal::UnknownAgent { .. })
    ));
    let mut raised = good.clone();
    raised[1].nano = nano(11);
    assert!(matches!(
        Case::new(10, raised).prove(),
        Err(Refusal::Receipt { sequence: 2, .. })
    ));
    let mut forked = good.clone();
    forked.extend(receipts(&signer(), "gone", 1, &[5], CONTRACT));
    assert!(matches!(
        Case::new(10, forked).prove(),
        Err(Refusal::Forked { .. })
    ));
    assert!(matches!(
        Case::new(1_001, good.clone()).prove(),
        Err(Refusal::BeyondVouchers { .. })
    ));
    let mut current = Case::new(0, good);
    current.ledger.unexplained_nano = None;
    assert!(matches!(current.prove(), Err(Refusal::UpToDate { .. })));
}

proptest! {
    #[test]
    fn what_is_owed_after_a_rebuild_was_paid_or_cannot_be_in_the_ledger(
        held in 0..100_u64, earlier in 0..100_u64, finished in 0..100_u64, gone in 0..100_u64, open in 0..100_u64,
        redeemed in 0..400_u64,
    ) {
        let mut before = behind(redeemed);
        let earlier = earlier.min(held);
        (before.finished_nano, before.earlier_nano) = (nano(held), nano(earlier));
        let rebuilt = Rebuilt {
            redeemed_nano: nano(redeemed),
            finished_nano: nano(finished),
            gone_nano: nano(gone),
            open_nano: nano(open),
        };
        if let Ok(added) = explain(&before, rebuilt, nano(redeemed)).unwrap() {
            before.finished_nano = before.finished_nano.checked_add(added).unwrap();
            before.redeemed_nano = nano(redeemed);
            let accrued = ledger::accrued(&before).unwrap().nano();
            prop_assert!(accrued <= redeemed.max(held).max(finished + gone), "{accrued}");
            prop_assert!(redeemed <= accrued + open);
        } else {
            let own = held - earlier;
            let known = held - earlier.saturating_sub(redeemed);
            prop_assert!(redeemed > known + finished.saturating_sub(own) + gone + open);
        }
    }

    #[test]
    fn receipts_in_any_order_prove_the_same(order in Just((0..5_usize).collect::<Vec<_>>()).prop_shuffle()) {
        let ordered = receipts(&signer(), "gone", 1, &[0, 1, 2, 3, 4], CONTRACT);
        let mixed = order.iter().map(|&index| ordered[index].clone()).collect();
        prop_assert_eq!(Case::new(50, mixed).prove(), Case::new(50, ordered).prove());
    }
}
