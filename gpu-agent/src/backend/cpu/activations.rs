//! Activations quantised to 8 bits in groups of 32, or to twice 8 bits where more care is asked for.
//!
//! Rows are gathered in tiles of 8, the number that one pass over the weights serves; within a tile the same group of
//! all rows lies together, so that a kernel walks through one stretch of memory.

use super::{
    Isa,
    isa::for_every_isa,
    pool::{Parts, Pool},
};
use crate::backend::{
    arithmetic::{GROUP, Quantised, RESIDUAL, RESIDUAL_STEPS, SMALLEST, quantise as definition},
    ops::Care,
};

/// Rows of a tile: their sums and the 8 lines of a block of weights fill the 32 registers of AVX-512.
pub(super) const TILE: usize = 8;
/// Columns of half a group: `Q6_K` has a scale for each.
const HALF: usize = GROUP / 2;
/// The unsigned byte that stands for zero where weights are bytes; where they have fewer bits, their zero is smaller.
const ZERO: i32 = 128;
/// Bits of infinity: what is not below is no finite number.
const INFINITY: u32 = f32::INFINITY.to_bits();

/// One group of a tile, as kernels read it: `x ≈ scale · (quant + residual / 254)`.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct TileGroup {
    /// −127 to 127.
    pub(super) quants: [[i8; GROUP]; TILE],
    pub(super) scales: [f32; TILE],
    /// `scale · Σ quant`, and `scale · Σ (quant + residual / 254)`
    pub(super) totals: [[f32; TILE]; 2],
    /// What dots with weights start from whose zero is 128: minus 128 times the sum of the quants of the first half, of
    /// the second, and of both.
    pub(super) starts: [[i32; TILE]; 3],
    /// As `starts`, of the residuals.
    pub(super) residual_starts: [[i32; TILE]; 3],
    /// What rounding to quants lost; left over from earlier unless asked for.
    pub(super) residuals: [[i8; GROUP]; TILE],
}

const EMPTY: TileGroup = TileGroup {
    quants: [[0; GROUP]; TILE],
    scales: [0.0; TILE],
    totals: [[0.0; TILE]; 2],
    starts: [[0; TILE]; 3],
    residual_starts: [[0; TILE]; 3],
    residuals: [[0; GROUP]; TILE],
};

impl TileGroup {
    /// One row's group, with or without its residuals.
    pub(super) fn row(&self, row: usize, fine: bool) -> Quantised {
        Quantised {
            quants: self.quants[row],
            residuals: if fine { self.residuals[row] } else { [0; GROUP] },
            scale: self.scales[row],
            total: self.totals[usize::from(fine)][row],
        }
    }
}

/// Quantised rows.
#[derive(Debug, Default)]
pub(super) struct Activations {
    /// `[tiles, groups]`; rows beyond the last are left over from earlier and not read.
    tiles: Vec<TileGroup>,
    groups: usize,
}

impl Activations {
    /// Replaces the content by `x`, which is `[rows, width]`.
    pub(super) fn quantise(&mut self, pool: &Pool, isa: Isa, x: &[f32], width: usize, care: Care) {
        self.groups = width.div_ceil(GROUP);
        let tiles = (x.len() / width).div_ceil(TILE);
        self.tiles.resize(tiles * self.groups, EMPTY);
        let groups = self.groups;
        let parts = Parts::new(&mut self.tiles);
        pool.run(tiles, &|_, tile| {
            // SAFETY: every tile is one chunk.
            #[expect(unsafe_code, reason = "threads write disjoint tiles")]
            let part = unsafe { parts.part(tile * groups, groups) };
            let rows = x[tile * TILE * width..].chunks_exact(width).take(TILE);
            for (place, row) in rows.enumerate() {
                quantise_row(isa, row, part, place, care == Care::Fine);
            }
        });
    }

    /// The groups of one tile.
    pub(super) fn tile(&self, tile: usize) -> &[TileGroup] {
        &self.tiles[tile * self.groups..][..self.groups]
    }
}

