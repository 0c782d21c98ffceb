//! What holds for all logits and specifications, against a sampler that visits the vocabulary in another order.

use proptest::prelude::*;

use super::*;
use crate::backend::sample::{Sampling, SeenToken, TokenMask};

/// The definition, told by sets instead of sorted prefixes: token `visit[i]` is looked at `i`-th.
fn by_sets(spec: &SampleSpec<'_>, logits: &[f32], visit: &[usize]) -> Option<u32> {
    let mut penalised = logits.to_vec();
    penalise(spec, &mut penalised);
    // Neither is NaN: what is not larger either way is equal.
    let likelier =
        |a: usize, b: usize| penalised[a] > penalised[b] || (penalised[a] >= penalised[b] && a < b);
    let open: Vec<usize> = visit
        .iter()
        .copied()
        .filter(|token| {
            let id = u32::try_from(*token).expect("small");
            spec.allowed.is_none_or(|mask| mask.allows(id))
        })
        .collect();
    let best = *open
        .iter()
        .find(|a| open.iter().all(|b| a == &b || likelier(**a, *b)))?;
    if spec.sampling.temperature == 0.0 {
        return u32::try_from(best).ok();
    }
    let inverse = (1.0 / spec.sampling.temperature).min(LARGEST_INVERSE);
    let weigh = |token: usize| u128::from(mass((penalised[token] - penalised[best]) * inverse));
    let above = |token: usize, of: &[usize]| -> (u32, u128) {
        let above = of.iter().filter(|other| likelier(**other, token));
        above.fold((0, 0), |(count, sum), other| (count + 1, sum + weigh(*other)))
    };
    let top_k = spec.sampling.top_k;
    let mut kept: Vec<usize> = open
        .iter()
        .copied()
        .filter(|token| top_k == 0 || above(*token, &open).0 < top_k)
        .collect();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shares")]
    let (least, share) = (
        u128::from((spec.sampling.min_p * ONE) as u64),
        u128::from((spec.sampling.top_p * SHARE) as u64),
    );
    kept.retain(|token| weigh(*token) >= least);
    if spec.sampling.top_p < 1.0 {
        let total: u128 = kept.iter().map(|token| weigh(*token)).sum();
        let nucleus = (total * share) >> 32;
        let before = kept.clone();
        kept.retain(|token| {
            let (count, sum) = above(*token, &before);
            count == 0 || sum < nucleus
        });
    }
    let total: u128 = kept.iter().map(|token| weigh(*token)).sum();
    let place = (u128::from(random(spec.sampling.seed, spec.index)) * total) >> 64;
    let below = |token: usize| -> u128 {
        kept.iter()
            .filter(|other| **other < token)
            .map(|token| weigh(*token))
            .sum()
    };
    let chosen = kept
        .iter()
        .find(|token| below(**token) <= place && place < below(**token) + weigh(**token))?;
    u32::try_from(*chosen).ok()
}

fn samplings() -> impl Strategy<Value = Sampling> {
    let penalties = (0.5f32..2.0, -1.0f32..1.0, -0.5f32..0.5);
    let temperature = prop_oneof![
        Just(0.0f32),
        0.05f32..3.0,
        Just(f32::MIN_POSITIVE),
        Just(1e-40f32)
    ];
    let top_p = prop_oneof![Just(1.0f32), 1e-6f32..1.0];
    let min_p = prop_oneof![Just(0.0f32), 0.0f32..=1.0];
    (temperature, 0u32..12, top_p, min_p, penalties, any::<u64>()).prop_map(
        |(temperature, top_k, top_p, min_p, (repetition, presence, frequency), seed)| Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            penalties: Penalties {
                repetition,
                presence,
                frequency,
            },
            seed,
        },
    )
}

