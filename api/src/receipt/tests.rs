use proptest::prelude::*;

use super::*;
use crate::units::TokenPrice;

fn signer() -> ReceiptSigner {
    ReceiptSigner::from_seed([7; 32])
}

fn chain(channel: Option<&str>) -> ReceiptChain {
    ReceiptChain::new(ChainId {
        agent: signer().key(),
        subject: Subject::job("0b1e", 1),
        channel: channel.map(Into::into),
    })
}

fn delivery(request: u32, completion: u64) -> Delivery {
    Delivery {
        request,
        request_sha256: Sha256Digest::of(b"body"),
        arithmetic: Some("f32-1".into()),
        sampling: ResolvedSampling {
            max_tokens: 16,
            temperature: "0.7".into(),
            top_p: "1.0".into(),
            min_p: "0.0".into(),
            repetition_penalty: "1.0".into(),
            presence_penalty: "0.0".into(),
            frequency_penalty: "0.0".into(),
            top_k: 0,
            seed: 7,
            ignore_eos: false,
        },
        tokens_root: tokens_root(&[1, 2], &[3]),
        model: Sha256Digest::of(b"model"),
        result: Sha256Digest::of(b"result"),
        usage: Usage {
            completion_tokens: TokenCount::new(completion).unwrap(),
            ..Usage::default()
        },
        prices: Prices {
            completion: TokenPrice::from_nano_per_million(2_000_000).unwrap(),
            ..Prices::default()
        },
    }
}

#[test]
fn a_reader_follows_what_the_signer_wrote() {
    let (signer, mut written, mut read) = (signer(), chain(Some("EQ")), chain(Some("EQ")));
    for request in 0..5 {
        let receipt = signer.receipt(&mut written, delivery(request, 10)).unwrap();
        let carried: Receipt = serde_json::from_str(&serde_json::to_string(&receipt).unwrap()).unwrap();
        read.push(&carried).unwrap();
    }
    assert_eq!(read, written);
    assert_eq!(read.nano().nano(), 5 * 20);
}

#[test]
fn a_free_chain_costs_nothing() {
    let mut chain = chain(None);
    signer().receipt(&mut chain, delivery(0, 10)).unwrap();
    assert_eq!(chain.nano(), NanoTon::ZERO);
}

#[test]
fn every_change_to_a_receipt_is_seen() {
    let receipt = signer().receipt(&mut chain(Some("EQ")), delivery(0, 10)).unwrap();
    let changes: [fn(&mut Receipt); 19] = [
        |r| r.version = 1,
        |r| r.request_sha256 = Sha256Digest::of(b"other"),
        |r| r.arithmetic = None,
        |r| r.arithmetic = Some("f32-2".into()),
        |r| r.sampling.seed = 8,
        |r| r.sampling.temperature = "0.8".into(),
        |r| r.sampling.top_p = "0.9".into(),
        |r| r.sampling.top_k = 1,
        |r| r.sampling.max_tokens = 17,
        |r| r.sampling.ignore_eos = true,
        |r| r.tokens_root = tokens_root(&[1, 2], &[4]),
        |r| r.request = 1,
        |r| r.model = Sha256Digest::of(b"other"),
        |r| r.result = Sha256Digest::of(b"other"),
        |r| r.usage.prompt_tokens = TokenCount::new(1).unwrap(),
        |r| r.nano = NanoTon::from_nano(21).unwrap(),
        |r| r.previous = Sha256Digest::of(b"other"),
        |r| r.chain.subject = Subject::job("0b1e", 2),
        |r| r.chain.subject = Subject::session("0b1e"),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut forged = receipt.clone();
        change(&mut forged);
        let mut reader = chain(Some("EQ"));
        assert!(reader.push(&forged).is_err(), "change {number}");
        assert_eq!(reader.count(), 0);
    }
}

#[test]
fn a_receipt_of_another_version_or_form_is_refused_although_it_is_signed() {
    let signer = signer();
    let refused = |change: fn(&mut Receipt)| {
        let mut receipt = signer.receipt(&mut chain(Some("EQ")), delivery(0, 10)).unwrap();
        change(&mut receipt);
        receipt.signature = signer.sign(receipt.digest());
        chain(Some("EQ")).push(&receipt).unwrap_err()
    };
    assert_eq!(refused(|r| r.version = 3), ReceiptError::Version { found: 3 });
    assert_eq!(
        refused(|r| r.sampling.temperature = "0.70".into()),
        ReceiptError::Form
    );
    assert_eq!(
        refused(|r| r.arithmetic = Some("x".repeat(33))),
        ReceiptError::Form
    );
}

