//! The choice of tokens from logits.

use gpu_agent::backend::arithmetic::{exp, soft_cap};
use gpu_agent::backend::cuda::launch::{Shape, Spec};
use gpu_agent::backend::cuda::sample::Sample;
use gpu_agent::backend::sampling::{self, Scratch, random};
use gpu_agent::backend::{Penalties, SampleSpec, Sampling, SeenToken, TokenMask};

use crate::arguments;
use crate::card::{Card, assert_bits, ptx};
use crate::product::int;
use crate::random::Random;

pub const MODULE: &str = "sampling.sm_61";

/// One row of logits, and how it is sampled.
#[derive(Debug, Clone)]
struct Case {
    logits: Vec<f32>,
    sampling: Sampling,
    index: u64,
    seen: Vec<SeenToken>,
    allowed: Option<TokenMask>,
}

impl Case {
    fn greedy(logits: Vec<f32>) -> Self {
        Self {
            logits,
            sampling: Sampling::GREEDY,
            index: 0,
            seen: vec![],
            allowed: None,
        }
    }
}

/// The twin's token, and what its log-probability is made of.
fn twin(case: &Case) -> Option<Sample> {
    let spec = SampleSpec {
        sampling: case.sampling,
        index: case.index,
        seen: &case.seen,
        allowed: case.allowed.as_ref(),
    };
    spec.check(case.logits.len()).expect("a good specification");
    let (token, _) = sampling::sample(&spec, &case.logits, &mut Scratch::default())?;
    let largest = case.logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    Some(Sample {
        token,
        bad: false,
        logit: case.logits[token as usize],
        largest,
        mass: case.logits.iter().map(|logit| mass(logit - largest)).sum(),
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most 2^40"
)]
fn mass(x: f32) -> u64 {
    (exp(x) * 1_099_511_627_776.0) as u64
}

/// Samples a row for each case.
fn on_card(card: &Card, cases: &[Case]) -> Vec<Sample> {
    let module = card.module(&ptx(MODULE));
    let vocabulary = cases[0].logits.len();
    let words = vocabulary.div_ceil(32);
    let (mut seen, mut masks, mut specs) = (Vec::new(), Vec::<u32>::new(), Vec::new());
    for case in cases {
        let mut mask = u32::MAX;
        if let Some(allowed) = &case.allowed {
            mask = u32::try_from(masks.len() / words).expect("small");
            masks.extend(&allowed.words);
        }
        let (start, count) = (seen.len() / 2, case.seen.len());
        let small = |number: usize| u32::try_from(number).expect("small");
        specs.push(Spec {
            mask,
            seen_start: small(start),
            seen_count: small(count),
            ..Spec::of(&case.sampling, random(case.sampling.seed, case.index))
        });
        seen.extend(case.seen.iter().flat_map(|seen| [seen.token, seen.completion]));
    }
    let logits: Vec<f32> = cases.iter().flat_map(|case| case.logits.clone()).collect();
    let specs: Vec<u32> = specs.iter().flat_map(Spec::words).collect();
    let out = card.reserve::<u32>(cases.len() * Sample::WORDS);
    let arguments = arguments![
        card.upload(&logits),
        card.reserve::<f32>(logits.len()),
        int(vocabulary),
        card.upload(&specs),
        card.upload(&seen),
        card.upload(&masks),
        out
    ];
    card.run(&module, "sample", Shape::sample(cases.len()), arguments);
    let words = card.download::<u32>(out, cases.len() * Sample::WORDS);
    words.as_chunks().0.iter().copied().map(Sample::of).collect()
}

#[track_caller]
fn compare(cases: &[Case]) {
    for (index, (got, case)) in on_card(&Card::new(61), cases).iter().zip(cases).enumerate() {
        let Case { sampling, .. } = case;
        match twin(case) {
            Some(expected) => assert_eq!(*got, expected, "case {index}: {sampling:?}"),
            None => assert!(got.bad, "case {index}: {sampling:?}"),
        }
    }
}

/// Chooses a token of `vocabulary` of them: by the likeliest, or by a draw from a set that top-k and top-p keep.
pub fn choose(card: &Card, vocabulary: usize, draws: bool) {
    let mut case = Case::greedy(logits(1, vocabulary));
    if draws {
        case.sampling = Sampling {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.9,
            ..Sampling::GREEDY
        };
    }
    let expected = twin(&case).expect("numbers");
    assert_eq!(on_card(card, &[case]), [expected]);
}

/// Logits of a vocabulary that is no multiple of the threads, many of them equal.
fn logits(seed: u64, vocabulary: usize) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..vocabulary)
        .map(|_| (random.float() * 40.0).round() * 0.25)
        .collect()
}