fn quantise_row(isa: Isa, row: &[f32], groups: &mut [TileGroup], place: usize, fine: bool) {
    if isa == Isa::Scalar {
        for (values, group) in row.chunks(GROUP).zip(groups) {
            let quantised = definition(values, fine);
            group.starts = with_sums(group.starts, place, &quantised.quants);
            group.residual_starts = with_sums(group.residual_starts, place, &quantised.residuals);
            group.quants[place] = quantised.quants;
            group.residuals[place] = quantised.residuals;
            group.scales[place] = quantised.scale;
            group.totals[1][place] = quantised.total;
            group.totals[0][place] = definition(values, false).total;
        }
        return;
    }
    let (whole, rest) = row.as_chunks::<GROUP>();
    let (groups, last) = groups.split_at_mut(whole.len());
    quantise(isa, whole, groups, place, fine);
    if let [group] = last {
        let mut values = [0.0; GROUP];
        values[..rest.len()].copy_from_slice(rest);
        quantise(isa, &[values], std::slice::from_mut(group), place, fine);
    }
}

fn with_sums(mut sums: [[i32; TILE]; 3], place: usize, quants: &[i8; GROUP]) -> [[i32; TILE]; 3] {
    let sum = |quants: &[i8]| -> i32 { quants.iter().copied().map(i32::from).sum() };
    let (first, second) = (sum(&quants[..HALF]), sum(&quants[HALF..]));
    sums[0][place] = first * -ZERO;
    sums[1][place] = second * -ZERO;
    sums[2][place] = (first + second) * -ZERO;
    sums
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

/// Bits of the largest absolute value; as integers, in which a NaN is the largest, and which vectorise.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must be compiled with its caller's instruction set"
)]
fn largest(values: &[f32; GROUP]) -> u32 {
    // A loop, since the array's own `map` is a call that is not compiled with this instruction set.
    let mut lanes = [0u32; GROUP];
    for (lane, value) in lanes.iter_mut().zip(values) {
        *lane = value.to_bits() & !(1 << 31);
    }
    let mut half = GROUP / 2;
    while half > 0 {
        for index in 0..half {
            lanes[index] = lanes[index].max(lanes[index + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Sums of the first and of the second half, by halves, which vectorises.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must be compiled with its caller's instruction set"
)]
fn sums(values: &[i32; GROUP]) -> (i32, i32) {
    let mut lanes = *values;
    let mut half = HALF / 2;
    while half > 0 {
        for index in 0..half {
            lanes[index] += lanes[index + half];
            lanes[HALF + index] += lanes[HALF + index + half];
        }
        half /= 2;
    }
    (lanes[0], lanes[HALF])
}

for_every_isa! {
    #[expect(clippy::cast_possible_truncation, reason = "rounded values fit a byte")]
    #[expect(clippy::cast_precision_loss, reason = "sums of 32 bytes are below 2^24")]
    fn quantise(row: &[[f32; GROUP]], groups: &mut [TileGroup], place: usize, fine: bool) {
        for (values, group) in row.iter().zip(groups) {
            let bits = largest(values);
            let largest = f32::from_bits(bits);
            let (scale, inverse) = if bits >= INFINITY {
                (f32::NAN, 0.0)
            } else if largest < SMALLEST {
                (0.0, 0.0)
            } else {
                (largest / 127.0, 127.0 / largest)
            };
            let mut rounded = [0i32; GROUP];
            let mut rest = [0i32; GROUP];
            if bits < INFINITY {
                for (rounded, value) in rounded.iter_mut().zip(values) {
                    *rounded = round(value * inverse);
                }
                if fine {
                    for ((rest, rounded), value) in rest.iter_mut().zip(&rounded).zip(values) {
                        let lost = round((value * inverse - *rounded as f32) * RESIDUAL_STEPS);
                        *rest = lost.clamp(-127, 127);
                    }
                }
            }
            for (quant, rounded) in group.quants[place].iter_mut().zip(&rounded) {
                *quant = *rounded as i8;
            }
            let (first, second) = sums(&rounded);
            group.starts[0][place] = first * -ZERO;
            group.starts[1][place] = second * -ZERO;
            group.starts[2][place] = (first + second) * -ZERO;
            let total = (first + second) as f32;
            group.scales[place] = scale;
            group.totals[0][place] = scale * total;
            if fine {
                for (residual, rest) in group.residuals[place].iter_mut().zip(&rest) {
                    *residual = *rest as i8;
                }
                let (first, second) = sums(&rest);
                group.residual_starts[0][place] = first * -ZERO;
                group.residual_starts[1][place] = second * -ZERO;
                group.residual_starts[2][place] = (first + second) * -ZERO;
                group.totals[1][place] = scale * (total + (first + second) as f32 * RESIDUAL);
            }
        }
    }
}

#[cfg(test)]
mod tests;
