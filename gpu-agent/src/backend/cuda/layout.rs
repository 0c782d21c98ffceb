//! How a matrix lies in device memory: the host's twin of `kernels/weights.cuh`, which says why.
//!
//! Rows are cut into groups of 32, one lane a row. A group's planes are packed side by side into one buffer, so that a
//! file can be streamed a group at a time; on the device each plane of the whole matrix is in one piece.

use std::ops::Range;
use std::slice::Chunks;

use crate::weights::{
    file::RawMatrix,
    quants::{Block, TensorType, each_block},
};

/// Rows of a group: lanes of a warp.
pub const LANES: usize = 32;
/// Columns of a block.
pub const COLUMNS: usize = 32;
/// Blocks of a segment of 256 columns.
pub const SEGMENT_BLOCKS: usize = 8;

/// Weight types as the kernels know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(non_camel_case_types, reason = "the types' own names")]
pub enum Format {
    /// 4 bits, a scale.
    Q4_0,
    /// 4 bits, scale and minimum.
    Q4_1,
    /// 5 bits, a scale.
    Q5_0,
    /// 5 bits, scale and minimum.
    Q5_1,
    /// 8 bits, a scale.
    Q8_0,
    /// 4 bits, two levels of scales and minima.
    Q4_K,
    /// 5 bits, two levels of scales and minima.
    Q5_K,
    /// 6 bits, two levels of scales.
    Q6_K,
    /// 16-bit fixed point, which types of floats become.
    Fixed,
}

/// Where the integers' bits lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Integers {
    /// A nibble, and this many more bits in a plane of their own.
    Nibbles { high_bits: usize },
    /// One signed byte.
    Bytes,
    /// Two signed bytes.
    Fixed16,
}

/// What stands beside the integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scales {
    Half,
    HalfPair,
    Float,
    SuperPair,
    SuperHalves,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::Fixed,
    ];

    /// The format that a type of the file is brought into.
    pub const fn of(kind: TensorType) -> Self {
        match kind {
            TensorType::Q4_0 => Self::Q4_0,
            TensorType::Q4_1 => Self::Q4_1,
            TensorType::Q5_0 => Self::Q5_0,
            TensorType::Q5_1 => Self::Q5_1,
            TensorType::Q8_0 => Self::Q8_0,
            TensorType::Q4_K => Self::Q4_K,
            TensorType::Q5_K => Self::Q5_K,
            TensorType::Q6_K => Self::Q6_K,
            TensorType::F32 | TensorType::F16 | TensorType::BF16 => Self::Fixed,
        }
    }

    /// As files of compiled modules have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::Q8_0 => "q8_0",
            Self::Q4_K => "q4_k",
            Self::Q5_K => "q5_k",
            Self::Q6_K => "q6_k",
            Self::Fixed => "fixed",
        }
    }

    const fn parts(self) -> (Integers, Scales) {
        match self {
            Self::Q4_0 => (Integers::Nibbles { high_bits: 0 }, Scales::Half),
            Self::Q4_1 => (Integers::Nibbles { high_bits: 0 }, Scales::HalfPair),
            Self::Q5_0 => (Integers::Nibbles { high_bits: 1 }, Scales::Half),
            Self::Q5_1 => (Integers::Nibbles { high_bits: 1 }, Scales::HalfPair),
            Self::Q8_0 => (Integers::Bytes, Scales::Half),
            Self::Q4_K => (Integers::Nibbles { high_bits: 0 }, Scales::SuperPair),
            Self::Q5_K => (Integers::Nibbles { high_bits: 1 }, Scales::SuperPair),
            Self::Q6_K => (Integers::Nibbles { high_bits: 2 }, Scales::SuperHalves),
            Self::Fixed => (Integers::Fixed16, Scales::Float),
        }
    }
}

/// One plane of a matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plane {
    /// Where a group's part lies in a packed group.
    pub packed: Range<usize>,
    /// Where the first group's part lies on the device; the next groups' parts follow it.
    pub offset: usize,
}

/// Extents of a matrix on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Type of the weights.
    pub format: Format,
    /// Outputs.
    pub rows: usize,
    /// Blocks of 32 inputs; the last one is filled up with zeros.
    pub blocks: usize,
}

impl Layout {
    /// Of a matrix of the file.
    pub fn of(kind: TensorType, rows: usize, columns: usize) -> Self {
        Self {
            format: Format::of(kind),
            rows,
            blocks: columns.div_ceil(COLUMNS),
        }
    }

