//! Types of floats: decoding, and 16-bit fixed point for integer products.

use half::{bf16, f16};

use super::{Block, Factors, TensorType};

/// Steps of the largest value: `w = 256 · high + low` has a high byte of at most 127 for every `w` up to it.
const LARGEST_STEP: f32 = 32_512.0;
/// Blocks whose largest value is below 2⁻¹⁰⁰ count as zeros, so that its reciprocal steps stay finite.
const SMALLEST: f32 = f32::from_bits((127 - 100) << 23);

/// Decodes floats of 32 or 16 bits; exact.
pub(super) fn floats(kind: TensorType, bytes: &[u8], out: &mut [f32]) {
    match kind {
        TensorType::F32 => {
            for (value, raw) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*raw);
            }
        }
        TensorType::F16 => {
            for (value, raw) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = f16::from_le_bytes(*raw).to_f32();
            }
        }
        _ => {
            for (value, raw) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = bf16::from_le_bytes(*raw).to_f32();
            }
        }
    }
}

/// The nearest multiples of a 32,512th of the largest value: off by at most half of such a step.
#[expect(clippy::cast_possible_truncation, reason = "rounded to at most 32,512")]
pub(super) fn block(values: &[f32; 32]) -> Block {
    let largest = values.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    let scale = if largest < SMALLEST {
        0.0
    } else {
        largest / LARGEST_STEP
    };
    let step = |value: &f32| {
        if scale == 0.0 {
            0
        } else {
            (value / scale).round_ties_even() as i16
        }
    };
    let mut steps = [0; 32];
    for (to, value) in steps.iter_mut().zip(values) {
        *to = step(value);
    }
    Block {
        steps,
        halves: [1, 1],
        scale,
        minimum: None,
        factors: Factors::default(),
    }
}
