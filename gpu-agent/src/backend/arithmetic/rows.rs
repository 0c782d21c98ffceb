//! Operations on rows of floats, and the functions of one float.

use super::{GELU_CUBE, GELU_FACTOR, strided_sum};

/// `e^x`: 0 below −87, and no larger than `e^88`, so that the result is zero or a normal float; NaN stays NaN.
///
/// Cody–Waite reduction to `|r| ≤ ln 2 / 2` and the degree-6 polynomial of Cephes' `expf`; `e^0` is exactly 1.
#[expect(clippy::excessive_precision, reason = "Cephes' constants as published")]
#[expect(
    clippy::cast_possible_truncation,
    reason = "an integer from -126 to 127, or a NaN that stays one"
)]
pub fn exp(x: f32) -> f32 {
    if x < -87.0 {
        return 0.0;
    }
    let x = if x > 88.0 { 88.0 } else { x };
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = (x - n * 0.693_359_375) + n * 2.121_944_4e-4;
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
    value * f32::from_bits((n as i32 + 127).cast_unsigned() << 23)
}

/// `x · sigmoid(x)`
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`, by `(1 + tanh u) / 2 = sigmoid(2u)`.
pub fn gelu(x: f32) -> f32 {
    let inner = (x * GELU_FACTOR) * ((x * x) * GELU_CUBE + 1.0);
    x / (1.0 + exp(-inner))
}

/// Through `e^(−2|x|)`, with the sign of `x`.
pub fn tanh(x: f32) -> f32 {
    let t = exp(x.abs() * -2.0);
    ((1.0 - t) / (1.0 + t)).copysign(x)
}

/// `cap · tanh(x / cap)`
pub fn soft_cap(x: f32, cap: f32) -> f32 {
    tanh(x / cap) * cap
}

/// `out = x / √(mean(x²) + ε) · weight`
#[expect(clippy::cast_precision_loss, reason = "widths are far below 2^24")]
pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let total = strided_sum(x.iter().map(|value| value * value));
    let scale = 1.0 / (total / x.len() as f32 + epsilon).sqrt();
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = (x * scale) * weight;
    }
}

/// Sum of products; with 32-bit activations, the product of a decoded row.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    strided_sum(a.iter().zip(b).map(|(a, b)| a * b))
}

/// Rotates two elements by an angle.
pub fn rotate_pair(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    (a * cos - b * sin, a * sin + b * cos)
}
