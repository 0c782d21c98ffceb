//! From logits to a token: what every machine's sampler computes, as a pure function.
//!
//! A request's random numbers come from its own seed and the number of tokens that it has sampled, so its tokens do not
//! depend on what else runs.

use super::sample::{Penalties, SampleSpec};

/// Candidates that are sorted first where only the nucleus bounds them: at usual settings the nucleus is inside.
const FIRST_CANDIDATES: usize = 256;

/// Memory of the sampler, kept from token to token.
#[derive(Debug, Default)]
pub struct Scratch {
    logits: Vec<f32>,
    candidates: Vec<(f32, u32)>,
    best: Vec<(f32, u32)>,
}

/// The next token and its log-probability by the logits as they are, or `None` where a logit is NaN or +∞.
///
/// Equal logits are decided for the lower id. The specification has passed [`SampleSpec::check`].
pub fn sample(spec: &SampleSpec<'_>, logits: &[f32], scratch: &mut Scratch) -> Option<(u32, f32)> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !largest.is_finite() || logits.iter().any(|logit| logit.is_nan()) {
        return None;
    }
    let Scratch {
        logits: penalised,
        candidates,
        best,
    } = scratch;
    penalised.clear();
    penalised.extend_from_slice(logits);
    penalise(spec, penalised);
    candidates.clear();
    let allowed = |token: u32| spec.allowed.is_none_or(|mask| mask.allows(token));
    candidates.extend(
        penalised
            .iter()
            .copied()
            .zip(0u32..)
            .filter(|(_, token)| allowed(*token)),
    );
    let token = choose(spec, candidates, best)?;
    Some((token, log_probability(logits, largest, token)))
}

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
            *logit -= frequency * f32::from(u16::try_from(seen.completion).unwrap_or(u16::MAX));
        }
    }
}

fn choose(
    spec: &SampleSpec<'_>,
    candidates: &mut Vec<(f32, u32)>,
    best: &mut Vec<(f32, u32)>,
) -> Option<u32> {
    let likelier = |a: (f32, u32), b: (f32, u32)| if b.0 > a.0 { b } else { a };
    let (largest, likeliest) = candidates.iter().copied().reduce(likelier)?;
    if spec.sampling.temperature <= 0.0 {
        return Some(likeliest);
    }
    let temperature = f64::from(spec.sampling.temperature);
    let weigh = |logit: f32| ((f64::from(logit) - f64::from(largest)) / temperature).exp();
    if spec.sampling.top_k > 0 {
        keep_likeliest(candidates, spec.sampling.top_k as usize);
    }
    let least = f64::from(spec.sampling.min_p);
    candidates.retain(|(logit, _)| weigh(*logit) >= least);
    let total: f64 = candidates.iter().map(|(logit, _)| weigh(*logit)).sum();
    let nucleus = f64::from(spec.sampling.top_p) * total;
    let chosen = unit(spec.sampling.seed, spec.index);
    let mut sorted = FIRST_CANDIDATES;
    loop {
        best.clone_from(candidates);
        keep_likeliest(best, sorted);
        let weight: f64 = best.iter().map(|(logit, _)| weigh(*logit)).sum();
        if weight >= nucleus || best.len() == candidates.len() {
            return draw(best, weigh, nucleus.min(weight), chosen);
        }
        sorted *= 8;
    }
}

/// Draws from the candidates, likeliest first, that are needed to reach the weight `nucleus`.
fn draw(candidates: &[(f32, u32)], weigh: impl Fn(f32) -> f64, nucleus: f64, chosen: f64) -> Option<u32> {
    let mut kept = 0.0;
    let mut count = 0;
    for (logit, _) in candidates {
        kept += weigh(*logit);
        count += 1;
        if kept >= nucleus {
            break;
        }
    }
    let mut remaining = chosen * kept;
    for (logit, token) in &candidates[..count] {
        remaining -= weigh(*logit);
        if remaining < 0.0 {
            return Some(*token);
        }
    }
    candidates[..count].last().map(|(_, token)| *token)
}

/// Keeps the `count` largest logits, sorted; ties go to the lower id.
fn keep_likeliest(candidates: &mut Vec<(f32, u32)>, count: usize) {
    let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, order);
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(order);
}

#[expect(clippy::cast_possible_truncation, reason = "log-probabilities are small")]
fn log_probability(logits: &[f32], largest: f32, token: u32) -> f32 {
    let shifted = |logit: f32| f64::from(logit) - f64::from(largest);
    let total: f64 = logits.iter().map(|logit| shifted(*logit).exp()).sum();
    let logit = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
    (shifted(logit) - total.ln()) as f32
}

/// Uniform in `0..1` in steps of 2⁻⁵³: the `index`-th number of `SplitMix64` (Steele, Lea and Flood 2014), which is
/// tiny, and the same on every machine and in every version.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
fn unit(seed: u64, index: u64) -> f64 {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut mixed = seed.wrapping_add(STEP.wrapping_mul(index.wrapping_add(1)));
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests;
