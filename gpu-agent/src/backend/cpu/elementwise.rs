//! Operations on single rows: normalisation, rotation, gating, exponentials.

use super::isa::for_every_isa;
use crate::backend::{
    arithmetic::{GELU_CUBE, GELU_FACTOR, STRIDES},
    ops::{RopePairs, Rotation},
};

for_every_isa! {
    /// `out = x / sqrt(mean(x²) + ε) · weight`
    #[expect(clippy::cast_precision_loss, reason = "widths are far below 2^24")]
    pub(super) fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
        let total = strided_dot(x, x);
        let scale = 1.0 / (total / x.len() as f32 + epsilon).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = (x * scale) * weight;
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
            let inner = (*gate * GELU_FACTOR) * ((*gate * *gate) * GELU_CUBE + 1.0);
            *gate = *gate / (1.0 + exp(-inner)) * up;
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

/// [`soft_cap`](crate::backend::arithmetic::soft_cap), likewise.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must be compiled with its caller's instruction set"
)]
pub(super) fn capped(x: f32, cap: f32) -> f32 {
    let x = x / cap;
    let t = exp(x.abs() * -2.0);
    ((1.0 - t) / (1.0 + t)).copysign(x) * cap
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
    /// Sum of products, in the order of [`strided_sum`](crate::backend::arithmetic::strided_sum).
    pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
        strided_dot(a, b)
    }
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must be compiled with its caller's instruction set"
)]
fn strided_dot(a: &[f32], b: &[f32]) -> f32 {
    let mut partials = [0.0f32; STRIDES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<STRIDES>(), b.as_chunks::<STRIDES>());
    for (a, b) in a.iter().zip(b) {
        for ((partial, a), b) in partials.iter_mut().zip(a).zip(b) {
            *partial += a * b;
        }
    }
    for ((partial, a), b) in partials.iter_mut().zip(a_rest).zip(b_rest) {
        *partial += a * b;
    }
    let mut half = STRIDES / 2;
    while half > 0 {
        for index in 0..half {
            partials[index] += partials[index + half];
        }
        half /= 2;
    }
    partials[0]
}

/// [`exp`](crate::backend::arithmetic::exp) without a branch or a call, so that loops over it vectorise.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "Cephes' constants as published")]
pub(super) fn exp(x: f32) -> f32 {
    /// Adding this rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let low = if x < -87.0 { -87.0 } else { x };
    let clamped = if low > 88.0 { 88.0 } else { low };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * 0.693_359_375) + n * 2.121_944_4e-4;
    let mut p = 1.987_569_15e-4_f32;
    for coefficient in [
        1.398_199_95e-3,
        8.333_451_9e-3,
        4.166_579_6e-2,
        1.666_666_55e-1,
        5.000_000_12e-1,
    ] {
        p = p * r + coefficient;
    }
    let value = (p * (r * r) + r) + 1.0;
    let power = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    let result = value * f32::from_bits(power);
    if x < -87.0 { 0.0 } else { result }
}

#[cfg(test)]
mod tests;