    /// Groups of 32 rows; the last one is filled up with zeros.
    pub fn groups(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    /// Segments of 256 columns.
    pub fn segments(&self) -> usize {
        self.blocks.div_ceil(SEGMENT_BLOCKS)
    }

    /// Bytes of one group in each plane: nibbles or bytes, high bits, scales, packed scales.
    fn plane_bytes(&self) -> [usize; 4] {
        let (integers, scales) = self.format.parts();
        let (low, high) = match integers {
            Integers::Nibbles { high_bits } => (16, 4 * high_bits),
            Integers::Bytes => (32, 0),
            Integers::Fixed16 => (64, 0),
        };
        let (scales, packed) = match scales {
            Scales::Half => (2 * self.blocks, 0),
            Scales::HalfPair | Scales::Float => (4 * self.blocks, 0),
            Scales::SuperPair => (4 * self.segments(), 16 * self.segments()),
            Scales::SuperHalves => (2 * self.segments(), 16 * self.segments()),
        };
        [low * self.blocks, high * self.blocks, scales, packed].map(|bytes| bytes * LANES)
    }

    /// The planes, in the order in which they lie.
    pub fn planes(&self) -> [Plane; 4] {
        let (mut packed, mut offset) = (0, 0);
        self.plane_bytes().map(|bytes| {
            let plane = Plane {
                packed: packed..packed + bytes,
                offset,
            };
            packed += bytes;
            offset += bytes * self.groups();
            plane
        })
    }

    /// Bytes of one group in all planes.
    pub fn group_bytes(&self) -> usize {
        self.plane_bytes().iter().sum()
    }

    /// Bytes of the whole matrix.
    pub fn bytes(&self) -> usize {
        self.group_bytes() * self.groups()
    }

    /// Packs up to 32 rows, each as the file encodes it, into `out`; lanes without a row are zeros.
    fn pack_group<'a>(&self, kind: TensorType, rows: impl Iterator<Item = &'a [u8]>, out: &mut [u8]) {
        out.fill(0);
        let planes = self.planes();
        for (lane, row) in rows.enumerate() {
            each_block(kind, row, |index, block| {
                let place = Place { index, lane };
                self.pack_integers(block, place, &planes, out);
                self.pack_scales(block, place, &planes, out);
            });
        }
    }

    /// Packs consecutive groups on up to `threads` threads: `rows` as the file encodes them, `row_bytes` each. `out`
    /// has [`Layout::group_bytes`] for each group: the planes one after the other, each with the parts of all groups.
    ///
    /// # Panics
    /// `out` has another size, or a row is not of this layout.
    pub fn pack_groups(
        &self,
        kind: TensorType,
        rows: &[u8],
        row_bytes: usize,
        threads: usize,
        out: &mut [u8],
    ) {
        assert_eq!(Format::of(kind), self.format);
        let groups = rows.len().div_ceil(LANES * row_bytes);
        assert_eq!(out.len(), groups * self.group_bytes(), "{self:?}");
        let share = groups.div_ceil(threads.max(1)).max(1);
        let mut rest = out;
        // Of each plane, what each thread fills.
        let mut planes = self.plane_bytes().map(|bytes| {
            let (plane, behind) = std::mem::take(&mut rest).split_at_mut(bytes * groups);
            rest = behind;
            plane.chunks_mut((bytes * share).max(1))
        });
        std::thread::scope(|scope| {
            let mut shares = rows.chunks(LANES * row_bytes * share).peekable();
            while let Some(rows) = shares.next() {
                let parts = planes.each_mut().map(|plane| plane.next().unwrap_or_default());
                let pack = move || self.pack_share(kind, rows.chunks(row_bytes), parts);
                // The last share is the caller's.
                if shares.peek().is_some() {
                    scope.spawn(pack);
                } else {
                    pack();
                }
            }
        });
    }

    /// Packs rows into their parts of the planes.
    fn pack_share(&self, kind: TensorType, mut rows: Chunks<'_, u8>, mut parts: [&mut [u8]; 4]) {
        let mut group = vec![0; self.group_bytes()];
        for index in 0..rows.len().div_ceil(LANES) {
            self.pack_group(kind, rows.by_ref().take(LANES), &mut group);
            let mut from = 0;
            for (part, bytes) in parts.iter_mut().zip(self.plane_bytes()) {
                part[index * bytes..][..bytes].copy_from_slice(&group[from..from + bytes]);
                from += bytes;
            }
        }
    }

    /// The whole matrix as it lies on the device.
    pub fn pack(raw: &RawMatrix) -> (Self, Vec<u8>) {
        let layout = Self::of(raw.kind, raw.rows, raw.columns);
        let mut out = vec![0; layout.bytes()];
        layout.pack_groups(raw.kind, &raw.bytes, raw.kind.row_bytes(raw.columns), 1, &mut out);
        (layout, out)
    }

