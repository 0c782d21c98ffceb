//! The sampling that an answer was computed with.

use serde::{Deserialize, Serialize};

use super::encoding::Encoder;

/// Bytes of a decimal at most: the shortest text of a float, as Rust's `Debug` writes it, has no more.
const MAX_DECIMAL_BYTES: usize = 24;

/// The sampling that an answer was computed with, after defaults and the body's own words. Stop texts are part of the
/// request's body, whose digest is beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedSampling {
    /// Completion tokens at most.
    pub max_tokens: u32,
    /// `0..=2`, as the shortest decimal that reads back as the 32-bit float that was used: `0.7`. A text, so that the
    /// signed bytes do not depend on how a reader parses numbers.
    pub temperature: String,
    /// Only the `k` likeliest tokens; 0 is all.
    pub top_k: u32,
    /// Only the likeliest tokens whose probabilities add up to this, `0 < p ≤ 1`, in the same form.
    pub top_p: String,
    /// Only tokens of at least this share of the likeliest one's probability, `0 ≤ p ≤ 1`, in the same form.
    pub min_p: String,
    /// Logits of tokens of prompt and answer are divided by this, above 0, in the same form.
    pub repetition_penalty: String,
    /// Subtracted from the logits of tokens of the answer, in the same form.
    pub presence_penalty: String,
    /// Subtracted from the logits of tokens of the answer as often as they stand there, in the same form.
    pub frequency_penalty: String,
    /// Seed of the sampler.
    pub seed: u64,
    /// Whether the answer went on after an end-of-sequence token.
    pub ignore_eos: bool,
}

impl ResolvedSampling {
    /// A number in the form in which it is signed.
    pub fn decimal(value: f32) -> String {
        format!("{value:?}")
    }

    /// Whether all decimals are in the form that [`ResolvedSampling::decimal`] gives.
    pub(super) fn is_canonical(&self) -> bool {
        let decimals = [
            &self.temperature,
            &self.top_p,
            &self.min_p,
            &self.repetition_penalty,
            &self.presence_penalty,
            &self.frequency_penalty,
        ];
        decimals.into_iter().all(|text| {
            let value = || text.parse::<f32>().ok();
            text.len() <= MAX_DECIMAL_BYTES
                && value().is_some_and(|value| value.is_finite() && Self::decimal(value) == *text)
        })
    }

    pub(super) fn encode(&self, encoder: &mut Encoder) {
        let Self {
            max_tokens,
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            presence_penalty,
            frequency_penalty,
            seed,
            ignore_eos,
        } = self;
        encoder.integer(u64::from(*max_tokens));
        encoder.integer(u64::from(*top_k));
        for decimal in [
            temperature,
            top_p,
            min_p,
            repetition_penalty,
            presence_penalty,
            frequency_penalty,
        ] {
            encoder.bytes(decimal.as_bytes());
        }
        encoder.integer(*seed);
        encoder.integer(u64::from(*ignore_eos));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(temperature: String) -> ResolvedSampling {
        ResolvedSampling {
            max_tokens: 1,
            temperature,
            top_p: "1.0".into(),
            min_p: "0.0".into(),
            repetition_penalty: "1.0".into(),
            presence_penalty: "0.0".into(),
            frequency_penalty: "0.0".into(),
            top_k: 0,
            seed: 0,
            ignore_eos: false,
        }
    }

    #[test]
    fn a_number_has_one_text() {
        assert!(with("0.7".into()).is_canonical());
        for other in ["0.70", ".7", "7e-1", "NaN", "inf", "", "0.7 "] {
            assert!(!with(other.into()).is_canonical(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn every_number_that_can_be_used_has_a_text(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = ResolvedSampling::decimal(value);
            prop_assert!(text.len() <= MAX_DECIMAL_BYTES, "{text}");
            prop_assert!(with(text).is_canonical());
        }
    }
}
