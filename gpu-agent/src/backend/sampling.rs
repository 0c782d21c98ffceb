//! From logits to a token: what every machine's sampler computes, as a pure function.
//!
//! Probabilities become integer *masses* before they are added, so that every sum is exact and no result depends on the
//! order in which a machine visits the vocabulary. A request's random numbers come from its own seed and the
//! number of tokens that it has sampled, so its tokens do not depend on what else runs.

use super::{
    arithmetic::exp,
    sample::{Penalties, SampleSpec},
};

/// Candidates that are sorted first where only the nucleus bounds them: at usual settings the nucleus is inside.
const FIRST_CANDIDATES: usize = 256;
/// Mass of the likeliest token, 2⁴⁰: the masses of 2²⁰ tokens add up to less than 2⁶¹, and what is left out below one
/// is less than a millionth of the likeliest token's probability in all.
const ONE: f32 = power_of_two(40);
/// `e^x · 2⁴⁰` is below 1 for every `x` below this.
const NO_MASS: f32 = -28.0;
/// Shares of a sum are multiples of 2⁻³².
const SHARE: f32 = power_of_two(32);
/// The lowest temperatures count as 2⁻⁶⁴, whose reciprocal is finite.
const LARGEST_INVERSE: f32 = power_of_two(64);

/// `2^exponent`
const fn power_of_two(exponent: u32) -> f32 {
    f32::from_bits((127 + exponent) << 23)
}

/// A token that may be chosen.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    logit: f32,
    token: u32,
    mass: u64,
}

/// Memory of the sampler, kept from token to token.
#[derive(Debug, Default)]
pub struct Scratch {
    logits: Vec<f32>,
    candidates: Vec<Candidate>,
    best: Vec<Candidate>,
}

/// What the softmax of a row of logits takes of all of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Softmax {
    /// Largest logit; finite.
    pub largest: f32,
    /// The first token that has it.
    pub likeliest: u32,
    /// Sum of the masses relative to it, in multiples of 2⁻⁴⁰.
    pub total: u64,
}

impl Softmax {
    /// Of logits as they are, or `None` where one is NaN or +∞, or where none is finite.
    pub fn of(logits: &[f32]) -> Option<Self> {
        let (largest, likeliest) = logits
            .iter()
            .copied()
            .zip(0u32..)
            .reduce(|a, b| if b.0 > a.0 { b } else { a })?;
        if !largest.is_finite() || logits.iter().any(|logit| logit.is_nan()) {
            return None;
        }
        let masses = logits
            .iter()
            .map(|logit| logit - largest)
            .filter(|x| *x >= NO_MASS)
            .map(mass);
        Some(Self {
            largest,
            likeliest,
            total: masses.sum(),
        })
    }
}

/// The next token and its log-probability by the logits as they are, or `None` where a logit is NaN or +∞.
///
/// Equal logits are decided for the lower id. The specification has passed [`SampleSpec::check`].
pub fn sample(spec: &SampleSpec<'_>, logits: &[f32], scratch: &mut Scratch) -> Option<(u32, f32)> {
    sample_with(spec, logits, &Softmax::of(logits)?, scratch)
}

/// As [`sample`] with the softmax of the logits, for machines that compute it faster.
pub fn sample_with(
    spec: &SampleSpec<'_>,
    logits: &[f32],
    softmax: &Softmax,
    scratch: &mut Scratch,
) -> Option<(u32, f32)> {
    let is_plain = spec.seen.is_empty() || spec.sampling.penalties == Penalties::NONE;
    let is_greedy = spec.sampling.temperature <= 0.0;
    let token = if is_plain && is_greedy && spec.allowed.is_none() {
        softmax.likeliest
    } else {
        choose(spec, logits, scratch)?
    };
    Some((token, log_probability(logits, softmax, token)))
}

fn choose(spec: &SampleSpec<'_>, logits: &[f32], scratch: &mut Scratch) -> Option<u32> {
    let Scratch {
        logits: penalised,
        candidates,
        best,
    } = scratch;
    penalised.clear();
    penalised.extend_from_slice(logits);
    penalise(spec, penalised);
    let allowed = |token: u32| spec.allowed.is_none_or(|mask| mask.allows(token));
    // Adding zero makes −0 the equal of 0.
    let open = || {
        penalised
            .iter()
            .map(|logit| logit + 0.0)
            .zip(0u32..)
            .filter(|(_, token)| allowed(*token))
    };
    let (largest, likeliest) = open().reduce(|a, b| if b.0 > a.0 { b } else { a })?;
    if !largest.is_finite() {
        return None;
    }
    if spec.sampling.temperature <= 0.0 {
        return Some(likeliest);
    }
    let inverse = (1.0 / spec.sampling.temperature).min(LARGEST_INVERSE);
    candidates.clear();
    candidates.extend(open().filter_map(|(logit, token)| {
        let x = (logit - largest) * inverse;
        (x >= NO_MASS).then(|| Candidate {
            logit,
            token,
            mass: mass(x),
        })
    }));
    keep(spec, candidates, best);
    draw(spec, candidates)
}

