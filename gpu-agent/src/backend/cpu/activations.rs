//! Activations quantised to 8 bits in groups of 32, or to twice 8 bits where more care is asked for.
//!
//! Rows are gathered in tiles of 8, the number that one pass over the weights serves; within a tile the same group of all
//! rows lies together, so that a kernel walks through one stretch of memory.

use super::{Isa, isa::for_every_isa};
use crate::backend::ops::Care;

/// Elements that share a scale.
pub(super) const GROUP: usize = 32;
/// Rows of a tile: their sums and the 8 lines of a block of weights fill the 32 registers of AVX-512.
pub(super) const TILE: usize = 8;
/// Steps of a residual in one step of a quant: a residual of half a step becomes 127.
const RESIDUAL_STEPS: f32 = 254.0;
/// One step of a residual.
pub(super) const RESIDUAL: f32 = 1.0 / RESIDUAL_STEPS;

/// One group of a tile, as kernels read it: `x ≈ scale · (quant + residual / 254)`.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct TileGroup {
    /// −127 to 127.
    pub(super) quants: [[i8; GROUP]; TILE],
    /// What rounding to quants lost; zero unless asked for.
    pub(super) residuals: [[i8; GROUP]; TILE],
    pub(super) scales: [f32; TILE],
    /// `scale · Σ (quant + residual / 254)`
    pub(super) totals: [f32; TILE],
}

const EMPTY: TileGroup = TileGroup {
    quants: [[0; GROUP]; TILE],
    residuals: [[0; GROUP]; TILE],
    scales: [0.0; TILE],
    totals: [0.0; TILE],
};

/// Quantised rows.
#[derive(Debug, Default)]
pub(super) struct Activations {
    /// `[tiles, groups]`; rows beyond the last are left over from earlier and not read.
    tiles: Vec<TileGroup>,
    groups: usize,
}

impl Activations {
    /// Replaces the content by `x`, which is `[rows, width]` with `width` a multiple of 32.
    pub(super) fn quantise(&mut self, isa: Isa, x: &[f32], width: usize, care: Care) {
        self.groups = width / GROUP;
        let tiles = (x.len() / width).div_ceil(TILE);
        self.tiles.resize(tiles * self.groups, EMPTY);
        for (row, values) in x.chunks_exact(width).enumerate() {
            let tile = &mut self.tiles[row / TILE * self.groups..][..self.groups];
            quantise(isa, values, tile, row % TILE, care == Care::Fine);
        }
    }

    /// The groups of one tile.
    pub(super) fn tile(&self, tile: usize) -> &[TileGroup] {
        &self.tiles[tile * self.groups..][..self.groups]
    }
}

/// Adding this to a small float rounds it to an integer, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;

/// `x` rounded to the nearest integer, for `|x| < 2^22`; without a branch or a call, so that loops over it vectorise.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must be compiled with its caller's instruction set"
)]
fn round(x: f32) -> i32 {
    (x + ROUND).to_bits().wrapping_sub(ROUND.to_bits()).cast_signed()
}

/// Largest absolute value, by halves so that it vectorises.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must be compiled with its caller's instruction set"
)]
fn largest(values: &[f32; GROUP]) -> f32 {
    let mut lanes = values.map(f32::abs);
    let mut half = GROUP / 2;
    while half > 0 {
        for index in 0..half {
            lanes[index] = if lanes[index] > lanes[index + half] {
                lanes[index]
            } else {
                lanes[index + half]
            };
        }
        half /= 2;
    }
    lanes[0]
}

for_every_isa! {
    #[expect(clippy::cast_possible_truncation, reason = "rounded values fit a byte")]
    #[expect(clippy::cast_precision_loss, reason = "sums of 32 bytes are below 2^24")]
    fn quantise(row: &[f32], groups: &mut [TileGroup], place: usize, fine: bool) {
        for (values, group) in row.as_chunks::<GROUP>().0.iter().zip(groups) {
            let largest = largest(values);
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            let mut sum = 0;
            let mut rounded = [0i32; GROUP];
            for (rounded, value) in rounded.iter_mut().zip(values) {
                *rounded = round(value * inverse);
                sum += *rounded;
            }
            let mut rest = 0;
            if fine {
                for ((residual, rounded), value) in group.residuals[place].iter_mut().zip(rounded).zip(values) {
                    let lost = round((value * inverse - rounded as f32) * RESIDUAL_STEPS).clamp(-127, 127);
                    *residual = lost as i8;
                    rest += lost;
                }
            }
            for (quant, rounded) in group.quants[place].iter_mut().zip(rounded) {
                *quant = rounded as i8;
            }
            group.scales[place] = largest / 127.0;
            group.totals[place] = largest / 127.0 * (sum as f32 + rest as f32 * RESIDUAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_becomes_127_and_all_are_within_half_a_step() {
        let x: Vec<f32> = (0..64u8).map(|i| (f32::from(i) - 20.0) * 0.3).collect();
        let mut activations = Activations::default();
        activations.quantise(Isa::detect(), &x, 64, Care::Fine);
        for (values, group) in x.chunks(GROUP).zip(activations.tile(0)) {
            let (quants, scale) = (&group.quants[0], group.scales[0]);
            assert_eq!(quants.iter().map(|quant| quant.unsigned_abs()).max(), Some(127));
            for ((value, quant), residual) in values.iter().zip(quants).zip(group.residuals[0]) {
                assert!((value - f32::from(*quant) * scale).abs() <= scale * 0.501);
                let finer = f32::from(*quant) + f32::from(residual) * RESIDUAL;
                assert!((value - finer * scale).abs() <= scale * 0.003);
            }
            assert!((values.iter().sum::<f32>() - group.totals[0]).abs() < scale * 0.1);
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let mut activations = Activations::default();
        activations.quantise(Isa::Scalar, &[0.0; 32], 32, Care::Fine);
        let group = &activations.tile(0)[0];
        assert!(group.scales[0] == 0.0 && group.totals[0] == 0.0 && group.quants[0] == [0; GROUP]);
    }
}