#[test]
fn the_likeliest_token_is_the_first_of_equals() {
    let mut all = logits(1, 1500);
    (all[700], all[1400], all[3]) = (30.0, 30.0, f32::NEG_INFINITY);
    compare(&[
        Case::greedy(all),
        Case::greedy(vec![0.0; 1500]),
        Case::greedy(
            (0..1500u16)
                .map(|id| if id % 2 == 0 { 0.0 } else { -0.0 })
                .collect(),
        ),
    ]);
}

#[test]
fn logits_that_are_no_numbers_have_no_token() {
    for (place, value) in [(0, f32::NAN), (1100, f32::INFINITY), (1499, -f32::NAN)] {
        let mut all = logits(2, 1500);
        all[place] = value;
        compare(&[Case::greedy(all)]);
    }
    compare(&[Case::greedy(vec![f32::NEG_INFINITY; 100])]);
}

#[test]
fn draws_from_every_kind_of_kept_set_are_those_of_the_twin() {
    let mut cases = Vec::new();
    for (top_k, top_p, min_p) in [
        (0, 1.0, 0.0),
        (1, 1.0, 0.0),
        (40, 1.0, 0.0),
        (5000, 1.0, 0.0),
        (0, 0.9, 0.0),
        (0, 1e-9, 0.0),
        (0, 1.0, 0.1),
        (0, 1.0, 1.0),
        (300, 0.5, 0.01),
    ] {
        for (index, temperature) in [(0, 0.3), (1, 2.0), (2, 1e-30)] {
            cases.push(Case {
                sampling: Sampling {
                    temperature,
                    top_k,
                    top_p,
                    min_p,
                    seed: 7,
                    ..Sampling::GREEDY
                },
                index,
                ..Case::greedy(logits(u64::from(top_k), 1200))
            });
        }
    }
    for index in 0..4 {
        let sampling = Sampling {
            temperature: 1.0,
            ..Sampling::GREEDY
        };
        cases.push(Case {
            sampling,
            index,
            ..Case::greedy(vec![1.0; 1200])
        });
    }
    compare(&cases);
}

#[test]
fn penalties_and_masks_are_applied_as_by_the_twin() {
    let base = Case::greedy(logits(5, 1030));
    let seen: Vec<SeenToken> = (0..1030)
        .step_by(3)
        .map(|token| SeenToken {
            token,
            completion: token % 4,
        })
        .collect();
    let mut cases = Vec::new();
    for (repetition, presence, frequency) in [
        (1.3, 0.0, 0.0),
        (1.0, 2.0, 0.0),
        (1.0, 0.0, 0.7),
        (0.8, -1.0, 0.1),
        (4.0, 3.0, 3.0),
    ] {
        for temperature in [0.0, 0.8] {
            cases.push(Case {
                sampling: Sampling {
                    temperature,
                    penalties: Penalties {
                        repetition,
                        presence,
                        frequency,
                    },
                    ..Sampling::GREEDY
                },
                seen: seen.clone(),
                ..base.clone()
            });
        }
    }
    for mask in [
        TokenMask::of((0..1030).filter(|token| token % 7 == 3), 1030),
        TokenMask::of([1029], 1030),
        TokenMask::of(990..1030, 1030),
    ] {
        for temperature in [0.0, 1.5] {
            cases.push(Case {
                sampling: Sampling {
                    temperature,
                    top_p: 0.7,
                    ..Sampling::GREEDY
                },
                allowed: Some(mask.clone()),
                ..base.clone()
            });
        }
    }
    compare(&cases);
}

#[test]
fn logits_are_capped_as_by_their_twin() {
    let card = Card::new(61);
    let module = card.module(&ptx(MODULE));
    let mut logits: Vec<f32> = Random::new(7)
        .floats(300)
        .iter()
        .map(|value| value * 10.0)
        .collect();
    logits[..3].copy_from_slice(&[0.0, -0.0, f32::NAN]);
    let x = card.upload(&logits);
    card.run(
        &module,
        "soft_cap",
        Shape::values(300),
        arguments![x, 30.0f32, 300u64],
    );
    let expected: Vec<f32> = logits.iter().map(|logit| soft_cap(*logit, 30.0)).collect();
    assert_bits(&card.download(x, 300), &expected, "logits");
}
