//! What an agent may not bill.

use super::*;

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
