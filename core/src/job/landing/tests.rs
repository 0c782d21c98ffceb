use cocoon_api::{
    TokenCount,
    receipt::{
        AgentKey, Delivery, MAX_ARITHMETIC_BYTES, RECEIPT_VERSION, ReceiptSigner, ResolvedSampling,
        TokensError, tokens_root,
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
                tokens_root: tokens_root(&[1, 2], &[3; 10]),
                model: Sha256Digest::of(b"model"),
                result: Sha256Digest::of(body.as_bytes()),
                usage: Usage {
                    prompt_tokens: TokenCount::new(2).unwrap(),
                    completion_tokens: TokenCount::new(10).unwrap(),
                    ..Usage::default()
                },
                prices: prices(),
            };
            let receipt = signer.receipt(&mut written, delivery).unwrap();
            let outcome = Outcome::Succeeded {
                body,
                tokens: AnswerTokens::new(&[1, 2], &[3; 10]),
                receipt: Box::new(receipt),
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
        certified: None,
        limits: LIMITS,
    }
}

/// Of the agent whose answers most tests take.
fn certified() -> Terms {
    terms_of(signer(1).key())
}

/// The same, of an agent that the provider answers for.
fn terms_of(agent: AgentKey) -> Terms {
    Terms {
        certified: Some(agent),
        ..terms()
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
        .map(|line| {
            landing
                .accept(&mut reader, line, &terms_of(signer.key()))
                .unwrap()
        })
        .collect()
}

fn signer(seed: u8) -> ReceiptSigner {
    ReceiptSigner::from_seed([seed; 32])
}

/// What a cluster stores of a landing.
#[derive(Debug, Clone, PartialEq)]
struct Stored {
    head: HeadText,
    pages: BTreeMap<String, PageText>,
}

impl Stored {
    /// Writes every page that is full, then the open one.
    fn write(&mut self, landing: &mut Landing) {
        while let Some(page) = landing.next_page("j", "uid") {
            assert_eq!(page.sha256, page.text.digest());
            self.pages.insert(page.name.clone(), page.text.as_ref().clone());
            landing.page_written(page.name);
        }
        self.head = landing.head();
    }

    fn of(landing: &Landing) -> Self {
        let mut stored = Self {
            head: HeadText::default(),
            pages: BTreeMap::new(),
        };
        stored.write(&mut landing.clone());
        stored
    }

    fn read(&self) -> Result<Landing, LandingError> {
        let mut reading = Reading::new(Some(&self.head), &[])?;
        while let Some(name) = reading.wanted() {
            reading.take(&self.pages[name])?;
        }
        Ok(reading.landing())
    }

    /// One text of all pages, in their order.
    fn all(&self, text: fn(&PageText) -> &str) -> String {
        let landing = self.read().unwrap();
        let closed = landing.closed().iter().map(|page| &self.pages[&page.name]);
        closed.chain([&self.head.page]).map(text).collect()
    }

    fn receipts(&self) -> (Vec<Receipt>, Vec<Receipt>) {
        let receipts = |text: String| {
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        };
        (
            receipts(self.all(|page| &page.receipts)),
            receipts(self.all(|page| &page.undelivered)),
        )
    }
}

fn head(page: PageText) -> HeadText {
    HeadText {
        page,
        pages: String::new(),
    }
}

#[test]
fn results_tokens_and_receipts_land_together_and_survive_storage() {
    let mut landing = Landing::default();
    land(&mut landing, &signer(1), 1, answers(&signer(1), 1, &[2, 0, 1]));
    let text = Stored::of(&landing);
    let stored = text.read().unwrap();
    assert_eq!(Stored::of(&stored), text);
    assert_eq!((stored.succeeded(), stored.failed()), (3, 0));
    assert_eq!(stored.nano().unwrap().nano(), 60);
    assert_eq!(stored.root(), landing.root());
    let (receipts, _) = text.receipts();
    assert_eq!(stored.root(), cocoon_api::receipt::receipts_root(&receipts));
    let results: Vec<ResultRecord> = text
        .head
        .page
        .results
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        results[1].response.as_ref().unwrap().body.get(),
        "{\"text\": \"answer 1\"}",
        "bytes stay as they were signed"
    );
    let tokens: Vec<TokensRecord> = text
        .head
        .page
        .tokens
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for tokens in &tokens {
        let receipt = receipts
            .iter()
            .find(|receipt| receipt.request == tokens.index)
            .unwrap();
        tokens.tokens.check(receipt.tokens_root, &receipt.usage).unwrap();
    }
    assert_eq!(tokens.len(), 3);
}

