use cocoon_api::{
    TokenCount,
    receipt::{
        Delivery, MAX_ARITHMETIC_BYTES, RECEIPT_VERSION, ReceiptSigner, ResolvedSampling, tokens_root,
    },
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
    let bodies = indices
        .iter()
        .map(|&index| (index, format!("{{\"text\": \"answer {index}\"}}")));
    deliver(signer, attempt, bodies)
}

/// Answers of so many bytes.
fn sized(signer: &ReceiptSigner, attempt: u32, sizes: &[(u32, usize)]) -> Vec<ResultLine> {
    let bodies = sizes
        .iter()
        .map(|&(index, size)| (index, format!("\"{}\"", "x".repeat(size.saturating_sub(2)))));
    deliver(signer, attempt, bodies)
}

fn deliver(
    signer: &ReceiptSigner,
    attempt: u32,
    bodies: impl Iterator<Item = (u32, String)>,
) -> Vec<ResultLine> {
    let mut written = chain(signer, attempt);
    (0..)
        .zip(bodies)
        .map(|(position, (index, body))| {
            let delivery = Delivery {
                request: index,
                request_sha256: asked(index),
                arithmetic: None,
                sampling: sampling(),
                tokens_root: tokens_root(&[1, 2], &[3]),
                model: Sha256Digest::of(b"model"),
                result: Sha256Digest::of(body.as_bytes()),
                usage: Usage {
                    completion_tokens: TokenCount::new(10).unwrap(),
                    ..Usage::default()
                },
                prices: prices(),
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

/// SHA-256 of a request's body.
fn asked(index: u32) -> Sha256Digest {
    Sha256Digest::of(format!("body {index}").as_bytes())
}

fn prices() -> Prices {
    Prices {
        completion: TokenPrice::from_nano_per_million(2_000_000).unwrap(),
        ..Prices::default()
    }
}

fn sampling() -> ResolvedSampling {
    ResolvedSampling {
        max_tokens: 16,
        temperature: "0.0".into(),
        top_p: "1.0".into(),
        min_p: "0.0".into(),
        repetition_penalty: "1.0".into(),
        presence_penalty: "0.0".into(),
        frequency_penalty: "0.0".into(),
        top_k: 0,
        seed: 7,
        ignore_eos: false,
    }
}

fn terms() -> Terms {
    Terms {
        custom_ids: (0..8).map(|index| format!("request-{index}")).collect(),
        bodies: (0..8).map(asked).collect(),
        budget: None,
        model: Sha256Digest::of(b"model"),
        prices: prices(),
    }
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
        .map(|line| landing.accept(&mut reader, line, &terms()).unwrap())
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
    let stored = Landing::parse(&text).unwrap();
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
    assert_eq!(accepted, [Accepted::Undelivered, Accepted::Landed]);
    let counters = landing.counters("job").unwrap();
    assert_eq!(
        counters.iter().map(|counter| counter.nano.nano()).sum::<u64>(),
        3 * 20
    );
    assert_eq!(landing.receipts().len(), 3);
    assert!(landing.has_chain(chain(&signer(2), 2).id()) && !landing.has_chain(chain(&signer(2), 3).id()));
    chains_verify(&landing.render());
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
    let refused = landing.accept(&mut chain(&signer(1), 1), lines.remove(0), &terms());
    assert!(matches!(
        refused,
        Err(LandingError::Mismatch { what: "body", .. })
    ));
    assert_eq!(landing.succeeded(), 0);
}

#[test]
fn a_receipt_that_differs_from_what_was_agreed_is_refused() {
    let refused = |terms: Terms| {
        let mut landing = Landing::default();
        let line = answers(&signer(1), 1, &[0]).remove(0);
        let refused = landing.accept(&mut chain(&signer(1), 1), line, &terms);
        assert_eq!(landing.receipts().len() + landing.undelivered().len(), 0);
        match refused {
            Err(LandingError::Disagreed { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    };
    let thousandfold = Prices {
        completion: TokenPrice::from_nano_per_million(2_000).unwrap(),
        ..Prices::default()
    };
    assert_eq!(
        refused(Terms {
            prices: thousandfold,
            ..terms()
        }),
        "price"
    );
    let another = Sha256Digest::of(b"another model");
    assert_eq!(
        refused(Terms {
            model: another,
            ..terms()
        }),
        "model"
    );
    assert_eq!(
        refused(Terms {
            bodies: vec![another],
            ..terms()
        }),
        "request body"
    );
    assert_eq!(
        refused(Terms {
            bodies: Vec::new(),
            ..terms()
        }),
        "request body"
    );
}

#[test]
fn no_error_repeats_what_an_agent_or_a_secret_said() {
    const CANARY: &str = "canary-7f3a";
    let quoted = |error: LandingError| {
        let mut words = format!("{error:?} {error}");
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            words.push_str(&error.to_string());
            cause = error.source();
        }
        words
    };
    let mut wrong = answers(&signer(1), 1, &[0]).remove(0);
    let Outcome::Succeeded { body, receipt, .. } = &mut wrong.outcome else {
        panic!("an answer")
    };
    *body = CANARY.to_owned();
    receipt.result = Sha256Digest::of(body.as_bytes());
    let refused = Landing::default().accept(&mut chain(&signer(1), 1), wrong, &terms());
    assert!(!quoted(refused.unwrap_err()).contains(CANARY));
    for (results, receipts) in [
        (format!("{CANARY}\n"), String::new()),
        (format!("{{\"index\": \"{CANARY}\"}}\n"), String::new()),
        (String::new(), format!("{{\"{CANARY}\": 1}}\n")),
    ] {
        let undelivered = receipts.clone();
        let text = LandedText {
            results,
            receipts,
            undelivered,
            ..LandedText::default()
        };
        let words = quoted(Landing::parse(&text).unwrap_err());
        assert!(!words.contains(CANARY) && words.contains("line 1"), "{words}");
    }
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
            .accept(&mut chain, failed(FailureCode::Internal), &terms())
            .unwrap(),
        Accepted::Retryable
    );
    let stored = landing
        .accept(&mut chain, failed(FailureCode::ContextLengthExceeded), &terms())
        .unwrap();
    assert_eq!(stored, Accepted::Landed);
    assert_eq!(landing.failed(), 1);
    assert!(landing.counters("job").unwrap().is_empty());
}

#[test]
fn results_beyond_what_a_secret_holds_fail_and_are_free() {
    let mut landing = Landing::default();
    let lines = sized(
        &signer(1),
        1,
        &[(0, MAX_LANDED_BYTES / 2), (1, MAX_LANDED_BYTES / 2), (2, 10)],
    );
    let accepted = land(&mut landing, &signer(1), 1, lines);
    assert_eq!(
        accepted,
        [Accepted::Landed, Accepted::Undelivered, Accepted::Landed]
    );
    assert_eq!((landing.succeeded(), landing.failed()), (2, 1));
    assert!(landing.has_failure(FailureCode::ResultTooLarge));
    assert!(!FailureCode::ResultTooLarge.is_retryable());
    assert_eq!(landing.nano().unwrap().nano(), 2 * 20);
    assert_eq!(landing.counters("job").unwrap()[0].nano.nano(), 2 * 20);
    chains_verify(&landing.render());
}

#[test]
fn an_agent_that_delivers_beyond_the_budget_is_not_paid_for_it() {
    let terms = Terms {
        budget: Some(NanoTon::from_nano(45).unwrap()),
        ..terms()
    };
    let mut landing = Landing::default();
    let mut reader = chain(&signer(1), 1);
    for line in answers(&signer(1), 1, &[0, 1, 2]) {
        landing.accept(&mut reader, line, &terms).unwrap();
    }
    assert_eq!((landing.succeeded(), landing.nano().unwrap().nano()), (2, 40));
    assert!(landing.has_failure(FailureCode::BudgetExceeded));
    chains_verify(&landing.render());
}

#[test]
fn the_longest_receipt_statement_and_failure_are_within_what_is_reserved() {
    let most = |bits: u32| (1_u64 << bits) - 1;
    let tokens = TokenCount::new(most(63)).unwrap();
    let price = TokenPrice::from_nano_per_million(most(63)).unwrap();
    let signer = signer(1);
    let id = ChainId {
        agent: signer.key(),
        job: "5c0f3b52-0000-4000-8000-000000000001".into(),
        attempt: u32::MAX,
        channel: Some("x".repeat(67)),
    };
    let usage = Usage {
        prompt_tokens: tokens,
        cached_prompt_tokens: tokens,
        completion_tokens: tokens,
        reasoning_tokens: tokens,
    };
    let mut statement = signer.statement(&ReceiptChain::new(id.clone()));
    (statement.count, statement.usage) = (u32::MAX, usage);
    statement.nano = NanoTon::from_nano(most(63)).unwrap();
    let receipt = Receipt {
        version: RECEIPT_VERSION,
        chain: id,
        sequence: u32::MAX,
        request: u32::MAX,
        request_sha256: Sha256Digest([255; 32]),
        arithmetic: Some("x".repeat(MAX_ARITHMETIC_BYTES)),
        sampling: ResolvedSampling {
            max_tokens: u32::MAX,
            temperature: ResolvedSampling::decimal(-f32::MIN_POSITIVE),
            top_p: ResolvedSampling::decimal(f32::MIN_POSITIVE),
            min_p: ResolvedSampling::decimal(f32::MIN_POSITIVE),
            repetition_penalty: ResolvedSampling::decimal(-f32::MIN_POSITIVE),
            presence_penalty: ResolvedSampling::decimal(-f32::MIN_POSITIVE),
            frequency_penalty: ResolvedSampling::decimal(-f32::MIN_POSITIVE),
            top_k: u32::MAX,
            seed: u64::MAX,
            ignore_eos: false,
        },
        tokens_root: Sha256Digest([255; 32]),
        model: Sha256Digest([255; 32]),
        result: Sha256Digest([255; 32]),
        usage,
        prices: Prices {
            prompt: price,
            cached_prompt: price,
            completion: price,
            reasoning: price,
            minimum_nano: statement.nano,
        },
        nano: statement.nano,
        previous: statement.head,
        signature: statement.signature,
    };
    let bytes = |text: String| text.len() + 1;
    let receipt = bytes(serde_json::to_string(&receipt).unwrap());
    assert!(receipt <= room::MAX_RECEIPT_BYTES, "{receipt}");
    let statement = bytes(serde_json::to_string(&statement).unwrap());
    assert!(statement <= room::MAX_STATEMENT_BYTES, "{statement}");
}

#[test]
fn an_agents_long_words_are_cut() {
    let outcome = Outcome::Failed {
        code: FailureCode::InvalidRequest,
        message: "\u{1}\"\u{1f600}".repeat(100_000),
    };
    let line = ResultLine {
        position: 0,
        index: 0,
        outcome,
    };
    let mut landing = Landing::default();
    landing.accept(&mut chain(&signer(1), 1), line, &terms()).unwrap();
    assert!(landing.render().results.len() <= record::MAX_MESSAGE_BYTES + 112 + "\"request-0\"".len());
}

#[test]
fn a_request_that_one_attempt_delivers_twice_breaks_the_protocol() {
    let mut lines = answers(&signer(1), 1, &[0, 0]);
    let mut landing = Landing::default();
    let mut reader = chain(&signer(1), 1);
    landing.accept(&mut reader, lines.remove(0), &terms()).unwrap();
    let refused = landing.accept(&mut reader, lines.remove(0), &terms());
    assert!(
        matches!(refused, Err(LandingError::Mismatch { .. })),
        "{refused:?}"
    );
    assert_eq!(landing.nano().unwrap().nano(), 20);
}

/// Every chain of the stored receipts, billed or not, verifies from its start and ends where its statement says.
fn chains_verify(text: &LandedText) {
    let landing = Landing::parse(text).unwrap();
    let mut receipts: Vec<&Receipt> = landing.receipts().iter().chain(landing.undelivered()).collect();
    receipts.sort_by_key(|receipt| receipt.sequence);
    let mut chains: BTreeMap<ChainId, ReceiptChain> = BTreeMap::new();
    for receipt in receipts {
        let chain = chains
            .entry(receipt.chain.clone())
            .or_insert_with(|| ReceiptChain::new(receipt.chain.clone()));
        chain.push(receipt).unwrap();
    }
    for (id, statement) in &landing.statements {
        assert_eq!(statement.head, chains[id].head());
        assert_eq!(statement.nano, chains[id].nano());
    }
    assert_eq!(landing.statements.len(), chains.len());
}

fn total(text: &LandedText) -> usize {
    let LandedText {
        results,
        receipts,
        undelivered,
        statements,
    } = text;
    results.len() + receipts.len() + undelivered.len() + statements.len()
}

proptest! {
    #[test]
    fn arbitrary_stored_text_never_panics(results in "\\PC{0,200}", receipts in "\\PC{0,200}") {
        let _ = Landing::parse(&LandedText { results, undelivered: receipts.clone(), receipts, ..LandedText::default() });
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

proptest! {
    // Each case signs and verifies megabytes: as many as take two seconds.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_the_sizes_and_restarts_what_is_delivered_is_billed_and_the_secret_is_not_too_large(
        first in proptest::collection::vec((0..6u32, 2..600_000usize), 0..6),
        second in proptest::collection::vec((0..6u32, 2..600_000usize), 0..6),
        name_chars in 1..40_000usize,
        restart_after in 0..6usize,
        budget in 0..150u64,
    ) {
        let once = |sizes: Vec<(u32, usize)>| sizes.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect::<Vec<_>>();
        let names = Terms {
            custom_ids: (0..6).map(|index| format!("{index}{}", "é".repeat(name_chars))).collect(),
            budget: Some(NanoTon::from_nano(budget).unwrap()),
            ..terms()
        };
        let attempts = [(signer(1), 1, once(first)), (signer(2), 2, once(second))];
        let (mut landing, mut restarted) = (Landing::default(), Landing::default());
        for (signer, attempt, sizes) in &attempts {
            let lines = sized(signer, *attempt, sizes);
            let (mut reader, mut again) = (chain(signer, *attempt), chain(signer, *attempt));
            for (number, line) in lines.iter().enumerate() {
                let was_delivered = landing.has(line.index);
                let accepted = landing.accept(&mut reader, line.clone(), &names);
                if number == restart_after {
                    restarted = Landing::parse(&restarted.render()).unwrap();
                    again = chain(signer, *attempt);
                    for line in &lines[..number] {
                        prop_assert_eq!(restarted.accept(&mut again, line.clone(), &names).unwrap(), Accepted::Known);
                    }
                }
                let accepted_again = restarted.accept(&mut again, line.clone(), &names);
                if let Err(LandingError::Full { .. }) = &accepted {
                    // An agent that answers what was delivered before is refused where nothing more can be stored; all others are taken.
                    prop_assert!(was_delivered);
                    let is_refused_again = matches!(accepted_again, Err(LandingError::Full { .. }));
                    prop_assert!(is_refused_again);
                    break;
                }
                prop_assert_eq!(accepted.unwrap(), accepted_again.unwrap());
                let text = landing.render();
                prop_assert!(total(&text) <= MAX_LANDED_BYTES);
                prop_assert_eq!(restarted.render(), text);
            }
        }
        let text = landing.render();
        chains_verify(&text);
        let metered: u64 = landing.counters("job").unwrap().iter().map(|counter| counter.nano.nano()).sum();
        prop_assert_eq!(metered, landing.nano().unwrap().nano());
        prop_assert_eq!(metered, u64::from(landing.succeeded()) * 20);
        prop_assert!(metered <= budget);
        prop_assert_eq!(u32::try_from(landing.receipts().len()).unwrap(), landing.succeeded());
    }
}
