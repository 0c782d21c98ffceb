use proptest::prelude::*;

use super::*;
use crate::units::TokenPrice;

fn signer() -> ReceiptSigner {
    ReceiptSigner::from_seed([7; 32])
}

fn chain(channel: Option<&str>) -> ReceiptChain {
    ReceiptChain::new(ChainId {
        agent: signer().key(),
        job: "0b1e".into(),
        attempt: 1,
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
    let changes: [fn(&mut Receipt); 18] = [
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
        |r| r.chain.attempt = 2,
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

proptest! {
    #[test]
    fn arbitrary_text_never_panics_the_reader(text in ".{0,400}") {
        let _ = serde_json::from_str::<Receipt>(&text);
        let _ = serde_json::from_str::<AnswerTokens>(&text);
        let _ = text.parse::<AgentKey>();
    }
}
