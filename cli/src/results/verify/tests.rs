use cocoon_api::{
    Prices, TokenCount, Usage,
    receipt::{AnswerTokens, ChainId, Delivery, ReceiptSigner, ResolvedSampling, tokens_root},
    units::TokenPrice,
};
use cocoon_core::job::landing::{PageText, TokensRecord};
use cocoon_ton::{Network, SecretKey, Signer as _, Wallet};
use serde_json::json;

use super::*;

const JOB: &str = "5c0f3b52-0000-4000-8000-000000000001";
/// Of every prompt and every answer.
const TOKENS: [u32; 10] = [7; 10];
const CONTRACT: &str = "kQ-contract";

fn usage(tokens: u64) -> Usage {
    let tokens = TokenCount::new(tokens).expect("in range");
    Usage {
        prompt_tokens: tokens,
        completion_tokens: tokens,
        ..Usage::default()
    }
}

fn prices() -> Prices {
    let price = TokenPrice::from_nano_per_million(20_000_000).expect("in range");
    Prices {
        prompt: price,
        completion: price,
        ..Prices::default()
    }
}

fn body(request: u32) -> String {
    json!({"choices": [{"text": format!("answer {request}")}]}).to_string()
}

/// Two answered requests and what the job says about them.
fn job() -> (String, Vec<Receipt>, Expectations) {
    let signer = ReceiptSigner::from_seed([9; 32]);
    let id = ChainId {
        agent: signer.key(),
        subject: Subject::job(JOB, 1),
        channel: Some(CONTRACT.to_owned()),
    };
    let mut chain = ReceiptChain::new(id);
    let mut results = Vec::new();
    let mut receipts = Vec::new();
    for request in 0..2 {
        let delivery = Delivery {
            request,
            request_sha256: Sha256Digest::of(b"body"),
            arithmetic: None,
            sampling: ResolvedSampling {
                max_tokens: 16,
                temperature: "0.0".to_owned(),
                top_p: "1.0".to_owned(),
                min_p: "0.0".to_owned(),
                repetition_penalty: "1.0".to_owned(),
                presence_penalty: "0.0".to_owned(),
                frequency_penalty: "0.0".to_owned(),
                top_k: 0,
                seed: 7,
                ignore_eos: false,
            },
            tokens_root: tokens_root(&TOKENS, &TOKENS),
            model: Sha256Digest::of(b"model"),
            result: Sha256Digest::of(body(request).as_bytes()),
            usage: usage(10),
            prices: prices(),
        };
        receipts.push(signer.receipt(&mut chain, delivery).expect("signs"));
        results.push(format!(
            "{{\"index\":{request},\"custom_id\":\"r{request}\",\"response\":{{\"status_code\":200,\"body\":{}}},\"error\":null}}",
            body(request)
        ));
    }
    let expected = Expectations {
        job: JOB.to_owned(),
        is_paid: true,
        contract: Some(CONTRACT.to_owned()),
        agents: BTreeSet::from([(1, signer.key().to_string())]),
        uncertified: BTreeMap::new(),
        cost: Some(chain.nano()),
        root: Some(receipts_root(&receipts).to_string()),
        agreed: Some(Agreed {
            model: Sha256Digest::of(b"model").to_string(),
            prices: prices(),
        }),
        requests: BTreeMap::from([(0, Sha256Digest::of(b"body")), (1, Sha256Digest::of(b"body"))]),
    };
    (results.join("\n"), receipts, expected)
}

fn verdict(results: &str, receipts: &[Receipt], expected: &Expectations) -> Verdict {
    verdict_with(results, receipts, &[], expected)
}

fn verdict_with(
    results: &str,
    receipts: &[Receipt],
    undelivered: &[Receipt],
    expected: &Expectations,
) -> Verdict {
    verify(&parsed(results, receipts, undelivered), expected)
}

fn parsed(results: &str, receipts: &[Receipt], undelivered: &[Receipt]) -> Delivered {
    let lines = |receipts: &[Receipt]| {
        let lines: Vec<String> = receipts
            .iter()
            .map(|receipt| serde_json::to_string(receipt).expect("JSON"))
            .collect();
        lines.join("\n")
    };
    let tokens = |index: u32| TokensRecord {
        index,
        tokens: AnswerTokens::new(&TOKENS, &TOKENS),
    };
    let tokens = (0..2).map(|index| serde_json::to_string(&tokens(index)).expect("JSON") + "\n");
    let text = PageText {
        results: results.to_owned(),
        receipts: lines(receipts),
        undelivered: lines(undelivered),
        tokens: tokens.collect(),
    };
    Delivered::parse(&text).expect("parses")
}

