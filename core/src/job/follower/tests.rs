mod limits;
mod model;

use cocoon_api::{
    NanoTon, Subject,
    agent::{AttemptState, Outcome},
    receipt::{AnswerTokens, Delivery, ReceiptSigner, ResolvedSampling, Sha256Digest, tokens_root},
    units::{Prices, TokenCount, TokenPrice},
};

use super::*;
use crate::job::landing::LIMITS;

const REQUESTS: u32 = 4;
/// Tokens of every answer.
const ANSWER: [u32; 10] = [2; 10];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn signer() -> ReceiptSigner {
    ReceiptSigner::from_seed([1; 32])
}

fn chain_id() -> ChainId {
    ChainId {
        agent: signer().key(),
        subject: Subject::job("job", 1),
        channel: Some("EQ".into()),
    }
}

fn prices() -> Prices {
    Prices {
        completion: TokenPrice::from_nano_per_million(2_000_000).unwrap(),
        ..Prices::default()
    }
}

fn asked(index: u32) -> Sha256Digest {
    Sha256Digest::of(&index.to_be_bytes())
}

fn order() -> Order {
    Order {
        job: "j".into(),
        uid: "job".into(),
        chain: chain_id(),
        terms: Terms {
            custom_ids: (0..REQUESTS).map(|index| format!("request-{index}")).collect(),
            bodies: (0..REQUESTS).map(asked).collect(),
            budget: None,
            model: Sha256Digest::of(b"model"),
            prices: prices(),
            certified: Some(signer().key()),
            limits: LIMITS,
        },
        is_paid: true,
        may_begin: true,
        deadline: None,
    }
}

/// The lines of an agent that answers every request; ten tokens each.
fn lines() -> Vec<ResultLine> {
    let signer = signer();
    let mut chain = ReceiptChain::new(chain_id());
    let line = |index: u32| {
        let body = format!("{{\"text\":\"answer {index}\"}}");
        let delivery = Delivery {
            request: index,
            request_sha256: asked(index),
            arithmetic: None,
            sampling: ResolvedSampling {
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
            },
            tokens_root: tokens_root(&[1], &ANSWER),
            model: Sha256Digest::of(b"model"),
            result: Sha256Digest::of(body.as_bytes()),
            usage: Usage {
                prompt_tokens: TokenCount::new(1).unwrap(),
                completion_tokens: TokenCount::new(10).unwrap(),
                ..Usage::default()
            },
            prices: prices(),
        };
        let receipt = Box::new(signer.receipt(&mut chain, delivery).unwrap());
        ResultLine {
            position: index,
            index,
            outcome: Outcome::Succeeded {
                body,
                tokens: AnswerTokens::new(&[1], &ANSWER),
                receipt,
            },
        }
    };
    (0..REQUESTS).map(line).collect()
}

fn progress(state: AttemptState, succeeded: u32) -> AttemptProgress {
    AttemptProgress {
        agent: signer().key(),
        state,
        total: REQUESTS,
        in_flight: REQUESTS - succeeded,
        succeeded,
        failed: 0,
        usage: Usage::default(),
        tokens_per_second: 0.0,
    }
}

/// A follower that reads, begun at time 0.
fn reading(order: Order) -> Follower {
    let mut follower = Follower::new(order, Duration::ZERO);
    let running = || Event::Attempt(Some(progress(AttemptState::Running, 0)));
    let answers = [
        Event::Loaded(Box::default()),
        Event::Attempt(None),
        Event::Identity(signer().key()),
        running(),
        Event::Opened,
    ];
    let actions = [
        Action::Load,
        Action::Ask,
        Action::Identify,
        Action::Start,
        Action::Open,
    ];
    for (answer, action) in answers.into_iter().zip(actions) {
        assert_eq!(follower.action(), action);
        follower.on(answer, Duration::ZERO);
    }
    assert!(matches!(follower.action(), Action::Read(_)) && follower.is_attached());
    follower
}
