//! Operations on single rows: normalisation, rotation, gating, exponentials.

use super::isa::for_every_isa;
use crate::backend::ops::{RopePairs, Rotation};

/// Floats of the widest register; sums are kept in this many lanes on every machine.
pub(super) const LANES: usize = 16;

for_every_isa! {
    /// `out = x / sqrt(mean(x²) + ε) · weight`
    #[expect(clippy::cast_precision_loss, reason = "widths are far below 2^24")]
    pub(super) fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
        let mut squares = [0.0f32; LANES];
        let (chunks, rest) = x.as_chunks::<LANES>();
        for chunk in chunks {
            for (sum, value) in squares.iter_mut().zip(chunk) {
                *sum += value * value;
            }
        }
        let total = squares.iter().sum::<f32>() + rest.iter().map(|value| value * value).sum::<f32>();
        let scale = 1.0 / (total / x.len() as f32 + epsilon).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * scale * weight;
        }
    }
}

for_every_isa! {
    /// `gate = gate · sigmoid(gate) · up`
    pub(super) fn swiglu(gate: &mut [f32], up: &[f32]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = *gate / (1.0 + exp(-*gate)) * up;
        }
    }
}

for_every_isa! {
    /// `gate = gelu(gate) · up`, by the approximation through tanh
    pub(super) fn geglu(gate: &mut [f32], up: &[f32]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            let inner = 0.797_884_6 * (*gate + 0.044_715 * *gate * *gate * *gate);
            *gate = 0.5 * *gate * (1.0 + tanh(inner)) * up;
        }
    }
}

for_every_isa! {
    /// `x = cap · tanh(x / cap)`
    pub(super) fn soft_cap(cap: f32, values: &mut [f32]) {
        for value in values {
            *value = capped(*value, cap);
        }
    }
}

/// `cap · tanh(x / cap)`
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must be compiled with its caller's instruction set"
)]
pub(super) fn capped(x: f32, cap: f32) -> f32 {
    cap * tanh(x / cap)
}

/// `tanh x` by way of [`exp`].
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must be compiled with its caller's instruction set"
)]
fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

for_every_isa! {
    /// Rotates every head of a row by the position's `(cos, sin)` pairs.
    pub(super) fn rotate(row: &mut [f32], rotation: Rotation, angles: &[f32]) {
        let angles = angles.as_chunks::<2>().0;
        for head in row.chunks_exact_mut(rotation.head_size) {
            match rotation.pairs {
                RopePairs::Adjacent => {
                    for ([a, b], [cos, sin]) in head.as_chunks_mut::<2>().0.iter_mut().zip(angles) {
                        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                    }
                }
                RopePairs::Halves => {
                    let (first, second) = head[..rotation.size].split_at_mut(rotation.size / 2);
                    for ((a, b), [cos, sin]) in first.iter_mut().zip(second).zip(angles) {
                        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                    }
                }
            }
        }
    }
}

for_every_isa! {
    /// Sum of products, in [`LANES`] partial sums.
    pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
        let mut sums = [0.0f32; LANES];
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        for (a, b) in a.iter().zip(b) {
            for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                *sum = a.mul_add(*b, *sum);
            }
        }
        sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
    }
}

/// `e^x` to about 1 unit in the last place, without a branch or a call, so that loops over it vectorise.
///
/// Cody–Waite reduction to `|r| ≤ ln 2 / 2` and the degree-6 polynomial of Cephes' `expf`. Inputs are clamped to where the
/// result is a normal float.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "Cephes' constants as published")]
pub(super) fn exp(x: f32) -> f32 {
    /// Adding this rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-0.693_359_375, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let mut p = 1.987_569_15e-4_f32;
    for coefficient in [
        1.398_199_95e-3,
        8.333_451_9e-3,
        4.166_579_6e-2,
        1.666_666_55e-1,
        5.000_000_12e-1,
    ] {
        p = p.mul_add(r, coefficient);
    }
    let value = p.mul_add(r * r, r) + 1.0;
    let power = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    value * f32::from_bits(power)
}

#[cfg(test)]
mod tests {
    use super::super::Isa;
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for step in -8000..8000i16 {
            let x = f32::from(step) * 0.01;
            let (got, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!(
                (got / expected - 1.0).abs() < 3e-7,
                "exp({x}) = {got}, not {expected}"
            );
        }
    }

    #[test]
    fn every_instruction_set_agrees_on_a_dot_product() {
        let a: Vec<f32> = (0..100u8).map(|i| f32::from(i) * 0.1).collect();
        let expected = a.iter().map(|value| f64::from(value * value)).sum::<f64>();
        for isa in [Isa::Scalar, Isa::Avx2, Isa::Avx512Vnni].map(|isa| isa.min(Isa::detect())) {
            assert!(
                (f64::from(dot(isa, &a, &a)) / expected - 1.0).abs() < 1e-5,
                "{isa:?}"
            );
        }
    }

    #[test]
    fn rotation_by_a_quarter_turn_swaps_a_pair() {
        for (pairs, expected) in [
            (RopePairs::Adjacent, [-2.0, 1.0, 3.0, 4.0]),
            (RopePairs::Halves, [-3.0, 2.0, 1.0, 4.0]),
        ] {
            let mut row = [1.0, 2.0, 3.0, 4.0];
            let rotation = Rotation {
                size: 4,
                head_size: 4,
                pairs,
            };
            rotate(Isa::Scalar, &mut row, rotation, &[0.0, 1.0, 1.0, 0.0]);
            assert!(
                row.iter()
                    .zip(expected)
                    .all(|(got, expected)| (got - expected).abs() < 1e-6)
            );
        }
    }
}
