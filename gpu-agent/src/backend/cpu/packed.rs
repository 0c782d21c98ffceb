//! Weights repacked for integer dot products: 16 rows side by side.
//!
//! The dot-product instructions multiply four neighbouring bytes and add them to one 32-bit lane. So a *line* of 64 bytes
//! holds four consecutive columns of 16 rows, and a *block* of 32 columns is 8 lines, or 4 where two quants share a
//! byte (columns 0–15 in the low nibbles, 16–31 in the high ones). One broadcast of four activations then serves 16 rows.
//!
//! Quants are unsigned; the value is `scale · quant + minimum`, where formats without a minimum of their own have one of
//! `−zero · scale`. With activations `s · a` a block contributes `scale · s · Σ quant·a + minimum · s · Σ a`, whose sums are
//! exact integers. Products that take more care add a 254th of the same over the activations' residuals.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use half::f16;

use super::{
    Isa,
    activations::{Activations, GROUP, RESIDUAL, TILE, TileGroup},
};
use crate::{
    backend::ops::Care,
    weights::{
        file::RawMatrix,
        quants::{affine_group, affine_layout},
    },
};

/// Rows side by side.
pub(super) const ROWS: usize = 16;
/// Columns of a line.
const QUAD: usize = 4;

/// Sums of 16 rows for each token of a tile.
pub(super) type TileSums = [[f32; ROWS]; TILE];

/// 64 bytes on a cache line of their own.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; ROWS * QUAD]);

/// How quants lie in lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    /// Two quants a byte, 4 lines a block.
    Four,
    /// One quant a byte, 8 lines a block.
    Eight,
}

/// A repacked matrix.
#[derive(Debug)]
pub(super) struct Packed {
    rows: usize,
    care: Care,
    /// Blocks of 32 columns.
    groups: usize,
    width: Width,
    /// Quant that stands for zero.
    zero: u8,
    /// `[row groups, groups, 4 or 8]`
    lines: Vec<Line>,
    /// `[row groups, groups]`, the bits of half-precision floats
    scales: Vec<[u16; ROWS]>,
    /// As `scales`; empty where the format has no minimum.
    minima: Vec<[u16; ROWS]>,
}

impl Packed {
    /// Repacks a matrix, or hands it back where its encoding has no blocks of 32 with one scale.
    pub(super) fn new(raw: RawMatrix, care: Care) -> Result<Self, RawMatrix> {
        let Some((bits, zero, has_minimum)) = affine_layout(raw.kind) else {
            return Err(raw);
        };
        let width = if bits == 4 { Width::Four } else { Width::Eight };
        let groups = raw.columns / GROUP;
        let blocks = raw.rows.div_ceil(ROWS) * groups;
        let mut packed = Self {
            rows: raw.rows,
            care,
            groups,
            width,
            zero,
            lines: vec![Line([0; ROWS * QUAD]); blocks * width.lines()],
            scales: vec![[0; ROWS]; blocks],
            minima: if has_minimum {
                vec![[0; ROWS]; blocks]
            } else {
                Vec::new()
            },
        };
        let block_bytes = raw.kind.row_bytes(GROUP);
        for row in 0..raw.rows {
            for (group, bytes) in raw.row(row).chunks_exact(block_bytes).enumerate() {
                if let Some(decoded) = affine_group(raw.kind, bytes) {
                    let block = row / ROWS * groups + group;
                    packed.place(block, row % ROWS, &decoded.quants);
                    packed.scales[block][row % ROWS] = decoded.scale.to_bits();
                    if has_minimum {
                        packed.minima[block][row % ROWS] = decoded.minimum.to_bits();
                    }
                }
            }
        }
        Ok(packed)
    }

    fn place(&mut self, block: usize, place: usize, quants: &[u8; GROUP]) {
        let count = self.width.lines();
        let lines = &mut self.lines[block * count..][..count];
        for (column, quant) in quants.iter().enumerate() {
            let (line, shift) = self.width.locate(column);
            lines[line].0[place * QUAD + column % QUAD] |= quant << shift;
        }
    }

    /// Decodes one row.
    pub(super) fn decode_row(&self, row: usize, out: &mut [f32]) {
        let place = row % ROWS;
        let count = self.width.lines();
        for (group, values) in out.chunks_exact_mut(GROUP).enumerate() {
            let block = row / ROWS * self.groups + group;
            let scale = f16::from_bits(self.scales[block][place]).to_f32();
            let minimum = self
                .minima
                .get(block)
                .map_or(0.0, |minima| f16::from_bits(minima[place]).to_f32());
            for (column, value) in values.iter_mut().enumerate() {
                let (line, shift) = self.width.locate(column);
                let byte = self.lines[block * count + line].0[place * QUAD + column % QUAD];
                let quant = if self.width == Width::Four {
                    byte >> shift & 15
                } else {
                    byte
                };
                *value = scale * (f32::from(quant) - f32::from(self.zero)) + minimum;
            }
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// How finely products want their activations quantised.
    pub(super) fn care(&self) -> Care {
        self.care
    }

    /// Products of row group `group` with the first `tokens` rows of a tile of activations.
    pub(super) fn multiply(
        &self,
        isa: Isa,
        group: usize,
        activations: &Activations,
        tile: usize,
        tokens: usize,
    ) -> TileSums {
        let count = self.width.lines();
        let blocks = group * self.groups..(group + 1) * self.groups;
        let weights = RowGroup {
            lines: &self.lines[blocks.start * count..blocks.end * count],
            scales: &self.scales[blocks.clone()],
            minima: if self.minima.is_empty() {
                &[]
            } else {
                &self.minima[blocks]
            },
            zero: -f32::from(self.zero),
            width: self.width,
        };
        let inputs = Inputs {
            groups: activations.tile(tile),
            fine: self.care == Care::Fine,
            tokens,
        };
        assert!(
            inputs.groups.len() == self.groups && (1..=TILE).contains(&tokens),
            "{tokens} rows in a tile"
        );
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => avx512::multiply(&weights, &inputs),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::multiply(&weights, &inputs),
            _ => scalar::multiply(&weights, &inputs),
        }
    }
}

impl Width {
    const fn lines(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// Line of a block and bit shift where a column's quants are.
    const fn locate(self, column: usize) -> (usize, u32) {
        let quad = column / QUAD;
        match self {
            Self::Four if quad >= 4 => (quad - 4, 4),
            _ => (quad, 0),
        }
    }
}

/// 16 rows of a matrix, as the kernels see them.
struct RowGroup<'a> {
    /// `[groups, 4 or 8]`
    lines: &'a [Line],
    /// `[groups]`
    scales: &'a [[u16; ROWS]],
    /// `[groups]`, or empty: then the minimum is `zero · scale`
    minima: &'a [[u16; ROWS]],
    /// The negated quant of zero.
    zero: f32,
    width: Width,
}

/// A tile of activations, as the kernels see it.
struct Inputs<'a> {
    groups: &'a [TileGroup],
    /// Whether residuals count.
    fine: bool,
    /// 1 to [`TILE`]
    tokens: usize,
}

#[cfg(test)]
mod tests;
