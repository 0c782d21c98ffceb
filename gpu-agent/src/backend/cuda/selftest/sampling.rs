//! The choice of tokens, and the cap of logits.

use super::bench::{Bench, difference};
use super::random::Random;
use crate::backend::arithmetic;
use crate::backend::cuda::launch::{Shape, Spec, arguments, int};
use crate::backend::cuda::modules;
use crate::backend::cuda::sample::Sample;
use crate::backend::error::DeviceError;
use crate::backend::sample::{Penalties, SampleSpec, Sampling};
use crate::backend::sampling::{self, Scratch, random};

/// The likeliest token; one by temperature and its likeliest tokens; and one by temperature, every other cut and
/// penalties.
pub const SAMPLINGS: [Sampling; 3] = [
    Sampling::GREEDY,
    Sampling {
        temperature: 1.0,
        top_p: 0.9,
        seed: 3,
        ..Sampling::GREEDY
    },
    Sampling {
        temperature: 0.8,
        top_k: 20,
        min_p: 0.01,
        penalties: Penalties {
            repetition: 1.1,
            presence: 0.2,
            frequency: 0.1,
        },
        seed: 4,
        ..Sampling::GREEDY
    },
];

/// `sample`, one row for each way.
pub(super) fn sample(bench: &mut Bench<'_>, vocabulary: usize) -> Result<(), DeviceError> {
    let mut numbers = Random::new(40);
    let logits: Vec<f32> = (0..SAMPLINGS.len() * vocabulary)
        .map(|_| (numbers.float() * 40.0).round() * 0.25)
        .collect();
    let specs: Vec<u32> = SAMPLINGS
        .iter()
        .flat_map(|sampling| Spec::of(sampling, random(sampling.seed, 7)).words())
        .collect();
    let inputs = [bench.upload(&logits)?, bench.reserve::<f32>(logits.len())?];
    let (specs, none) = (bench.upload(&specs)?, bench.upload(&[0u32])?);
    let out = bench.reserve::<u32>(SAMPLINGS.len() * Sample::WORDS)?;
    let arguments = arguments![inputs[0], inputs[1], int(vocabulary), specs, none, none, out];
    bench.run(
        modules::SAMPLING,
        "sample",
        Shape::sample(SAMPLINGS.len()),
        arguments,
    )?;
    let words: Vec<u32> = bench.download(out, SAMPLINGS.len() * Sample::WORDS)?;
    let mut found = None;
    let samples = words.as_chunks().0.iter().copied().map(Sample::of);
    for (index, (sampling, sample)) in SAMPLINGS.into_iter().zip(samples).enumerate() {
        let spec = SampleSpec {
            sampling,
            index: 7,
            ..SampleSpec::GREEDY
        };
        let row = &logits[index * vocabulary..][..vocabulary];
        let expected = sampling::sample(&spec, row, &mut Scratch::default());
        let got = (!sample.bad).then(|| (sample.token, sample.log_probability()));
        let bits = |chosen: Option<(u32, f32)>| chosen.map(|(token, logprob)| (token, logprob.to_bits()));
        if bits(expected) != bits(got) {
            found = Some(format!("way {index} of sampling chose {got:?}, not {expected:?}"));
        }
    }
    bench.note(modules::SAMPLING, "sample", format!("{vocabulary} tokens"), found);
    bench.clear();
    Ok(())
}

/// `soft_cap`.
pub(super) fn soft_cap(bench: &mut Bench<'_>, cap: f32) -> Result<(), DeviceError> {
    let logits: Vec<f32> = Random::new(41)
        .floats(1_000)
        .iter()
        .map(|value| value * 20.0)
        .collect();
    let on_card = bench.upload(&logits)?;
    let arguments = arguments![on_card, cap, logits.len() as u64];
    bench.run(
        modules::SAMPLING,
        "soft_cap",
        Shape::values(logits.len()),
        arguments,
    )?;
    let expected: Vec<f32> = logits
        .iter()
        .map(|logit| arithmetic::soft_cap(*logit, cap))
        .collect();
    let found = difference(&bench.download(on_card, logits.len())?, &expected);
    bench.note(modules::SAMPLING, "soft_cap", format!("a cap of {cap}"), found);
    bench.clear();
    Ok(())
}