fn words(verdict: &Verdict) -> String {
    verdict
        .faults
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn an_honest_job_verifies_wholly() {
    let (results, receipts, expected) = job();
    assert_eq!(
        verdict(&results, &receipts, &expected),
        Verdict {
            verified: 2,
            faults: Vec::new()
        }
    );
}

#[test]
fn a_job_that_has_not_ended_is_held_to_no_sum() {
    let (results, receipts, mut expected) = job();
    (expected.cost, expected.root) = (None, None);
    let first = results.lines().next().expect("a line");
    assert_eq!(
        verdict(first, &receipts[..1], &expected),
        Verdict {
            verified: 1,
            faults: Vec::new()
        }
    );
}

#[test]
fn another_price_model_or_request_than_was_agreed_is_found() {
    let (results, receipts, expected) = job();
    let found = |change: fn(&mut Expectations)| {
        let mut other = expected.clone();
        change(&mut other);
        let verdict = verdict(&results, &receipts, &other);
        assert_eq!(verdict.verified, 0);
        words(&verdict)
    };
    let thousandfold = |expected: &mut Expectations| {
        let agreed = expected.agreed.as_mut().expect("agreed");
        agreed.prices.prompt = TokenPrice::from_nano_per_million(20_000).expect("in range");
    };
    assert!(found(thousandfold).contains("its price is not the one that was agreed"));
    let model = |expected: &mut Expectations| {
        expected.agreed.as_mut().expect("agreed").model = "00".repeat(32);
    };
    assert!(found(model).contains("its model is not the one that was agreed"));
    let request = |expected: &mut Expectations| {
        let other = Sha256Digest::of(b"another body");
        expected.requests = BTreeMap::from([(0, other), (1, other)]);
    };
    assert!(found(request).contains("it is of another request than the job's input has"));
    assert!(found(|expected| expected.agreed = None).contains("the job says nothing of what was agreed"));
}

#[test]
fn a_changed_answer_is_found() {
    let (results, receipts, expected) = job();
    let verdict = verdict(&results.replace("answer 1", "answer X"), &receipts, &expected);
    assert_eq!(verdict.verified, 1);
    assert!(words(&verdict).contains("receipt of request 1: the answer is not the one that was delivered"));
}

/// The first of two answers did not fit: its request failed, and its receipt is not billed.
fn with_one_undelivered() -> (String, Vec<Receipt>, Vec<Receipt>, Expectations) {
    let (results, mut receipts, mut expected) = job();
    let undelivered = vec![receipts.remove(0)];
    let delivered = results.lines().nth(1).expect("two answers");
    let failed =
        r#"{"index":0,"custom_id":"r0","response":null,"error":{"code":"result_too_large","message":"m"}}"#;
    expected.cost = Some(receipts[0].nano);
    expected.root = Some(receipts_root(&receipts).to_string());
    (format!("{failed}\n{delivered}"), receipts, undelivered, expected)
}

#[test]
fn a_chain_with_an_answer_that_was_not_delivered_verifies_from_its_start() {
    let (results, receipts, undelivered, expected) = with_one_undelivered();
    let whole = verdict_with(&results, &receipts, &undelivered, &expected);
    assert_eq!((whole.verified, words(&whole)), (1, String::new()));
    let holed = verdict(&results, &receipts, &expected);
    assert!(words(&holed).contains("receipt out of sequence"));
}

#[test]
fn a_receipt_that_is_hidden_among_the_free_ones_is_found() {
    let (results, receipts, expected) = job();
    let hidden = verdict_with(&results, &receipts[..1], &receipts[1..], &expected);
    let found = words(&hidden);
    assert!(found.contains("answer \"r1\": it has no receipt"), "{found}");
    let both = verdict_with(&results, &receipts, &receipts[1..], &expected);
    assert!(!both.faults.is_empty());
    let first = results.lines().next().expect("a line");
    let lost = verdict_with(first, &receipts[..1], &receipts[1..], &expected);
    assert!(words(&lost).contains("its request has no result"));
}

#[test]
fn a_higher_amount_is_found() {
    let (results, mut receipts, expected) = job();
    receipts[0].nano = NanoTon::from_nano(1_000_000).expect("in range");
    let verdict = verdict(&results, &receipts, &expected);
    assert!(
        words(&verdict)
            .contains("receipt of request 0: receipt's amount does not equal its price times its tokens")
    );
}

#[test]
fn tokens_that_the_agent_did_not_sign_are_found() {
    let (results, mut receipts, expected) = job();
    receipts[0].usage = usage(20);
    receipts[0].nano = prices().cost(usage(20)).expect("in range");
    let verdict = verdict(&results, &receipts, &expected);
    assert!(words(&verdict).contains("receipt of request 0: the agent did not sign it"));
}

#[test]
fn tokens_that_are_not_those_of_the_receipt_or_are_not_there_are_found() {
    let (results, receipts, expected) = job();
    let found = |tokens: &[AnswerTokens]| {
        let mut delivered = parsed(&results, &receipts, &[]);
        delivered.tokens = (0..).zip(tokens.iter().cloned()).collect();
        let verdict = verify(&delivered, &expected);
        assert_eq!(verdict.verified, 1);
        words(&verdict)
    };
    let signed = AnswerTokens::new(&TOKENS, &TOKENS);
    let others = AnswerTokens::new(&TOKENS, &[8; 10]);
    assert!(
        found(&[signed.clone(), others]).contains("request 1: its tokens are not those that were signed")
    );
    let fewer = AnswerTokens::new(&TOKENS, &TOKENS[1..]);
    assert!(
        found(&[signed.clone(), fewer])
            .contains("request 1: it bills another number of tokens than there are")
    );
    assert!(found(&[signed]).contains("request 1: the tokens that it bills are not kept with the answer"));
}

#[test]
fn a_dropped_receipt_is_found() {
    let (results, receipts, expected) = job();
    let verdict = verdict(&results, &receipts[1..], &expected);
    let words = words(&verdict);
    assert!(
        words.contains("receipt of request 1: receipt out of sequence"),
        "{words}"
    );
    assert!(words.contains("answer \"r0\": it has no receipt"), "{words}");
    assert!(words.contains("nanoTON: the receipts say 400"), "{words}");
}

#[test]
fn a_receipt_twice_is_found() {
    let (results, mut receipts, expected) = job();
    receipts.push(receipts[1].clone());
    assert_eq!(verdict(&results, &receipts, &expected).verified, 2);
}

#[test]
fn a_receipt_of_a_stranger_another_job_or_another_channel_is_found() {
    let (results, receipts, expected) = job();
    let changed: [(Expectations, &str); 4] = [
        (
            Expectations {
                agents: BTreeSet::new(),
                ..expected.clone()
            },
            "no agent with the key",
        ),
        (
            Expectations {
                job: "other".to_owned(),
                ..expected.clone()
            },
            "it is of another job",
        ),
        (
            Expectations {
                contract: Some("other".to_owned()),
                ..expected.clone()
            },
            "it bills another channel",
        ),
        (
            Expectations {
                is_paid: false,
                ..expected.clone()
            },
            "for a free job",
        ),
    ];
    for (expected, why) in changed {
        let verdict = verdict(&results, &receipts, &expected);
        assert_eq!(verdict.verified, 0);
        assert!(words(&verdict).contains(why), "{why}: {}", words(&verdict));
    }
}

#[test]
fn receipts_of_an_agent_that_no_wallet_signed_for_are_a_history_that_anybody_can_invent() {
    let (results, receipts, mut expected) = job();
    assert_eq!(verdict(&results, &receipts, &expected).faults, []);
    expected.uncertified = BTreeMap::from([(1, "no wallet signed for its key".to_owned())]);
    let [fault] = &verdict(&results, &receipts, &expected).faults[..] else {
        panic!("one agent, one fault");
    };
    assert!(matches!(fault, Fault::Agent { attempt: 1, .. }), "{fault}");
    // An attempt without receipts is not believed anything.
    expected.uncertified = BTreeMap::from([(2, "no wallet signed for its key".to_owned())]);
    assert_eq!(verdict(&results, &receipts, &expected).faults, []);
}

#[test]
fn a_job_is_expected_to_be_computed_by_agents_of_the_wallet_that_is_paid() {
    let wallet = |seed: u8| {
        let key = SecretKey::from_seed(&[seed; 32]);
        let address = Wallet::new(key.public_key(), &Network::TESTBED).address();
        (key, address)
    };
    let ((key, paid), (_, another)) = (wallet(7), wallet(8));
    let agent = ReceiptSigner::from_seed([9; 32]).key();
    let certificate = certificate::certify(
        agent,
        &cocoon_api::crd::FullName::new("tenant", "gpus"),
        &Network::TESTBED,
        &key,
    )
    .expect("signs");
    let job: InferenceJob = serde_json::from_value(json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": "j", "namespace": "tenant"},
        "spec": {"model": "m", "input": {"inline": [{}]},
                 "billing": {"mode": "Channel", "channelRef": {"name": "c"}, "maxNano": 1}},
        "status": {"assignments": [
            {"attempt": 1, "provider": "gpus", "pod": "p", "podUid": "u", "agent": agent.to_string(), "requests": 0, "nano": 0,
             "state": "Ended", "certificate": certificate},
            {"attempt": 2, "provider": "gpus", "pod": "p", "podUid": "u", "agent": agent.to_string(), "requests": 0, "nano": 0,
             "state": "Ended"},
        ]},
    }))
    .expect("a job");
    let uncertified = |wallet: Option<&Address>| -> Vec<u32> {
        let expected = Expectations::of(&job, None, wallet, BTreeMap::new());
        expected.uncertified.into_keys().collect()
    };
    assert_eq!(uncertified(Some(&paid)), [2]);
    assert_eq!(uncertified(Some(&another)), [1, 2]);
    assert_eq!(uncertified(None), [0; 0]);
}
