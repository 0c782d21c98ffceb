//! The one arithmetic, as plain code: each operation's types, rounding and order of sums.
//!
//! This is the definition that docs/arithmetic.md explains. Every machine computes these bits, with whatever
//! instructions it has: all operations are those of IEEE-754 binary32, rounded to nearest even one by one. A multiply-add is two
//! operations. Rust neither fuses nor reorders them.

mod attend;
mod product;
mod quantise;
mod rows;

pub use attend::{Attention, attend};
pub use product::{Quantised, product};
pub use quantise::quantise;
pub use rows::{dot, exp, gelu, rms_norm, rotate_pair, silu, soft_cap, tanh};

/// Version of this arithmetic: receipts name it, and it changes whenever any result does.
pub const ARITHMETIC: u32 = if FREE_ORDER { 0 } else { 1 };

/// Whether the vectors fuse multiply-adds and leave out segments: what the defined order costs is measured against it. Only
/// `./x bench arithmetic` builds such a program, and it has no version.
pub(crate) const FREE_ORDER: bool = cfg!(feature = "free-order");

/// Columns that share a scale.
pub const GROUP: usize = 32;
/// Columns of a row that are summed one group after the other; a longer row is a sum of such segments.
pub const SEGMENT: usize = 256;
/// Partial sums of a sum over a row of floats.
pub const STRIDES: usize = 128;
/// Positions whose weights are relative to one largest score.
pub const CHUNK: usize = 64;
/// Interleaved sums of a score.
pub const CHAINS: usize = 4;
/// Steps of a residual in one step of a quant: a residual of half a step becomes 127.
pub const RESIDUAL_STEPS: f32 = 254.0;
/// One step of a residual.
pub const RESIDUAL: f32 = 1.0 / RESIDUAL_STEPS;
/// Groups of activations whose largest value is below 2⁻¹⁰⁰ count as zeros, so that its reciprocal steps stay finite.
pub const SMALLEST: f32 = f32::from_bits((127 - 100) << 23);

/// `2 · √(2/π)`
pub const GELU_FACTOR: f32 = 1.595_769_2;
/// Share of the cube in the argument of the tanh of GELU.
pub const GELU_CUBE: f32 = 0.044_715;

/// The sum of `terms`: term `i` is added to partial sum `i mod 128` in order, and the partial sums become one in a tree.
pub fn strided_sum(terms: impl Iterator<Item = f32>) -> f32 {
    let mut partials = [0.0; STRIDES];
    for (index, term) in terms.enumerate() {
        partials[index % STRIDES] += term;
    }
    tree_sum(&mut partials)
}

/// The sum of a power of two of values, by halves: `p[j] += p[j + n/2]`, then `+ n/4`, and so on.
pub fn tree_sum(partials: &mut [f32]) -> f32 {
    let mut half = partials.len() / 2;
    while half > 0 {
        for index in 0..half {
            partials[index] += partials[index + half];
        }
        half /= 2;
    }
    partials[0]
}

#[cfg(test)]
mod tests;