#[test]
fn tokens_that_a_receipt_does_not_count_or_did_not_sign_are_refused() {
    for (prompt, completion, why) in [
        (&[1, 2][..], &[3; 9][..], TokensError::Count),
        (&[1, 2, 3], &[3; 10], TokensError::Count),
        (&[1, 2], &[4; 10], TokensError::Root),
    ] {
        let mut line = answers(&signer(1), 1, &[0]).remove(0);
        let Outcome::Succeeded { tokens, .. } = &mut line.outcome else {
            panic!("an answer")
        };
        *tokens = AnswerTokens::new(prompt, completion);
        let mut landing = Landing::default();
        let refused = landing.accept(&mut chain(&signer(1), 1), line, &certified());
        assert!(
            matches!(refused, Err(LandingError::Tokens { source, .. }) if source == why),
            "{refused:?}"
        );
        assert_eq!(landing.succeeded(), 0);
    }
}

#[test]
fn nobody_is_paid_whose_key_the_providers_wallet_did_not_sign_for() {
    for certified in [None, Some(signer(2).key())] {
        let terms = Terms { certified, ..terms() };
        let line = answers(&signer(1), 1, &[0]).remove(0);
        let mut landing = Landing::default();
        let refused = landing.accept(&mut chain(&signer(1), 1), line, &terms);
        assert!(
            matches!(refused, Err(LandingError::Uncertified { .. })),
            "{refused:?}"
        );
        assert_eq!(landing.succeeded(), 0);
    }
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
    assert_eq!(landing.billed().count(), 3);
    assert!(landing.has_chain(chain(&signer(2), 2).id()) && !landing.has_chain(chain(&signer(2), 3).id()));
    chains_verify(&Stored::of(&landing));
}

#[test]
fn a_stream_read_again_from_the_start_changes_nothing() {
    let mut landing = Landing::default();
    land(&mut landing, &signer(1), 1, answers(&signer(1), 1, &[0, 1]));
    let before = Stored::of(&landing);
    let accepted = land(&mut landing, &signer(1), 1, answers(&signer(1), 1, &[0, 1, 2]));
    assert_eq!(accepted, [Accepted::Known, Accepted::Known, Accepted::Landed]);
    assert_ne!(Stored::of(&landing), before);
}

#[test]
fn a_receipt_for_another_body_is_refused() {
    let mut lines = answers(&signer(1), 1, &[0]);
    let Outcome::Succeeded { body, .. } = &mut lines[0].outcome else {
        panic!("an answer")
    };
    *body = "{\"text\": \"forged\"}".into();
    let mut landing = Landing::default();
    let refused = landing.accept(&mut chain(&signer(1), 1), lines.remove(0), &certified());
    assert!(matches!(
        refused,
        Err(LandingError::Mismatch { what: "body", .. })
    ));
    assert_eq!(landing.succeeded(), 0);
}

