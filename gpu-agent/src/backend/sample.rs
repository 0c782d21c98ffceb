//! How the next token is chosen, and which it was.

use super::error::BatchError;

/// How a request samples. The ranges are those of the fields; whoever builds one checks them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Logits are divided by this; 0 takes the likeliest token always.
    pub temperature: f32,
    /// Only this many of the likeliest tokens; 0 is all.
    pub top_k: u32,
    /// Only the likeliest tokens whose probabilities add up to this, `0 < p ≤ 1`; 1 is all.
    pub top_p: f32,
    /// Only tokens of at least this share of the likeliest one's probability, `0 ≤ p ≤ 1`; 0 is all.
    pub min_p: f32,
    /// What was said before is made less likely.
    pub penalties: Penalties,
    /// Seed of the random numbers.
    pub seed: u64,
}

/// How tokens that were seen before become less likely.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Penalties {
    /// Logits of tokens of the prompt or the completion are divided by this if positive, and multiplied if negative
    /// (Keskar et al. 2019); above 0, and 1 changes nothing.
    pub repetition: f32,
    /// Subtracted from the logits of tokens of the completion.
    pub presence: f32,
    /// Subtracted from the logits of tokens of the completion, as often as they stand there.
    pub frequency: f32,
}

impl Penalties {
    /// Nothing is made less likely.
    pub const NONE: Self = Self {
        repetition: 1.0,
        presence: 0.0,
        frequency: 0.0,
    };
}

impl Sampling {
    /// Always the likeliest token.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        penalties: Penalties::NONE,
        seed: 0,
    };
}

/// A token of a sequence, and how often it stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenToken {
    /// The token.
    pub token: u32,
    /// How often the completion has it; 0 where only the prompt does.
    pub completion: u32,
}

/// Which tokens may be chosen, one bit each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenMask {
    /// Bit `token % 32` of word `token / 32`; tokens beyond the last word may not be chosen.
    pub words: Vec<u32>,
}

impl TokenMask {
    /// A mask that allows exactly these tokens of a vocabulary.
    pub fn of(tokens: impl IntoIterator<Item = u32>, vocabulary: usize) -> Self {
        let mut words = vec![0; vocabulary.div_ceil(32)];
        for token in tokens {
            if let Some(word) = words.get_mut(token as usize / 32) {
                *word |= 1 << (token % 32);
            }
        }
        Self { words }
    }

    /// Whether any token of a vocabulary may be chosen.
    pub fn allows_any(&self, vocabulary: usize) -> bool {
        let (whole, rest) = (vocabulary / 32, vocabulary % 32);
        let tail = self
            .words
            .get(whole)
            .is_some_and(|word| word & ((1 << rest) - 1) != 0);
        tail || self.words.iter().take(whole).any(|word| *word != 0)
    }

    /// Whether a token may be chosen.
    pub fn allows(&self, token: u32) -> bool {
        self.words
            .get(token as usize / 32)
            .is_some_and(|word| word >> (token % 32) & 1 == 1)
    }
}

/// How the next token of one of a batch's outputs is chosen. The choice depends on this and on the logits alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleSpec<'a> {
    /// The request's settings.
    pub sampling: Sampling,
    /// Tokens of the completion before this one: the place in the request's random numbers.
    pub index: u64,
    /// Tokens of the sequence, ascending, each once; may be empty where no penalty is set.
    pub seen: &'a [SeenToken],
    /// Tokens that may be chosen; absent: all.
    pub allowed: Option<&'a TokenMask>,
}

impl SampleSpec<'_> {
    /// The likeliest token, whichever it is.
    pub const GREEDY: Self = Self {
        sampling: Sampling::GREEDY,
        index: 0,
        seen: &[],
        allowed: None,
    };

    /// Checks the ranges of all fields, so that samplers may rely on them.
    ///
    /// # Errors
    /// The first field that is out of range.
    pub fn check(&self, vocabulary: usize) -> Result<(), BatchError> {
        let Sampling {
            temperature,
            top_k: _,
            top_p,
            min_p,
            penalties,
            seed: _,
        } = self.sampling;
        let refuse = |problem: String| Err(BatchError { problem });
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return refuse(format!("temperature {temperature}"));
        }
        if !(top_p > 0.0 && top_p <= 1.0 && (0.0..=1.0).contains(&min_p)) {
            return refuse(format!("top-p {top_p} with min-p {min_p}"));
        }
        let Penalties {
            repetition,
            presence,
            frequency,
        } = penalties;
        if !(repetition > 0.0
            && [repetition, presence, frequency]
                .iter()
                .all(|penalty| penalty.is_finite()))
        {
            return refuse(format!("penalties {repetition}, {presence} and {frequency}"));
        }
        let ascending = self.seen.is_sorted_by(|a, b| a.token < b.token);
        if !ascending
            || self
                .seen
                .last()
                .is_some_and(|seen| seen.token as usize >= vocabulary)
        {
            return refuse("seen tokens that do not ascend within the vocabulary".to_owned());
        }
        if self.allowed.is_some_and(|mask| !mask.allows_any(vocabulary)) {
            return refuse("a mask that allows no token of the vocabulary".to_owned());
        }
        Ok(())
    }
}

/// The next token of each of a batch's outputs, in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampled {
    /// The tokens.
    pub ids: Vec<u32>,
    /// Their log-probabilities by the logits as they were, before penalties, mask and temperature.
    pub logprobs: Vec<f32>,
}

impl Sampled {
    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.logprobs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_allows_what_it_names_and_nothing_beyond_its_vocabulary() {
        let mask = TokenMask::of([0, 31, 32, 99], 70);
        let allowed: Vec<u32> = (0..200).filter(|token| mask.allows(*token)).collect();
        assert_eq!(allowed, [0, 31, 32]);
        assert!(mask.allows_any(1) && !TokenMask::of([40], 70).allows_any(40));
        assert!(TokenMask::of([40], 70).allows_any(41));
    }

    #[test]
    fn a_specification_out_of_range_is_refused() {
        let refused = |sampling: Sampling| {
            let spec = SampleSpec {
                sampling,
                ..SampleSpec::GREEDY
            };
            spec.check(10).is_err()
        };
        let greedy = Sampling::GREEDY;
        assert!(!refused(greedy));
        for temperature in [-1.0, f32::NAN, f32::INFINITY] {
            assert!(refused(Sampling {
                temperature,
                ..greedy
            }));
        }
        assert!(refused(Sampling { top_p: 0.0, ..greedy }) && refused(Sampling { min_p: 1.1, ..greedy }));
        let penalties = Penalties {
            repetition: 0.0,
            ..Penalties::NONE
        };
        assert!(refused(Sampling { penalties, ..greedy }));
        let seen = |tokens: &[u32]| -> Vec<SeenToken> {
            tokens
                .iter()
                .map(|token| SeenToken {
                    token: *token,
                    completion: 0,
                })
                .collect()
        };
        for (tokens, good) in [([1, 2], true), ([2, 2], false), ([2, 10], false)] {
            let spec = SampleSpec {
                seen: &seen(&tokens),
                ..SampleSpec::GREEDY
            };
            assert_eq!(spec.check(10).is_ok(), good);
        }
        let spec = SampleSpec {
            allowed: Some(&TokenMask::of([11], 12)),
            ..SampleSpec::GREEDY
        };
        assert!(spec.check(10).is_err() && spec.check(12).is_ok());
    }
}