#[test]
fn receipts_cannot_be_replayed_or_skipped() {
    let (signer, mut written) = (signer(), chain(Some("EQ")));
    let first = signer.receipt(&mut written, delivery(0, 1)).unwrap();
    let second = signer.receipt(&mut written, delivery(1, 1)).unwrap();
    let mut reader = chain(Some("EQ"));
    assert_eq!(reader.push(&second), Err(ReceiptError::Sequence { expected: 1 }));
    reader.push(&first).unwrap();
    assert_eq!(reader.push(&first), Err(ReceiptError::Sequence { expected: 2 }));
}

#[test]
fn the_root_does_not_depend_on_the_order_of_arrival() {
    let (signer, mut chain) = (signer(), chain(Some("EQ")));
    let receipts: Vec<Receipt> = [2, 0, 1]
        .map(|request| signer.receipt(&mut chain, delivery(request, 1)).unwrap())
        .into();
    assert_eq!(receipts_root(&receipts), receipts_root(receipts.iter().rev()));
}

#[test]
fn digests_of_jobs_stay_what_they_were_before_there_were_sessions() {
    // Receipts that are stored, and chains that agents go on with, were hashed so.
    let chain = ChainId {
        agent: AgentKey([3; 32]),
        subject: Subject::job("0b1e", 2),
        channel: Some("EQ".into()),
    };
    let mut hashed = Vec::new();
    let fields: [&[u8]; 5] = [
        b"cocoon.farm/receipt-chain/v1",
        &[3; 32],
        b"0b1e",
        &2_u64.to_be_bytes(),
        b"EQ",
    ];
    for field in fields {
        hashed.extend((field.len() as u64).to_be_bytes());
        hashed.extend(field);
    }
    assert_eq!(chain.genesis(), Sha256Digest::of(&hashed));
    let carried = serde_json::to_value(&chain).unwrap();
    assert_eq!(
        carried,
        serde_json::json!({"agent": "03".repeat(32), "job": "0b1e", "attempt": 2, "channel": "EQ"})
    );
}

#[test]
fn a_sessions_receipts_form_a_chain_as_a_jobs_do_and_neither_passes_for_the_other() {
    let of = |subject| {
        ReceiptChain::new(ChainId {
            subject,
            ..chain(Some("EQ")).id().clone()
        })
    };
    let (session, job) = (Subject::session("0b1e"), Subject::job("0b1e", 1));
    let (signer, mut written, mut read) = (signer(), of(session.clone()), of(session));
    for request in 0..3 {
        let receipt = signer.receipt(&mut written, delivery(request, 10)).unwrap();
        let carried: Receipt = serde_json::from_str(&serde_json::to_string(&receipt).unwrap()).unwrap();
        assert_eq!(of(job.clone()).push(&carried), Err(ReceiptError::Chain));
        // Nor with the words of a job around what the agent signed for a session.
        let mut forged = carried.clone();
        forged.chain.subject = job.clone();
        assert!(forged.verify().is_err());
        read.push(&carried).unwrap();
    }
    assert_eq!(read, written);
    assert_eq!(read.nano().nano(), 3 * 20);
}

fn subjects() -> impl Strategy<Value = Subject> {
    // Ids that are each other's, that hold an attempt's bytes or the other's tag, and any at all.
    let id = prop_oneof![
        "[ab]{0,2}",
        Just("\0\0\0\0\0\0\0\u{1}".to_owned()),
        Just("cocoon.farm/receipt-chain/v1".to_owned()),
        ".{0,36}",
    ];
    prop_oneof![
        (id.clone(), 1..3_u32).prop_map(|(uid, attempt)| Subject::job(uid, attempt)),
        id.prop_map(Subject::session),
    ]
}

fn chain_ids() -> impl Strategy<Value = ChainId> {
    let channel = proptest::option::of("[ab]{1,2}");
    (0..2_u8, subjects(), channel).prop_map(|(agent, subject, channel)| ChainId {
        agent: AgentKey([agent; 32]),
        subject,
        channel,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn chains_of_different_subjects_never_collide(one in chain_ids(), other in chain_ids()) {
        prop_assert_eq!(one == other, one.genesis() == other.genesis());
        let receipt = |id: &ChainId| {
            let mut receipt = signer().receipt(&mut chain(Some("EQ")), delivery(0, 10)).unwrap();
            receipt.chain = id.clone();
            receipt.digest()
        };
        prop_assert_eq!(one == other, receipt(&one) == receipt(&other));
        // As JSON as well: what is written is read as what it was, and differs from all else.
        let carried = serde_json::to_string(&one).unwrap();
        prop_assert_eq!(serde_json::from_str::<ChainId>(&carried).unwrap(), one.clone());
        prop_assert_eq!(one == other, carried == serde_json::to_string(&other).unwrap());
    }

    #[test]
    fn arbitrary_text_never_panics_the_reader(text in ".{0,400}") {
        let _ = serde_json::from_str::<Receipt>(&text);
        let _ = serde_json::from_str::<AnswerTokens>(&text);
        let _ = text.parse::<AgentKey>();
    }
}