proptest! {
    #[test]
    fn the_order_in_which_tokens_are_visited_never_matters(
        // Few different values, so that ties are common.
        logits in prop::collection::vec((-20i8..20).prop_map(|value| f32::from(value) * 0.5), 1..40),
        sampling in samplings(),
        index in any::<u64>(),
        shuffle in any::<u64>(),
        masked in prop::collection::vec(any::<bool>(), 40),
        counts in prop::collection::vec(0u32..4, 40),
    ) {
        let length = u32::try_from(logits.len()).expect("small");
        let open = (0..length).filter(|token| masked[*token as usize] || *token == 0);
        let mask = TokenMask::of(open, logits.len());
        let seen: Vec<SeenToken> = (0..length)
            .filter(|token| counts[*token as usize] > 0)
            .map(|token| SeenToken { token, completion: counts[token as usize] - 1 })
            .collect();
        let spec = SampleSpec { sampling, index, seen: &seen, allowed: Some(&mask) };
        prop_assert_eq!(spec.check(logits.len()), Ok(()));
        let mut visit: Vec<usize> = (0..logits.len()).collect();
        visit.sort_by_key(|token| random(shuffle, *token as u64));
        let (token, logprob) = sample(&spec, &logits, &mut Scratch::default()).expect("finite");
        prop_assert_eq!(Some(token), by_sets(&spec, &logits, &visit));
        prop_assert!(mask.allows(token));
        let total: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        let expected = f64::from(logits[token as usize]) - total.ln();
        prop_assert!((f64::from(logprob) - expected).abs() < 1e-5, "{} {}", logprob, expected);
    }

    #[test]
    fn the_likeliest_of_the_softmax_is_what_greedy_choosing_finds(
        logits in prop::collection::vec(
            prop_oneof![(-4i8..4).prop_map(f32::from), Just(-0.0f32), Just(f32::NEG_INFINITY), any::<f32>()],
            1..40,
        ),
        completion in 0u32..3,
        repetition in prop_oneof![Just(1.0f32), 0.5f32..2.0],
    ) {
        let mut sampling = Sampling::GREEDY;
        sampling.penalties.repetition = repetition;
        let seen = [SeenToken { token: 0, completion }];
        let spec = SampleSpec { sampling, seen: &seen, ..SampleSpec::GREEDY };
        let mut scratch = Scratch::default();
        let got = sample(&spec, &logits, &mut scratch).map(|(token, _)| token);
        let expected = Softmax::of(&logits).and_then(|_| choose(&spec, &logits, &mut scratch));
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn any_bits_are_sampled_or_refused_and_no_nan_is_taken(
        bits in prop::collection::vec(any::<u32>(), 1..30),
        sampling in samplings(),
    ) {
        let logits: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let spec = SampleSpec { sampling, ..SampleSpec::GREEDY };
        let refused = logits.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY)
            || logits.iter().all(|logit| *logit == f32::NEG_INFINITY);
        match sample(&spec, &logits, &mut Scratch::default()) {
            None => prop_assert!(refused),
            Some((token, logprob)) => {
                prop_assert!(!refused && logits[token as usize].is_finite());
                prop_assert!(logprob <= 0.0);
            }
        }
    }
}

#[test]
fn frequencies_follow_the_probabilities_at_every_temperature() {
    let logits = [0.5f32, 2.0, -1.0, 1.9, 0.0, -3.0];
    for temperature in [0.3f32, 1.0, 2.5] {
        let mut counts = [0u32; 6];
        for index in 0..30_000 {
            let sampling = Sampling {
                temperature,
                seed: 11,
                ..Sampling::GREEDY
            };
            let spec = SampleSpec {
                sampling,
                index,
                ..SampleSpec::GREEDY
            };
            let (token, _) = sample(&spec, &logits, &mut Scratch::default()).expect("finite");
            counts[token as usize] += 1;
        }
        let weight = |logit: f32| (f64::from(logit) / f64::from(temperature)).exp();
        let total: f64 = logits.iter().copied().map(weight).sum();
        for (count, logit) in counts.iter().zip(logits) {
            let p = weight(logit) / total;
            // Five standard deviations of a binomial distribution.
            let bound = 5.0 * (30_000.0 * p * (1.0 - p)).sqrt() + 1.0;
            assert!(
                (f64::from(*count) - p * 30_000.0).abs() < bound,
                "{temperature} {logit}: {count}"
            );
        }
    }
}
