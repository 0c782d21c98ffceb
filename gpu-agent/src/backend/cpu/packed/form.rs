//! How each type of weights lies in memory: forms that a kernel is compiled for.

use crate::weights::quants::TensorType;

/// Rows side by side.
pub(in crate::backend::cpu) const ROWS: usize = 16;
/// Columns of a line.
pub(super) const QUAD: usize = 4;
/// Lines of a block of 32 columns with one quant a byte.
pub(super) const QUADS: usize = 8;
/// Blocks of a segment of 256 columns.
pub(super) const BLOCKS: usize = 8;
/// Bytes of a line.
pub(super) const LINE: usize = ROWS * QUAD;

/// 64 bytes on a cache line of their own.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u8; LINE]);

/// Where a block's scales come from, each of 16 rows side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scales {
    /// A half-precision float a block.
    Half,
    /// A half-precision float a segment, times a byte a block.
    Steps,
    /// A half-precision float a segment; two signed bytes a block multiply the dots of its halves.
    Halves,
    /// A float a block.
    Single,
    /// A float a block; two signed bytes a block multiply the dots of its halves.
    SingleHalves,
}

/// The layout of a matrix. A segment of a row group is a header and up to 8 blocks of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// Bits of a quant: 4, 5, 6, 8 or 16.
    pub(super) bits: usize,
    /// Log₂ of the quant that stands for zero; `None` where blocks have minima instead.
    pub(super) zero: Option<u32>,
    pub(super) scales: Scales,
}

/// Numbers of forms: what kernels are generic over.
pub(super) mod number {
    pub(in super::super) const Q4_0: u8 = 0;
    pub(in super::super) const Q4_1: u8 = 1;
    pub(in super::super) const Q5_0: u8 = 2;
    pub(in super::super) const Q5_1: u8 = 3;
    pub(in super::super) const Q8_0: u8 = 4;
    pub(in super::super) const Q4_K: u8 = 5;
    pub(in super::super) const Q5_K: u8 = 6;
    pub(in super::super) const Q6_K: u8 = 7;
    pub(in super::super) const FIXED: u8 = 8;
    /// Bytes made of quants with a zero point.
    pub(in super::super) const ZERO_BYTES: u8 = 9;
    /// Bytes made of quants with minima.
    pub(in super::super) const MINIMUM_BYTES: u8 = 10;
    /// Bytes made of quants with two integer scales.
    #[cfg(target_arch = "x86_64")]
    pub(in super::super) const HALVES_BYTES: u8 = 11;
}

impl Form {
    /// The form of a number.
    pub(super) const fn of(number: u8) -> Self {
        let (bits, zero, scales) = match number {
            number::Q4_0 => (4, Some(3), Scales::Half),
            number::Q4_1 => (4, None, Scales::Half),
            number::Q5_0 => (5, Some(4), Scales::Half),
            number::Q5_1 => (5, None, Scales::Half),
            number::Q8_0 => (8, Some(7), Scales::Half),
            number::Q4_K => (4, None, Scales::Steps),
            number::Q5_K => (5, None, Scales::Steps),
            number::Q6_K => (6, Some(5), Scales::Halves),
            number::FIXED => (16, Some(7), Scales::Single),
            number::ZERO_BYTES => (8, Some(7), Scales::Single),
            number::MINIMUM_BYTES => (8, None, Scales::Single),
            _ => (8, Some(7), Scales::SingleHalves),
        };
        Self { bits, zero, scales }
    }

    /// The number of the form that a type is packed into.
    pub(super) const fn number(kind: TensorType) -> u8 {
        match kind {
            TensorType::F32 | TensorType::F16 | TensorType::BF16 => number::FIXED,
            TensorType::Q4_0 => number::Q4_0,
            TensorType::Q4_1 => number::Q4_1,
            TensorType::Q5_0 => number::Q5_0,
            TensorType::Q5_1 => number::Q5_1,
            TensorType::Q8_0 => number::Q8_0,
            TensorType::Q4_K => number::Q4_K,
            TensorType::Q5_K => number::Q5_K,
            TensorType::Q6_K => number::Q6_K,
        }
    }

