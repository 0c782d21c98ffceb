//! Every type as blocks of 32 columns with an exact scale: what products compute on.

use half::f16;

/// Columns of a [`Block`].
pub(super) const COLUMNS: usize = 32;

/// The factors of a block as the file stores them, for layouts that keep them small.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Factors {
    /// Scale of the file's block.
    pub scale: f16,
    /// Minimum of the file's block; of a "K" block what its minima are multiples of.
    pub minimum: f16,
    /// Multiple of `scale` that the group of a `Q4_K` or `Q5_K` block has; 1 for other types.
    pub scale_steps: u8,
    /// As `scale_steps`, of `minimum`.
    pub minimum_steps: u8,
}

/// 32 columns of one row: element `i` is `scale · (halves[i / 16] · steps[i]) + minimum`.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Signed integers, the zero point taken off; −32,512 to 32,512.
    pub steps: [i16; COLUMNS],
    /// Integer scales of the first and the last 16 columns; 1 for all types but `Q6_K`.
    pub halves: [i8; 2],
    /// Exact: the product of the file's factors fits 24 bits.
    pub scale: f32,
    /// Exact as `scale`; `None` for types without minima.
    pub minimum: Option<f32>,
    /// What `scale` and `minimum` were made of; all zero for types of floats.
    pub factors: Factors,
}

impl Block {
    /// Zeros.
    pub const ZERO: Self = Self {
        steps: [0; COLUMNS],
        halves: [1, 1],
        scale: 0.0,
        minimum: None,
        factors: Factors {
            scale: f16::ZERO,
            minimum: f16::ZERO,
            scale_steps: 0,
            minimum_steps: 0,
        },
    };

    /// The elements: the exact product rounded once, and the sum with a minimum rounded once more.
    pub fn values(&self) -> [f32; COLUMNS] {
        std::array::from_fn(|index| {
            let integer = i32::from(self.steps[index]) * i32::from(self.halves[index / 16]);
            // `halves` is not 1 only where the integer has less than 16 bits, so that it is exact.
            #[expect(clippy::cast_precision_loss, reason = "at most 22 bits")]
            let product = self.scale * integer as f32;
            self.minimum.map_or(product, |minimum| product + minimum)
        })
    }
}
