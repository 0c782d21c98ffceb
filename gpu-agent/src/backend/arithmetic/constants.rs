//! Numbers that every operation of the arithmetic agrees on.

/// Columns that share a scale.
pub const GROUP: usize = 32;
/// Columns of a row that are summed one group after the other; a longer row is a sum of such segments.
pub const SEGMENT: usize = 256;
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