/// Penalties in the order of the fields, each operation rounded.
#[expect(clippy::cast_precision_loss, reason = "counts of tokens are far below 2^24")]
fn penalise(spec: &SampleSpec<'_>, logits: &mut [f32]) {
    let Penalties {
        repetition,
        presence,
        frequency,
    } = spec.sampling.penalties;
    for seen in spec.seen {
        let Some(logit) = logits.get_mut(seen.token as usize) else {
            continue;
        };
        *logit = if *logit > 0.0 {
            *logit / repetition
        } else {
            *logit * repetition
        };
        if seen.completion > 0 {
            *logit -= presence;
            *logit -= frequency * seen.completion as f32;
        }
    }
}

/// `⌊e^x · 2⁴⁰⌋` for `x ≤ 0`
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 0 to 2^40"
)]
fn mass(x: f32) -> u64 {
    (exp(x) * ONE) as u64
}

/// Leaves the candidates of top-k, of those the ones of min-p, and of those the ones of top-p.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shares are from 0 to 1"
)]
fn keep(spec: &SampleSpec<'_>, candidates: &mut Vec<Candidate>, best: &mut Vec<Candidate>) {
    let sampling = &spec.sampling;
    if sampling.top_k > 0 {
        keep_likeliest(candidates, sampling.top_k as usize);
    }
    let least = (sampling.min_p * ONE) as u64;
    candidates.retain(|candidate| candidate.mass >= least);
    if sampling.top_p >= 1.0 {
        return;
    }
    let share = u128::from((sampling.top_p * SHARE) as u64);
    let nucleus = (u128::from(sum(candidates)) * share) >> 32;
    let mut sorted = FIRST_CANDIDATES;
    loop {
        best.clone_from(candidates);
        keep_likeliest(best, sorted);
        if u128::from(sum(best)) >= nucleus || best.len() == candidates.len() {
            break;
        }
        sorted *= 8;
    }
    let mut kept = 0;
    let mut count = 0;
    for candidate in &*best {
        kept += u128::from(candidate.mass);
        count += 1;
        if kept >= nucleus {
            break;
        }
    }
    best.truncate(count);
    std::mem::swap(candidates, best);
}

fn sum(candidates: &[Candidate]) -> u64 {
    candidates.iter().map(|candidate| candidate.mass).sum()
}

/// Keeps the `count` likeliest, sorted; ties go to the lower id.
fn keep_likeliest(candidates: &mut Vec<Candidate>, count: usize) {
    let order = |a: &Candidate, b: &Candidate| b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token));
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, order);
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(order);
}

/// The candidate at the random place among the masses, which lie one after the other in the order of the ids.
fn draw(spec: &SampleSpec<'_>, candidates: &mut [Candidate]) -> Option<u32> {
    candidates.sort_unstable_by_key(|candidate| candidate.token);
    let random = u128::from(random(spec.sampling.seed, spec.index));
    let place = (random * u128::from(sum(candidates))) >> 64;
    let mut before = 0;
    candidates
        .iter()
        .find(|candidate| {
            before += u128::from(candidate.mass);
            before > place
        })
        .map(|candidate| candidate.token)
}

/// `ln (e^(logit − largest) / Σ e^(logits − largest))`, with the sum of the masses, and the logarithm in double
/// precision.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "log-probabilities are small; the sum is rounded once"
)]
fn log_probability(logits: &[f32], softmax: &Softmax, token: u32) -> f32 {
    let total = softmax.total as f64 / f64::from(ONE);
    let logit = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
    (f64::from(logit) - f64::from(softmax.largest) - libm::log(total)) as f32
}

/// The `index`-th number of `SplitMix64` (Steele, Lea and Flood 2014), which is tiny, and the same on every machine.
pub fn random(seed: u64, index: u64) -> u64 {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut mixed = seed.wrapping_add(STEP.wrapping_mul(index.wrapping_add(1)));
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
