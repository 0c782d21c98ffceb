use cocoon_api::{
    TokenCount,
    receipt::{Delivery, ReceiptSigner},
    units::{Prices, TokenPrice},
};
use proptest::prelude::*;

use super::*;

fn chain(signer: &ReceiptSigner, attempt: u32) -> ReceiptChain {
    ReceiptChain::new(ChainId {
        agent: signer.key(),
        job: "job".into(),
        attempt,
        channel: Some("EQ".into()),
    })
}

fn answers(signer: &ReceiptSigner, attempt: u32, indices: &[u32]) -> Vec<ResultLine> {
    let mut written = chain(signer, attempt);
    (0..)
        .zip(indices)
        .map(|(position, &index)| {
            let body = format!("{{\"text\": \"answer {index}\"}}");
            let delivery = Delivery {
                request: index,
                model: Sha256Digest::of(b"model"),
                result: Sha256Digest::of(body.as_bytes()),
                usage: Usage {
                    completion_tokens: TokenCount::new(10).unwrap(),
                    ..Usage::default()
                },
                prices: Prices {
                    completion: TokenPrice::from_nano_per_million(2_000_000).unwrap(),
                    ..Prices::default()
                },
            };
            let receipt = signer.receipt(&mut written, delivery).unwrap();
            let statement = signer.statement(&written);
            let outcome = Outcome::Succeeded {
                body,
                receipt: Box::new(receipt),
                statement: Box::new(statement),
            };
            ResultLine {
                position,
                index,
                outcome,
            }
        })
        .collect()
}

fn ids() -> Vec<String> {
    (0..8).map(|index| format!("request-{index}")).collect()
}

fn land(
    landing: &mut Landing,
    signer: &ReceiptSigner,
    attempt: u32,
    lines: Vec<ResultLine>,
) -> Vec<Accepted> {
    let mut reader = chain(signer, attempt);
    lines
        .into_iter()
        .map(|line| landing.accept(&mut reader, line, &ids()).unwrap())
        .collect()
}

fn signer(seed: u8) -> ReceiptSigner {
    ReceiptSigner::from_seed([seed; 32])
}

#[test]
fn results_and_receipts_land_together_and_survive_storage() {
    let mut landing = Landing::default();
    land(&mut landing, &signer(1), 1, answers(&signer(1), 1, &[2, 0, 1]));
    let text = landing.render();
    let stored = Landing::parse(&text.results, &text.receipts, &text.statements).unwrap();
    assert_eq!(stored.render(), text);
    assert_eq!((stored.succeeded(), stored.failed()), (3, 0));
    assert_eq!(stored.nano().unwrap().nano(), 60);
    assert_eq!(stored.root(), landing.root());
    let bodies: Vec<_> = stored
        .records()
        .map(|record| record.response.as_ref().unwrap().body.get())
        .collect();
    assert_eq!(
        bodies[1], "{\"text\": \"answer 1\"}",
        "bytes stay as they were signed"
    );
}

#[test]
fn a_request_is_billed_once_although_two_attempts_deliver_it() {
    let mut landing = Landing::default();
    land(&mut landing, &signer(1), 1, answers(&signer(1), 1, &[0, 1]));
    let accepted = land(&mut landing, &signer(2), 2, answers(&signer(2), 2, &[1, 2]));
    assert_eq!(accepted, [Accepted::Known, Accepted::Landed]);
    let counters = landing.counters("job").unwrap();
    assert_eq!(
        counters.iter().map(|counter| counter.nano.nano()).sum::<u64>(),
        3 * 20
    );
    assert_eq!(landing.receipts().len(), 3);
}

#[test]
fn a_stream_read_again_from_the_start_changes_nothing() {
    let mut landing = Landing::default();
    land(&mut landing, &signer(1), 1, answers(&signer(1), 1, &[0, 1]));
    let before = landing.render();
    let accepted = land(&mut landing, &signer(1), 1, answers(&signer(1), 1, &[0, 1, 2]));
    assert_eq!(accepted, [Accepted::Known, Accepted::Known, Accepted::Landed]);
    assert_ne!(landing.render(), before);
}

#[test]
fn a_receipt_for_another_body_is_refused() {
    let mut lines = answers(&signer(1), 1, &[0]);
    let Outcome::Succeeded { body, .. } = &mut lines[0].outcome else {
        panic!("an answer")
    };
    *body = "{\"text\": \"forged\"}".into();
    let mut landing = Landing::default();
    let refused = landing.accept(&mut chain(&signer(1), 1), lines.remove(0), &ids());
    assert!(matches!(
        refused,
        Err(LandingError::Mismatch { what: "body", .. })
    ));
    assert_eq!(landing.succeeded(), 0);
}

#[test]
fn only_failures_that_another_attempt_cannot_mend_are_stored() {
    let failed = |code| ResultLine {
        position: 0,
        index: 0,
        outcome: Outcome::Failed {
            code,
            message: "m".into(),
        },
    };
    let mut landing = Landing::default();
    let mut chain = chain(&signer(1), 1);
    assert_eq!(
        landing
            .accept(&mut chain, failed(FailureCode::Internal), &ids())
            .unwrap(),
        Accepted::Retryable
    );
    let stored = landing
        .accept(&mut chain, failed(FailureCode::ContextLengthExceeded), &ids())
        .unwrap();
    assert_eq!(stored, Accepted::Landed);
    assert_eq!(landing.failed(), 1);
    assert!(landing.counters("job").unwrap().is_empty());
}

#[test]
fn results_beyond_what_a_secret_holds_fail_and_are_free() {
    let mut landing = Landing {
        bytes: MAX_LANDED_BYTES,
        ..Landing::default()
    };
    land(&mut landing, &signer(1), 1, answers(&signer(1), 1, &[0]));
    assert_eq!((landing.succeeded(), landing.failed()), (0, 1));
    assert_eq!(landing.nano().unwrap(), NanoTon::ZERO);
}

proptest! {
    #[test]
    fn arbitrary_stored_text_never_panics(results in "\\PC{0,200}", receipts in "\\PC{0,200}") {
        let _ = Landing::parse(&results, &receipts, "");
    }

    #[test]
    fn counters_equal_the_sum_of_receipts(split in 0..6usize) {
        let order = [3, 1, 0, 2, 5, 4];
        let (first, second) = order.split_at(split);
        let mut landing = Landing::default();
        land(&mut landing, &signer(1), 1, answers(&signer(1), 1, first));
        land(&mut landing, &signer(2), 2, answers(&signer(2), 2, second));
        let counted: u64 = landing.counters("job").unwrap().iter().map(|counter| counter.nano.nano()).sum();
        prop_assert_eq!(counted, landing.nano().unwrap().nano());
        prop_assert_eq!(counted, 6 * 20);
    }
}
