//! What a card could serve, estimated from its memory and its measured rates: no model is at hand.

use serde::Serialize;

use super::layout::{Format, Layout, SEGMENT_BLOCKS};
use super::rates::Units;

/// Quantisations that people ask for, and the format that most of such a model's weights have.
const QUANTISATIONS: [(&str, Format); 7] = [
    ("Q4_0", Format::Q4_0),
    ("Q4_1", Format::Q4_1),
    ("Q4_K", Format::Q4_K),
    ("Q5_K", Format::Q5_K),
    ("Q6_K", Format::Q6_K),
    ("Q8_0", Format::Q8_0),
    ("F16", Format::Fixed),
];
/// Share of free memory that weights may take: the rest holds keys and values of some thousand tokens, activations and
/// logits. An 8B model of 4 bits on a card of 6 GB has this share.
const WEIGHTS: f64 = 0.85;
/// Weights of the model whose speed is estimated on every card that holds it, in billions: the size that most owners
/// ask for.
const COMMON: f64 = 8.0;

/// What a card could serve in one quantisation. Everything here is an estimate: attention, launches and the driver are
/// left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// As files name it.
    pub quantisation: &'static str,
    /// Bits that a weight takes on the card, scales included.
    pub bits_per_weight: f64,
    /// Billions of weights of the largest model.
    pub largest_billions: f64,
    /// Tokens a second of one sequence with that model.
    pub largest_tokens_per_second: f64,
    /// Tokens a second of one sequence with 8 billion weights; absent where they do not fit.
    pub tokens_per_second_of_8_billions: Option<f64>,
    /// Which of memory and instructions sets the pace.
    pub bound: &'static str,
    /// Always true.
    pub is_estimate: bool,
}

/// What a card with so many free bytes could serve.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
pub fn forecast(units: &Units, free: u64) -> Vec<Forecast> {
    let of = |(quantisation, format): (&'static str, Format)| {
        let bytes = bytes_per_weight(format);
        let memory = bytes / units.rates().memory;
        let instructions = units.seconds(1) / 32.0;
        let seconds = memory.max(instructions);
        let largest = free as f64 * WEIGHTS / bytes / 1e9;
        let speed = |billions: f64| 1.0 / (billions * 1e9 * seconds);
        Forecast {
            quantisation,
            bits_per_weight: bytes * 8.0,
            largest_billions: largest,
            largest_tokens_per_second: speed(largest),
            tokens_per_second_of_8_billions: (largest >= COMMON).then(|| speed(COMMON)),
            bound: if memory >= instructions {
                "memory"
            } else {
                "instructions"
            },
            is_estimate: true,
        }
    };
    QUANTISATIONS.into_iter().map(of).collect()
}

/// Bytes that a weight takes in a matrix without padding.
#[expect(clippy::cast_precision_loss, reason = "a ratio of small numbers")]
fn bytes_per_weight(format: Format) -> f64 {
    let layout = Layout {
        format,
        rows: 32,
        blocks: SEGMENT_BLOCKS,
    };
    layout.bytes() as f64 / (32 * 32 * SEGMENT_BLOCKS) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cuda::rates::Rates;

    fn units(rate: f64) -> Units {
        let rates = Rates {
            dp4a: rate,
            dp2a: rate,
            mad: rate,
            tensor: 0.0,
            scale: f64::INFINITY,
            memory: 450e9,
            link: 1e9,
        };
        Units::new(rates, (8, 6))
    }

    #[test]
    fn memory_sets_the_pace_of_a_card_with_fast_instructions() {
        let all = forecast(&units(1e13), 24 << 30);
        let of = |name: &str| all.iter().find(|of| of.quantisation == name).unwrap().clone();
        let q4 = of("Q4_0");
        assert!((q4.bits_per_weight - 4.5).abs() < 1e-9);
        // 450 GB/s over 8e9 weights of 4.5 bits.
        assert!((q4.tokens_per_second_of_8_billions.unwrap() - 100.0).abs() < 0.01);
        assert_eq!(q4.bound, "memory");
        assert!(of("F16").largest_billions < q4.largest_billions / 3.0);
        assert!((of("Q4_K").bits_per_weight - 4.625).abs() < 1e-9);
    }

    #[test]
    fn instructions_set_the_pace_of_a_card_that_was_slowed_down() {
        // 8e9 weights of four a dot at 2e10 dots a second.
        let all = forecast(&units(2e10), 24 << 30);
        assert_eq!(all[0].bound, "instructions");
        assert!((all[0].tokens_per_second_of_8_billions.unwrap() - 10.0).abs() < 0.01);
    }

    #[test]
    fn a_model_that_does_not_fit_has_no_speed() {
        let all = forecast(&units(1e13), 4 << 30);
        assert!(all.iter().all(|of| of.tokens_per_second_of_8_billions.is_none()));
        assert!(all.iter().all(|of| of.largest_billions > 0.0 && of.is_estimate));
    }
}
