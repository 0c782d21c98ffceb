//! What pages hold, and what becomes of what they do not.

use super::*;

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
fn the_longest_receipt_and_failure_are_within_what_is_reserved() {
    let most = |bits: u32| (1_u64 << bits) - 1;
    let tokens = TokenCount::new(most(63)).unwrap();
    let price = TokenPrice::from_nano_per_million(most(63)).unwrap();
    let signer = signer(1);
    let id = ChainId {
        agent: signer.key(),
        subject: Subject::job("5c0f3b52-0000-4000-8000-000000000001", u32::MAX),
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
                    // An agent that answers what was delivered before is refused where nothing more can be stored; all
                    // others are taken.
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
