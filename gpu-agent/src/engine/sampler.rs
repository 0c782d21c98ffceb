//! From logits to a token.
//!
//! A request's random numbers come from its own seed and the number of tokens it has sampled, so its tokens do not
//! depend on what else runs.

/// Candidates that are sorted first where only the nucleus bounds them: at usual settings the nucleus is inside.
const FIRST_CANDIDATES: usize = 256;

/// How a request samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Logits are divided by this; 0 takes the likeliest token always.
    pub temperature: f64,
    /// Only the likeliest tokens whose probabilities add up to this; 1 is all.
    pub top_p: f64,
    /// Only this many of the likeliest tokens; 0 is all.
    pub top_k: usize,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Sampling {
    /// Always the likeliest token.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_p: 1.0,
        top_k: 0,
        seed: 0,
    };
}

/// One request's sampler.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    random: SplitMix,
}

impl Sampler {
    /// A sampler at the start of its random numbers.
    pub fn new(sampling: Sampling) -> Self {
        Self {
            sampling,
            random: SplitMix(sampling.seed),
        }
    }

    /// The next token; equal logits are decided for the lower id, and a logit that is not a number is never taken.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        if self.sampling.temperature <= 0.0 {
            return argmax(logits);
        }
        let chosen = self.random.unit();
        let mut candidates: Vec<(f32, u32)> = logits
            .iter()
            .copied()
            .zip(0u32..)
            .filter(|(logit, _)| !logit.is_nan())
            .collect();
        let Some(largest) = candidates.iter().map(|(logit, _)| *logit).reduce(f32::max) else {
            return 0;
        };
        let weigh = |logit: f32| ((f64::from(logit) - f64::from(largest)) / self.sampling.temperature).exp();
        if self.sampling.top_k > 0 {
            keep_likeliest(&mut candidates, self.sampling.top_k);
        }
        let total: f64 = candidates.iter().map(|(logit, _)| weigh(*logit)).sum();
        let nucleus = self.sampling.top_p.clamp(0.0, 1.0) * total;
        let mut sorted = FIRST_CANDIDATES;
        loop {
            let mut best = candidates.clone();
            keep_likeliest(&mut best, sorted);
            let weight: f64 = best.iter().map(|(logit, _)| weigh(*logit)).sum();
            if weight >= nucleus || best.len() == candidates.len() {
                return draw(&best, weigh, nucleus.min(weight), chosen);
            }
            sorted *= 8;
        }
    }
}

/// Draws from the candidates, likeliest first, that are needed to reach the weight `nucleus`.
fn draw(candidates: &[(f32, u32)], weigh: impl Fn(f32) -> f64, nucleus: f64, chosen: f64) -> u32 {
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
            return *token;
        }
    }
    candidates[..count].last().map_or(0, |(_, token)| *token)
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

fn argmax(logits: &[f32]) -> u32 {
    let mut best = (f32::NEG_INFINITY, 0);
    for (logit, token) in logits.iter().zip(0u32..) {
        if *logit > best.0 {
            best = (*logit, token);
        }
    }
    best.1
}

/// `SplitMix64` (Steele, Lea and Flood 2014): tiny, and the same on every machine and in every version.
#[derive(Debug, Clone)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// Uniform in `0..1`, in steps of 2⁻⁵³.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, f32::NAN, 3.0, -2.0];

    fn draws(sampling: Sampling, count: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling);
        (0..count).map(|_| sampler.sample(&LOGITS)).collect()
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        assert_eq!(draws(Sampling::GREEDY, 3), [1, 1, 1]);
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
    fn frequencies_follow_the_probabilities() {
        let sampling = Sampling {
            temperature: 1.0,
            seed: 1,
            ..Sampling::GREEDY
        };
        let tokens = draws(sampling, 20_000);
        let total: f64 = [1.0f64, 3.0, 3.0, -2.0].iter().map(|logit| logit.exp()).sum();
        for (token, logit) in [(0, 1.0f64), (1, 3.0), (3, 3.0), (4, -2.0)] {
            let got = tokens.iter().filter(|drawn| **drawn == token).count();
            let expected = logit.exp() / total * 20_000.0;
            assert!(
                (f64::from(u32::try_from(got).expect("small")) - expected).abs() < 250.0,
                "{token}: {got} {expected}"
            );
        }
        assert!(!tokens.contains(&2));
    }

    #[test]
    fn top_k_and_top_p_leave_only_the_likeliest() {
        let sampling = Sampling {
            temperature: 2.0,
            seed: 3,
            ..Sampling::GREEDY
        };
        let kept = |sampling| {
            let mut tokens = draws(sampling, 500);
            tokens.sort_unstable();
            tokens.dedup();
            tokens
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
    }

    #[test]
    fn a_nucleus_beyond_the_first_candidates_is_found() {
        let logits = vec![0.0f32; 5000];
        let mut sampler = Sampler::new(Sampling {
            temperature: 1.0,
            top_p: 0.9,
            top_k: 0,
            seed: 5,
        });
        let tokens: Vec<u32> = (0..400).map(|_| sampler.sample(&logits)).collect();
        assert!(tokens.iter().any(|token| *token > 3000));
        assert!(tokens.iter().all(|token| *token <= 4500));
    }
}
