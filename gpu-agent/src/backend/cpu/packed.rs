//! Weights repacked for integer dot products: 16 rows side by side, a segment of 256 columns after the other.
//!
//! The dot-product instructions multiply four neighbouring bytes and add them to one 32-bit lane. So a *line* of 64
//! bytes holds four consecutive columns (a *quad*) of 16 rows, and a block of 32 columns is 8 lines with one quant a
//! byte. Two quants of 4 bits share a byte (quads 0–3 in the low nibbles of 4 lines, 4–7 in the high ones). Fifth bits
//! are one more line, bit `j` of a byte for quad `j`; fifth and sixth bits are two more, bits `2j` and `2j + 1` for
//! quads `j` and `4 + j`. 16-bit quants are 8 lines of high bytes and 8 of low ones. One broadcast of four activations
//! then serves 16 rows.
//!
//! Quants are unsigned. Where zero is a power of two of them, integer dots start from minus that power times the sum of
//! the activations, which is exact; other types have a minimum. Scales stand at the head of each segment, so that a row
//! group is one stretch of memory.

mod arena;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod form;
#[cfg(target_arch = "x86_64")]
mod kernel;
mod place;
mod scalar;

pub(super) use arena::Arena;
use arena::Stretch;
pub(super) use form::ROWS;
use form::{BLOCKS, Form, LINE, Line};

use super::{
    Isa,
    activations::{Activations, TILE, TileGroup},
};
use crate::{
    backend::{arithmetic::GROUP, error::AllocationError, ops::Care},
    weights::{
        file::RawMatrix,
        quants::{Block, each_block},
    },
};

/// Sums of 16 rows for each token of a tile.
type TileSums = [[f32; ROWS]; TILE];

/// Working memory of one thread, kept from one row group to the next.
#[derive(Debug)]
pub(super) struct Room {
    /// Sums of a row group for every token, a tile after the other.
    sums: Vec<TileSums>,
    /// A segment whose quants were brought to bytes.
    bytes: Box<[Line; Form::LARGEST_BYTES]>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            sums: Vec::new(),
            bytes: Box::new([Line([0; LINE]); Form::LARGEST_BYTES]),
        }
    }
}

impl Room {
    /// Sums of the row group that was multiplied last, of each token.
    pub(super) fn sums(&self) -> &[[f32; ROWS]] {
        self.sums.as_flattened()
    }
}

/// A repacked matrix.
#[derive(Debug)]
pub(super) struct Packed {
    rows: usize,
    care: Care,
    /// Blocks of 32 columns.
    groups: usize,
    /// Number of the [`Form`].
    number: u8,
    /// `[row groups, segments, header and blocks]`
    lines: Stretch,
}

impl Packed {
    /// Repacks a matrix into memory of the arena.
    ///
    /// # Errors
    /// The process may not map as much.
    pub(super) fn new(raw: &RawMatrix, care: Care, arena: &mut Arena) -> Result<Self, AllocationError> {
        let number = Form::number(raw.kind);
        let groups = raw.columns.div_ceil(GROUP);
        let total = raw.rows.div_ceil(ROWS) * row_group_lines(Form::of(number), groups);
        let mut packed = Self {
            rows: raw.rows,
            care,
            groups,
            number,
            lines: arena.take(total)?,
        };
        for row in 0..raw.rows {
            each_block(raw.kind, raw.row(row), |group, block| {
                packed.place(row, group, block);
            });
        }
        // Rows that fill up the last group are zeros, whatever the form calls zero.
        for row in raw.rows..raw.rows.next_multiple_of(ROWS) {
            (0..groups).for_each(|group| packed.place(row, group, &Block::ZERO));
        }
        Ok(packed)
    }

    fn place(&mut self, row: usize, group: usize, block: &Block) {
        let segment = self.segment_range(row / ROWS, group / BLOCKS);
        let form = self.form();
        place::write(form, &mut self.lines[segment], group % BLOCKS, row % ROWS, block);
    }

    /// Decodes one row: each element's exact product rounded, plus the minimum if there is one.
    pub(super) fn decode_row(&self, row: usize, out: &mut [f32]) {
        for (group, values) in out.chunks_mut(GROUP).enumerate() {
            let lines = &self.lines[self.segment_range(row / ROWS, group / BLOCKS)];
            let block = place::read(Form::of(self.number), lines, group % BLOCKS, row % ROWS);
            values.copy_from_slice(&block.values()[..values.len()]);
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// How finely products want their activations quantised.
    pub(super) fn care(&self) -> Care {
        self.care
    }

    fn form(&self) -> Form {
        Form::of(self.number)
    }

    fn row_group_lines(&self) -> usize {
        row_group_lines(self.form(), self.groups)
    }

    fn segment_range(&self, row_group: usize, segment: usize) -> std::ops::Range<usize> {
        let start = row_group * self.row_group_lines() + segment * self.form().segment(BLOCKS);
        start..start + self.form().segment(self.blocks(segment))
    }

    /// Blocks of a segment.
    fn blocks(&self, segment: usize) -> usize {
        BLOCKS.min(self.groups - segment * BLOCKS)
    }

    /// Products of row group `row_group` with the first `tokens` rows of activations, a tile after the other.
    pub(super) fn multiply(
        &self,
        isa: Isa,
        row_group: usize,
        activations: &Activations,
        tokens: usize,
        room: &mut Room,
    ) {
        let form = self.form();
        #[cfg_attr(
            not(target_arch = "x86_64"),
            expect(unused_variables, reason = "portable code needs no quants brought to bytes")
        )]
        let Room { sums, bytes } = room;
        // The first segment replaces what is left over.
        sums.resize(tokens.div_ceil(TILE), [[0.0; ROWS]; TILE]);
        let mut rest = &self.lines[row_group * self.row_group_lines()..];
        for segment in 0..self.groups.div_ceil(BLOCKS) {
            let blocks = self.blocks(segment);
            let (lines, after) = rest.split_at(form.segment(blocks));
            rest = after;
            let weights = Segment {
                number: self.number,
                lines,
                blocks,
                fine: self.care == Care::Fine,
                first: segment == 0,
            };
            let inputs = |tile: usize| {
                let groups = activations.tile(tile);
                assert!(groups.len() == self.groups, "{} groups", groups.len());
                Inputs {
                    groups: &groups[segment * BLOCKS..][..weights.blocks],
                    tokens: TILE.min(tokens - tile * TILE),
                }
            };
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512Vnni => avx512::multiply(&weights, inputs, bytes, sums),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => avx2::multiply(&weights, inputs, bytes, sums),
                _ => scalar::multiply(&weights, inputs, sums),
            }
        }
    }
}

/// Lines of 16 rows with `groups` blocks each.
fn row_group_lines(form: Form, groups: usize) -> usize {
    let (whole, rest) = (groups / BLOCKS, groups % BLOCKS);
    let rest = if rest > 0 { form.segment(rest) } else { 0 };
    whole * form.segment(BLOCKS) + rest
}

/// 16 rows of up to 256 columns, as kernels see them.
struct Segment<'a> {
    number: u8,
    /// Header and blocks.
    lines: &'a [Line],
    /// 1 to 8
    blocks: usize,
    /// Whether residuals count.
    fine: bool,
    /// Whether sums become the segment's, instead of having it added.
    first: bool,
}

/// A tile of activations over the columns of a segment.
struct Inputs<'a> {
    /// As many as the segment has blocks.
    groups: &'a [TileGroup],
    /// 1 to [`TILE`]
    tokens: usize,
}

#[cfg(test)]
mod tests;