    fn pack_integers(&self, block: &Block, place: Place, planes: &[Plane; 4], out: &mut [u8]) {
        match self.format.parts().0 {
            Integers::Nibbles { high_bits } => {
                let low = &mut out[planes[0].packed.clone()][place.at(16)..][..16];
                for (column, byte) in low.iter_mut().enumerate() {
                    *byte = bits(block.steps[column], 0) & 15 | bits(block.steps[column + 16], 0) << 4;
                }
                let high = &mut out[planes[1].packed.clone()][place.at(4 * high_bits)..];
                for (column, step) in block.steps.iter().enumerate().take(32 * high_bits.min(1)) {
                    let (word, byte) = (column / 4, column % 4);
                    let bit = word * high_bits;
                    high[bit / 8 * 4 + byte] |= (bits(*step, 4) & ((1 << high_bits) - 1)) << (bit % 8);
                }
            }
            Integers::Bytes => {
                for (column, step) in block.steps.iter().enumerate() {
                    out[place.run(32, column / 16) + column % 16] = bits(*step, 0);
                }
            }
            Integers::Fixed16 => {
                for (column, step) in block.steps.iter().enumerate() {
                    let lower = bits(*step, 0);
                    let upper = bits(*step - i16::from(lower.cast_signed()), 8);
                    out[place.run(64, column / 16) + column % 16] = upper;
                    out[place.run(64, 2 + column / 16) + column % 16] = lower;
                }
            }
        }
    }

    fn pack_scales(&self, block: &Block, place: Place, planes: &[Plane; 4], out: &mut [u8]) {
        let factors = &block.factors;
        let (scale, minimum) = (factors.scale.to_le_bytes(), factors.minimum.to_le_bytes());
        let pair = [scale[0], scale[1], minimum[0], minimum[1]];
        let mut put = |which: usize, place: Place, first: usize, bytes: &[u8], of: usize| {
            let piece = &mut out[planes[which].packed.clone()][place.at(of)..];
            piece[first..][..bytes.len()].copy_from_slice(bytes);
        };
        let (segment, within) = (place.segment(), place.index % SEGMENT_BLOCKS);
        match self.format.parts().1 {
            Scales::Half => put(2, place, 0, &scale, 2),
            Scales::HalfPair => put(2, place, 0, &pair, 4),
            Scales::Float => put(2, place, 0, &block.scale.to_le_bytes(), 4),
            Scales::SuperPair => {
                put(2, segment, 0, &pair, 4);
                put(3, segment, within, &[factors.scale_steps], 16);
                put(3, segment, 8 + within, &[factors.minimum_steps], 16);
            }
            Scales::SuperHalves => {
                put(2, segment, 0, &scale, 2);
                put(3, segment, 2 * within, &block.halves.map(i8::cast_unsigned), 16);
            }
        }
    }
}

/// One lane's piece of one block, or of one segment.
#[derive(Debug, Clone, Copy)]
struct Place {
    index: usize,
    lane: usize,
}

impl Place {
    /// Where pieces of `bytes` a lane begin.
    fn at(self, bytes: usize) -> usize {
        (self.index * LANES + self.lane) * bytes
    }

    /// Where run `run` of 16 bytes a lane begins, of pieces of `bytes` a lane in all.
    fn run(self, bytes: usize, run: usize) -> usize {
        self.index * LANES * bytes + (run * LANES + self.lane) * 16
    }

    fn segment(self) -> Self {
        Self {
            index: self.index / SEGMENT_BLOCKS,
            ..self
        }
    }
}

/// Eight bits of a two's complement number, from bit `from` on.
fn bits(step: i16, from: u32) -> u8 {
    (step >> from).to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cuda::selftest::random::Random;

    #[test]
    fn a_matrix_lies_the_same_however_many_threads_pack_it() {
        // Five groups, the last one not full.
        let matrix = Random::new(3).matrix(TensorType::Q5_K, 4 * LANES + 5, 512);
        let (layout, alone) = Layout::pack(&matrix);
        let row_bytes = matrix.kind.row_bytes(matrix.columns);
        for threads in [0, 2, 3, 5, 64] {
            let mut out = vec![0xff; layout.bytes()];
            layout.pack_groups(matrix.kind, &matrix.bytes, row_bytes, threads, &mut out);
            assert!(out == alone, "{threads} threads");
        }
        layout.pack_groups(matrix.kind, &[], row_bytes, 2, &mut []);
    }
}
