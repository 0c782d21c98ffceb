//! The sampling that an answer was computed with.

use serde::{Deserialize, Serialize};

use super::encoding::Encoder;

/// Bytes of a decimal at most: the shortest text of a double, as Rust's `Debug` writes it, has no more.
const MAX_DECIMAL_BYTES: usize = 24;

/// The sampling that an answer was computed with, after defaults and the body's own words. Stop texts are part of the
/// request's body, whose digest is beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedSampling {
    /// Completion tokens at most.
    pub max_tokens: u32,
    /// `0..=2`, as the shortest decimal that reads back as the number that was used: `0.7`. A text, so that the signed
    /// bytes do not depend on how a reader parses numbers.
    pub temperature: String,
    /// `0 < p ≤ 1`, in the same form.
    pub top_p: String,
    /// Only the `k` likeliest tokens; 0 is all.
    pub top_k: u32,
    /// Seed of the sampler.
    pub seed: u64,
    /// Whether the answer went on after an end-of-sequence token.
    pub ignore_eos: bool,
}

impl ResolvedSampling {
    /// A number in the form in which it is signed.
    pub fn decimal(value: f64) -> String {
        format!("{value:?}")
    }

    /// Whether both decimals are in the form that [`ResolvedSampling::decimal`] gives.
    pub(super) fn is_canonical(&self) -> bool {
        [&self.temperature, &self.top_p].into_iter().all(|text| {
            let value = || text.parse::<f64>().ok();
            text.len() <= MAX_DECIMAL_BYTES
                && value().is_some_and(|value| value.is_finite() && Self::decimal(value) == *text)
        })
    }

    pub(super) fn encode(&self, encoder: &mut Encoder) {
        let Self {
            max_tokens,
            temperature,
            top_p,
            top_k,
            seed,
            ignore_eos,
        } = self;
        encoder.integer(u64::from(*max_tokens));
        encoder.bytes(temperature.as_bytes());
        encoder.bytes(top_p.as_bytes());
        encoder.integer(u64::from(*top_k));
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
        fn every_number_that_can_be_used_has_a_text(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = ResolvedSampling::decimal(value);
            prop_assert!(text.len() <= MAX_DECIMAL_BYTES, "{text}");
            prop_assert!(with(text).is_canonical());
        }
    }
}