#[test]
fn a_receipt_that_differs_from_what_was_agreed_is_refused() {
    let refused = |terms: Terms| {
        let terms = Terms {
            certified: certified().certified,
            ..terms
        };
        let mut landing = Landing::default();
        let line = answers(&signer(1), 1, &[0]).remove(0);
        let refused = landing.accept(&mut chain(&signer(1), 1), line, &terms);
        assert_eq!(landing.index.entries().len(), 0);
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
    let refused = Landing::default().accept(&mut chain(&signer(1), 1), wrong, &certified());
    assert!(!quoted(refused.unwrap_err()).contains(CANARY));
    for (results, receipts) in [
        (format!("{CANARY}\n"), String::new()),
        (format!("{{\"index\": \"{CANARY}\"}}\n"), String::new()),
        (String::new(), format!("{{\"{CANARY}\": 1}}\n")),
    ] {
        let undelivered = receipts.clone();
        let text = head(PageText {
            results,
            receipts,
            undelivered,
            ..PageText::default()
        });
        let words = quoted(Reading::new(Some(&text), &[]).unwrap_err());
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
fn results_beyond_what_a_page_or_all_of_them_hold_fail_and_are_free() {
    let small = Limits {
        job: LIMITS.most_of_page * 2,
        ..LIMITS
    };
    let page = LIMITS.most_of_page;
    for (limits, sizes, landed) in [
        (LIMITS, [page / 2, page, 10], [true, false, true]),
        (small, [page - 4_000, page / 2, page - 4_000], [true, true, false]),
    ] {
        let terms = Terms {
            limits,
            ..certified()
        };
        let sizes: Vec<_> = (0..).zip(sizes).collect();
        let mut landing = Landing::default();
        let mut reader = chain(&signer(1), 1);
        let accepted: Vec<bool> = sized(&signer(1), 1, &sizes)
            .into_iter()
            .map(|line| landing.accept(&mut reader, line, &terms).unwrap() == Accepted::Landed)
            .collect();
        assert_eq!(accepted, landed);
        assert_eq!((landing.succeeded(), landing.failed()), (2, 1));
        assert!(landing.has_failure(FailureCode::ResultTooLarge));
        assert!(!FailureCode::ResultTooLarge.is_retryable());
        assert_eq!(landing.nano().unwrap().nano(), 2 * 20);
        assert_eq!(landing.counters("job").unwrap()[0].nano.nano(), 2 * 20);
        chains_verify(&Stored::of(&landing));
    }
}

/// The job for which pages are there, at full size: every answer as long as text and tokens make it.
#[test]
fn two_hundred_and_fifty_six_answers_of_eight_thousand_tokens_fit() {
    const TOKENS: usize = 8_192;
    const REQUESTS: u32 = 256;
    // The largest ids of a vocabulary, and six bytes of text for each token.
    let (prompt, completion) = (vec![151_000; 256], vec![151_935; TOKENS]);
    let body = format!("\"{}\"", "x".repeat(6 * TOKENS));
    let signer = signer(1);
    let mut written = chain(&signer, 1);
    let tokens = AnswerTokens::new(&prompt, &completion);
    let terms = Terms {
        custom_ids: (0..REQUESTS).map(|index| format!("request-{index}")).collect(),
        bodies: (0..REQUESTS).map(asked).collect(),
        ..certified()
    };
    let count = |tokens: usize| TokenCount::new(tokens as u64).unwrap();
    let (mut landing, mut reader) = (Landing::default(), chain(&signer, 1));
    let mut stored = Stored::of(&landing);
    let mut written_bytes = 0;
    for index in 0..REQUESTS {
        let delivery = Delivery {
            request: index,
            request_sha256: asked(index),
            arithmetic: None,
            sampling: sampling(),
            tokens_root: tokens_root(&prompt, &completion),
            model: Sha256Digest::of(b"model"),
            result: Sha256Digest::of(body.as_bytes()),
            usage: Usage {
                prompt_tokens: count(prompt.len()),
                completion_tokens: count(TOKENS),
                ..Usage::default()
            },
            prices: prices(),
        };
        let outcome = Outcome::Succeeded {
            body: body.clone(),
            tokens: tokens.clone(),
            receipt: Box::new(signer.receipt(&mut written, delivery).unwrap()),
        };
        let line = ResultLine {
            position: index,
            index,
            outcome,
        };
        assert_eq!(
            landing.accept(&mut reader, line, &terms).unwrap(),
            Accepted::Landed
        );
        stored.write(&mut landing);
        written_bytes += stored.head.page.len();
        assert!(stored.head.page.len() + stored.head.pages.len() <= 1 << 20);
    }
    assert_eq!((landing.succeeded(), landing.failed()), (REQUESTS, 0));
    assert!(
        stored
            .pages
            .values()
            .all(|page| page.len() <= LIMITS.most_of_page)
    );
    let total: usize = stored.pages.values().map(PageText::len).sum();
    assert!(landing.closed().len() > 60 && total > 20 << 20, "{total} bytes");
    // Written after every single answer, the open pages together are less than everything twice.
    assert!(written_bytes < total * 2, "{written_bytes} of {total} bytes");
    let read = stored.read().unwrap();
    assert_eq!((read.root(), read.succeeded()), (landing.root(), REQUESTS));
    chains_verify(&stored);
}

#[test]
fn pages_that_were_changed_removed_or_put_in_another_order_are_not_read() {
    let terms = Terms {
        limits: Limits { page: 1, ..LIMITS },
        ..certified()
    };
    let mut landing = Landing::default();
    let mut reader = chain(&signer(1), 1);
    for line in answers(&signer(1), 1, &[0, 1, 2]) {
        landing.accept(&mut reader, line, &terms).unwrap();
    }
    let stored = Stored::of(&landing);
    let known = stored.read().unwrap().closed().to_vec();
    assert_eq!(known.len(), 3);
    let begin = |pages: &[OutputPage], known: &[OutputPage]| {
        let head = HeadText {
            page: PageText::default(),
            pages: text::jsonl(pages),
        };
        Reading::new(Some(&head), known).map(drop)
    };
    begin(&known, &[]).unwrap();
    begin(&known, &known[..2]).unwrap();
    for (listed, known) in [
        (&known[..2], &known[..]),
        (&known[1..], &known[..1]),
        (&[], &known[..1]),
    ] {
        assert!(matches!(begin(listed, known), Err(LandingError::Pages)));
    }
    let strange = OutputPage {
        name: "../x".into(),
        sha256: String::new(),
    };
    assert!(matches!(begin(&[strange], &[]), Err(LandingError::Pages)));
    let many = vec![known[0].clone(); 129];
    assert!(matches!(begin(&many, &[]), Err(LandingError::Pages)));
    let mut changed = stored.clone();
    let page = changed.pages.get_mut(&known[1].name).unwrap();
    page.receipts.clear();
    assert!(matches!(changed.read(), Err(LandingError::Page { name }) if name == known[1].name));
    // Without the open page, the status says what there is.
    let mut reading = Reading::new(None, &known).unwrap();
    while let Some(name) = reading.wanted() {
        reading.take(&stored.pages[name]).unwrap();
    }
    assert_eq!(reading.landing().root(), landing.root());
}

#[test]
fn an_agent_that_delivers_beyond_the_budget_is_not_paid_for_it() {
    let terms = Terms {
        budget: Some(NanoTon::from_nano(45).unwrap()),
        ..certified()
    };
    let mut landing = Landing::default();
    let mut reader = chain(&signer(1), 1);
    for line in answers(&signer(1), 1, &[0, 1, 2]) {
        landing.accept(&mut reader, line, &terms).unwrap();
    }
    assert_eq!((landing.succeeded(), landing.nano().unwrap().nano()), (2, 40));
    assert!(landing.has_failure(FailureCode::BudgetExceeded));
    chains_verify(&Stored::of(&landing));
}

#[test]
fn the_longest_receipt_and_failure_are_within_what_is_reserved() {
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
    let nano = NanoTon::from_nano(most(63)).unwrap();
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
            minimum_nano: nano,
        },
        nano,
        previous: Sha256Digest([255; 32]),
        signature: cocoon_api::receipt::Ed25519Signature([255; 64]),
    };
    let bytes = |text: String| text.len() + 1;
    let receipt = bytes(serde_json::to_string(&receipt).unwrap());
    assert!(receipt <= room::MAX_RECEIPT_BYTES, "{receipt}");
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
    assert!(landing.head().page.results.len() <= record::MAX_MESSAGE_BYTES + 112 + "\"request-0\"".len());
}

#[test]
fn a_request_that_one_attempt_delivers_twice_breaks_the_protocol() {
    let mut lines = answers(&signer(1), 1, &[0, 0]);
    let mut landing = Landing::default();
    let mut reader = chain(&signer(1), 1);
    landing
        .accept(&mut reader, lines.remove(0), &certified())
        .unwrap();
    let refused = landing.accept(&mut reader, lines.remove(0), &certified());
    assert!(
        matches!(refused, Err(LandingError::Mismatch { .. })),
        "{refused:?}"
    );
    assert_eq!(landing.nano().unwrap().nano(), 20);
}

/// Every chain of the stored receipts, billed or not, verifies from its start.
fn chains_verify(stored: &Stored) {
    let (receipts, undelivered) = stored.receipts();
    let mut receipts: Vec<&Receipt> = receipts.iter().chain(&undelivered).collect();
    receipts.sort_by_key(|receipt| receipt.sequence);
    let mut chains: BTreeMap<ChainId, ReceiptChain> = BTreeMap::new();
    for receipt in receipts {
        let chain = chains
            .entry(receipt.chain.clone())
            .or_insert_with(|| ReceiptChain::new(receipt.chain.clone()));
        chain.push(receipt).unwrap();
    }
}

proptest! {
    #[test]
    fn arbitrary_stored_text_never_panics(results in "\\PC{0,200}", receipts in "\\PC{0,200}") {
        let text = PageText { results, undelivered: receipts.clone(), tokens: receipts.clone(), receipts };
        let _ = Reading::new(Some(&HeadText { pages: text.receipts.clone(), page: text }), &[]);
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
    fn whatever_the_sizes_and_restarts_what_is_delivered_is_billed_and_nothing_is_too_large(
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
            limits: Limits { job: 1_000 * 1024, page: 200 * 1024, ..LIMITS },
            ..terms()
        };
        let attempts = [(signer(1), 1, once(first)), (signer(2), 2, once(second))];
        let (mut landing, mut restarted) = (Landing::default(), Landing::default());
        let mut cluster = Stored::of(&restarted);
        for (signer, attempt, sizes) in &attempts {
            let names = Terms { certified: Some(signer.key()), ..names.clone() };
            let lines = sized(signer, *attempt, sizes);
            let (mut reader, mut again) = (chain(signer, *attempt), chain(signer, *attempt));
            for (number, line) in lines.iter().enumerate() {
                let was_delivered = landing.has(line.index);
                let accepted = landing.accept(&mut reader, line.clone(), &names);
                if number == restart_after {
                    cluster.write(&mut restarted);
                    restarted = cluster.read().unwrap();
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
                let text = Stored::of(&landing);
                let total: usize = text.pages.values().chain([&text.head.page]).map(PageText::len).sum();
                prop_assert!(total <= names.limits.job);
                // The list of closed pages names each by what it holds.
                prop_assert!(Stored::of(&restarted).head == text.head);
            }
        }
        chains_verify(&Stored::of(&landing));
        let metered: u64 = landing.counters("job").unwrap().iter().map(|counter| counter.nano.nano()).sum();
        prop_assert_eq!(metered, landing.nano().unwrap().nano());
        prop_assert_eq!(metered, u64::from(landing.succeeded()) * 20);
        prop_assert!(metered <= budget);
        prop_assert_eq!(u32::try_from(landing.billed().count()).unwrap(), landing.succeeded());
    }
}
