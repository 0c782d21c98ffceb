use super::*;
use crate::backend::sample::{Sampling, SeenToken, TokenMask};

const LOGITS: [f32; 5] = [1.0, 3.0, -9.0, 3.0, -2.0];
const WARM: Sampling = Sampling {
    temperature: 1.0,
    seed: 1,
    ..Sampling::GREEDY
};

fn draw_from(logits: &[f32], sampling: Sampling, count: u64) -> Vec<u32> {
    let mut scratch = Scratch::default();
    (0..count)
        .map(|index| {
            let spec = SampleSpec {
                sampling,
                index,
                ..SampleSpec::GREEDY
            };
            sample(&spec, logits, &mut scratch).expect("finite").0
        })
        .collect()
}

fn draws(sampling: Sampling, count: u64) -> Vec<u32> {
    draw_from(&LOGITS, sampling, count)
}

fn kept(sampling: Sampling) -> Vec<u32> {
    let mut tokens = draws(sampling, 500);
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

#[test]
fn greedy_takes_the_first_of_the_largest() {
    assert_eq!(draws(Sampling::GREEDY, 3), [1, 1, 1]);
}

#[test]
fn logits_that_are_no_numbers_have_no_token() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut scratch = Scratch::default();
        assert_eq!(sample(&SampleSpec::GREEDY, &[1.0, bad], &mut scratch), None);
    }
}

#[test]
fn the_same_seed_gives_the_same_tokens_and_another_seed_others() {
    let sampling = Sampling {
        temperature: 1.5,
        seed: 7,
        ..Sampling::GREEDY
    };
    assert_eq!(draws(sampling, 50), draws(sampling, 50));
    assert_ne!(draws(sampling, 50), draws(Sampling { seed: 8, ..sampling }, 50));
}

#[test]
fn frequencies_follow_the_probabilities_and_log_probabilities_say_them() {
    let tokens = draws(WARM, 20_000);
    let total: f64 = LOGITS.iter().map(|logit| f64::from(*logit).exp()).sum();
    for (token, logit) in [(0, 1.0f64), (1, 3.0), (3, 3.0), (4, -2.0)] {
        let got = tokens.iter().filter(|drawn| **drawn == token).count();
        let expected = logit.exp() / total * 20_000.0;
        assert!(
            (f64::from(u32::try_from(got).expect("small")) - expected).abs() < 250.0,
            "{token}: {got} {expected}"
        );
    }
    let (token, logprob) = sample(&SampleSpec::GREEDY, &LOGITS, &mut Scratch::default()).expect("finite");
    assert!(token == 1 && (f64::from(logprob) - (3.0 - total.ln())).abs() < 1e-6);
}

#[test]
fn top_k_top_p_and_min_p_leave_only_the_likeliest() {
    let sampling = Sampling {
        temperature: 2.0,
        seed: 3,
        ..Sampling::GREEDY
    };
    assert_eq!(kept(Sampling { top_k: 1, ..sampling }), [1]);
    assert_eq!(kept(Sampling { top_k: 2, ..sampling }), [1, 3]);
    assert_eq!(
        kept(Sampling {
            top_p: 0.5,
            ..sampling
        }),
        [1, 3]
    );
    assert_eq!(
        kept(Sampling {
            top_p: 1e-9,
            ..sampling
        }),
        [1]
    );
    assert_eq!(
        kept(Sampling {
            min_p: 1.0,
            ..sampling
        }),
        [1, 3]
    );
    assert_eq!(
        kept(Sampling {
            min_p: 0.3,
            ..sampling
        }),
        [0, 1, 3]
    );
}

#[test]
fn penalties_and_masks_change_what_is_chosen_and_not_its_log_probability() {
    let mut scratch = Scratch::default();
    let mut greedy = |penalties: Penalties, completion: u32, allowed: Option<&TokenMask>| {
        let spec = SampleSpec {
            sampling: Sampling {
                penalties,
                ..Sampling::GREEDY
            },
            index: 0,
            seen: &[SeenToken { token: 1, completion }],
            allowed,
        };
        sample(&spec, &LOGITS, &mut scratch).expect("finite")
    };
    let none = Penalties::NONE;
    let (token, logprob) = greedy(none, 2, None);
    assert_eq!(token, 1);
    assert_eq!(
        greedy(
            Penalties {
                repetition: 1.1,
                ..none
            },
            0,
            None
        ),
        (3, logprob)
    );
    assert_eq!(
        greedy(
            Penalties {
                presence: 0.1,
                ..none
            },
            0,
            None
        )
        .0,
        1
    );
    assert_eq!(
        greedy(
            Penalties {
                presence: 0.1,
                ..none
            },
            1,
            None
        )
        .0,
        3
    );
    assert_eq!(
        greedy(
            Penalties {
                frequency: 0.1,
                ..none
            },
            1,
            None
        )
        .0,
        3
    );
    let mask = TokenMask::of([0, 4], LOGITS.len());
    assert_eq!(greedy(none, 2, Some(&mask)).0, 0);
}

#[test]
fn a_nucleus_beyond_the_first_candidates_is_found() {
    let sampling = Sampling {
        top_p: 0.9,
        seed: 5,
        ..WARM
    };
    let tokens = draw_from(&vec![0.0; 5000], sampling, 400);
    assert!(tokens.iter().any(|token| *token > 3000));
    assert!(tokens.iter().all(|token| *token <= 4500));
}