    /// Lines of the longest segment of bytes.
    pub(super) const LARGEST_BYTES: usize = Self::of(number::MINIMUM_BYTES).segment(BLOCKS);

    /// Bytes of the header where a segment's blocks have scale `block`.
    pub(super) const fn scale_at(self, block: usize) -> usize {
        match self.scales {
            Scales::Half => block * ROWS * 2,
            Scales::Steps => 2 * ROWS * 2 + block * ROWS,
            Scales::Halves => LINE + block * ROWS * 2,
            Scales::Single | Scales::SingleHalves => block * ROWS * 4,
        }
    }

    /// As [`Form::scale_at`], of minima.
    pub(super) const fn minimum_at(self, block: usize) -> usize {
        match self.scales {
            Scales::Half => BLOCKS * ROWS * 2 + block * ROWS * 2,
            Scales::Steps => 2 * ROWS * 2 + BLOCKS * ROWS + block * ROWS,
            _ => BLOCKS * ROWS * 4 + block * ROWS * 4,
        }
    }

    /// As [`Form::scale_at`], of the integer scales of halves.
    pub(super) const fn halves_at(self, block: usize) -> usize {
        match self.scales {
            Scales::Halves => LINE + block * ROWS * 2,
            _ => BLOCKS * ROWS * 4 + block * ROWS * 2,
        }
    }

    /// Lines of the header.
    pub(super) const fn header(self) -> usize {
        let bytes = match (self.scales, self.zero) {
            (Scales::Half, Some(_)) => BLOCKS * ROWS * 2,
            (Scales::Steps, _) => 2 * ROWS * 2 + BLOCKS * ROWS * 2,
            (Scales::Halves, _) => LINE + BLOCKS * ROWS * 2,
            (Scales::Half, None) | (Scales::Single, Some(_)) => BLOCKS * ROWS * 4,
            (Scales::Single, None) => BLOCKS * ROWS * 8,
            (Scales::SingleHalves, _) => BLOCKS * ROWS * 6,
        };
        bytes / LINE
    }

    /// Lines of a block.
    pub(super) const fn lines(self) -> usize {
        match self.bits {
            4 => QUADS / 2,
            5 => QUADS / 2 + 1,
            6 => QUADS / 2 + 2,
            8 => QUADS,
            _ => 2 * QUADS,
        }
    }

    /// Lines of a segment of `blocks` blocks.
    pub(super) const fn segment(self, blocks: usize) -> usize {
        self.header() + blocks * self.lines()
    }
}

/// What only vectors ask: portable code reads every form as it is.
#[cfg(target_arch = "x86_64")]
impl Form {
    /// The number of the form of bytes that a form is brought to where many tokens share the work; `None` for forms
    /// that are bytes.
    pub(super) const fn bytes(self) -> Option<u8> {
        match (self.bits, self.zero, self.scales) {
            (8 | 16, _, _) => None,
            (_, _, Scales::Halves) => Some(number::HALVES_BYTES),
            (_, Some(_), _) => Some(number::ZERO_BYTES),
            (_, None, _) => Some(number::MINIMUM_BYTES),
        }
    }

    /// As [`Form::bytes`]; a form of bytes is its own.
    pub(super) const fn bytes_form(self) -> Self {
        match self.bytes() {
            Some(number) => Self::of(number),
            None => self,
        }
    }

    /// What is added to a quant that becomes a byte: forms of bytes with a zero point have it at 128.
    pub(super) const fn offset_to_bytes(self) -> i8 {
        match self.zero {
            Some(bits) => (128u8 - (1 << bits)).cast_signed(),
            None => 0,
        }
    }

    /// Whether the halves of a block have integer scales of their own.
    pub(super) const fn has_halves(self) -> bool {
        matches!(self.scales, Scales::Halves | Scales::SingleHalves)
    }
}
