//! How each kernel is launched: its name, grid, block and dynamic shared memory, and its parameters as C lays them.
//!
//! Pure: what this module says is handed to a driver elsewhere, and to a software GPU in the tests.

use super::layout::{Layout, SEGMENT_BLOCKS};
use crate::backend::sample::Sampling;

/// Dynamic shared memory that every card gives a block without being asked ("CUDA C++ Programming Guide", technical
/// specifications).
const SHARED_BYTES: usize = 48 * 1024;
/// Warps of a block of `product_1` by `dp4a`, the most of any kernel: a card whose memory is fast needs as many loads
/// in flight.
pub const MOST_WARPS: usize = 20;
/// Rows from which a product may be computed on integer tensor cores where the card has them: fewer leave most of them
/// idle.
pub const FEW_ROWS: usize = 3;
/// Rows from which it may be computed by large tiles. With fewer, segments are computed side by side to fill the card,
/// which large tiles do not.
pub const TENSOR_ROWS: usize = 257;
/// Rows and groups of a tile of `tensor`.
const TILE: (usize, usize) = (64, 4);
/// Rows that a tile computes, whether or not there are as many.
pub const TILE_ROWS: usize = TILE.0;
/// Bytes of residuals of a tile: 64 rows of 68 words.
const TILE_RESIDUALS: usize = 64 * 68 * 4;
/// Positions of a chunk of attention.
pub const CHUNK: usize = 64;
/// Query heads of one tile of `attend_rows`.
pub const QUERY_TILE: usize = 16;

/// Grid, block and dynamic shared memory of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Blocks in x, y, z.
    pub grid: [usize; 3],
    /// Threads of a block in x, y, z.
    pub block: [usize; 3],
    /// Dynamic shared memory of a block.
    pub shared_bytes: usize,
}

impl Shape {
    const fn new(grid: [usize; 3], block: [usize; 3], shared_bytes: usize) -> Self {
        Self {
            grid,
            block,
            shared_bytes,
        }
    }

    /// Of a kernel with 128 threads for each row.
    pub const fn rows(rows: usize) -> Self {
        Self::new([rows, 1, 1], [128, 1, 1], 0)
    }

    /// Of `norm_quantise`: as many warps as there are groups of 32 columns, from the 4 that add the squares to 32.
    pub fn norm_quantise(rows: usize, width: usize) -> Self {
        let warps = width.div_ceil(32).clamp(4, 32);
        Self::new([rows, 1, 1], [32 * warps, 1, 1], 0)
    }

    /// Of a kernel with a thread for each value.
    pub const fn values(count: usize) -> Self {
        Self::new([count.div_ceil(256), 1, 1], [256, 1, 1], 0)
    }

    /// Of so many blocks of so many threads.
    pub const fn threads(blocks: usize, threads: usize) -> Self {
        Self::new([blocks, 1, 1], [threads, 1, 1], 0)
    }

    /// Of `gate_quantise`.
    pub const fn gate(rows: usize, width: usize) -> Self {
        Self::new([width.div_ceil(32).div_ceil(4), rows, 1], [32, 4, 1], 0)
    }

    /// Of `sample`.
    pub const fn sample(rows: usize) -> Self {
        Self::new([rows, 1, 1], [1024, 1, 1], 0)
    }

    /// Of `rotate_store`, with all heads of queries, keys and values.
    pub const fn rotate(rows: usize, heads: usize, head_size: usize) -> Self {
        Self::new([rows, heads.div_ceil(4), 1], [32, 4, 1], 4 * head_size * 4)
    }

    /// Of `attend_chunk_*`: a group of query heads for each key/value head.
    pub const fn attend_chunk(
        items: usize,
        kv_heads: usize,
        group: usize,
        head_size: usize,
        chunks: usize,
    ) -> Self {
        Self::new(
            [chunks, kv_heads, items],
            [128, 1, 1],
            group * (head_size + CHUNK) * 4,
        )
    }

    /// Of `attend_combine`.
    pub const fn attend_combine(items: usize, heads: usize, head_size: usize) -> Self {
        Self::new([heads, items, 1], [head_size.div_ceil(32) * 32, 1, 1], 0)
    }

    /// Of `attend_rows`.
    pub const fn attend_rows(tiles: usize, kv_heads: usize, head_size: usize) -> Self {
        Self::new(
            [tiles, kv_heads, 1],
            [128, 1, 1],
            QUERY_TILE * (2 * head_size + CHUNK) * 4,
        )
    }
}

/// Rows that one block of a product computes: a kernel for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// One row.
    One,
    /// Two rows.
    Two,
    /// Four rows.
    Four,
    /// Eight rows.
    Eight,
    /// Eight rows on tensor cores.
    Few8,
    /// Sixteen rows on tensor cores.
    Few16,
}

impl Batch {
    /// For `rows` rows by integer dots; `all`: whether the module has a kernel for each batch, not only for 1 and 4.
    pub const fn of(rows: usize, all: bool) -> Self {
        match (rows, all) {
            (0 | 1, _) => Self::One,
            (2, true) => Self::Two,
            (2..=4, _) | (_, false) => Self::Four,
            _ => Self::Eight,
        }
    }

    /// For `rows` rows on tensor cores.
    pub const fn few(rows: usize) -> Self {
        if rows <= 8 { Self::Few8 } else { Self::Few16 }
    }

    /// How many rows it is.
    pub const fn rows(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight | Self::Few8 => 8,
            Self::Few16 => 16,
        }
    }

    /// The kernel's name.
    pub const fn kernel(self) -> &'static str {
        match self {
            Self::One => "product_1",
            Self::Two => "product_2",
            Self::Four => "product_4",
            Self::Eight => "product_8",
            Self::Few8 => "few_8",
            Self::Few16 => "few_16",
        }
    }

    /// The most warps of a block, by the kernel's registers.
    const fn most_warps(self) -> usize {
        match self {
            Self::One => MOST_WARPS,
            Self::Two | Self::Few8 => 16,
            Self::Four | Self::Few16 => 12,
            Self::Eight => 8,
        }
    }

    /// Bytes of dynamic shared memory of a block of `warps` warps, as `kernels/segments.cuh` and the units of its
    /// kernels have them: each warp's own, its sums of segments, and sums of two matrices.
    pub const fn shared_bytes(self, warps: usize) -> usize {
        let rows = self.rows();
        let (own, sums) = match self {
            // Scales and totals of rows, padded by four; one turn of sums in rows of 36.
            Self::Few8 | Self::Few16 => (2 * 4 * SEGMENT_BLOCKS * (rows + 4), rows * 36 * 4),
            // Two buffers of two turns.
            Self::One => (Self::STAGED, 4 * Self::ROW_SUMS),
            // Two buffers of one turn.
            _ => (rows * Self::STAGED, 2 * rows * Self::ROW_SUMS),
        };
        warps * (own + sums) + 2 * rows * Self::ROW_SUMS
    }

    /// A warp's copy of a segment of a row: quants, residuals, scales and totals.
    const STAGED: usize = 2 * 256 + 2 * 4 * SEGMENT_BLOCKS;
    /// Sums of a row of a group.
    const ROW_SUMS: usize = 32 * 4;

    /// The launch of a product of `rows` rows with `groups` groups of outputs and `segments` segments of inputs.
    ///
    /// `most_warps` is small where rows and groups alone fill the card: then no warp waits for another.
    pub fn product(self, rows: usize, groups: usize, segments: usize, most_warps: usize) -> Shape {
        let fitting = (1..=self.most_warps())
            .rev()
            .find(|warps| self.shared_bytes(*warps) <= SHARED_BYTES)
            .unwrap_or(1);
        let warps = segments.min(most_warps).clamp(1, fitting);
        Shape::new(
            [rows.div_ceil(self.rows()), groups, 1],
            [32, warps, 1],
            self.shared_bytes(warps),
        )
    }
}

/// The launch of `tensor` for `rows` rows and these matrices; `fine`: whether any of them is.
pub fn tensor(rows: usize, matrices: &[Layout], fine: bool) -> Shape {
    let tiles = matrices
        .iter()
        .map(|matrix| matrix.groups().div_ceil(TILE.1))
        .sum();
    let shared_bytes = if fine { TILE_RESIDUALS } else { 0 };
    Shape::new([rows.div_ceil(TILE.0), tiles, 1], [32, 8, 1], shared_bytes)
}

/// The kernel for a group of query heads of one key/value head.
pub const fn attend_chunk_kernel(group: usize) -> &'static str {
    match group {
        0..=2 => "attend_chunk_1",
        3..=4 => "attend_chunk_2",
        _ => "attend_chunk_4",
    }
}

/// One matrix of a product, as `Target` in `kernels/product.cuh`. Addresses are the device's; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Target {
    /// Weights; none: there is no such target.
    pub weights: u64,
    /// `[rows, columns]`
    pub out: u64,
    /// `[columns]`, or none.
    pub bias: u64,
    /// `[rows, columns]`, or none.
    pub residual: u64,
    /// Outputs of the matrix.
    pub columns: i32,
    /// Whether residuals of the activations count: 0 or 1.
    pub fine: i32,
}

/// Quantised rows, as `Activations` and `ActivationsOut` in `kernels/arithmetic.cuh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activations {
    /// `[rows, columns]` signed bytes.
    pub quants: u64,
    /// The same shape, or none.
    pub residuals: u64,
    /// `[rows, columns / 32]`
    pub scales: u64,
    /// `[rows, columns / 32]`
    pub totals: u64,
    /// `[rows, columns / 32]`, or none: totals with residuals.
    pub fine_totals: u64,
}

/// How one row is sampled, as `Spec` in `kernels/sampling.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spec {
    /// 0: the likeliest token.
    pub inverse_temperature: f32,
    /// In 2⁻³²ths of the mass; 0 with `all_p`.
    pub top_p: u32,
    /// The least mass.
    pub min_p: u64,
    /// Uniform random bits.
    pub random: u64,
    /// 0: all.
    pub top_k: u32,
    /// Row of masks; the largest value: every token is allowed.
    pub mask: u32,
    /// First of the row's seen tokens.
    pub seen_start: u32,
    /// How many there are.
    pub seen_count: u32,
    /// Divides positive logits of seen tokens and multiplies others.
    pub repetition: f32,
    /// Subtracted from logits of tokens of the completion.
    pub presence: f32,
    /// Subtracted as often as the completion has the token.
    pub frequency: f32,
    /// Whether top-p keeps all: 0 or 1.
    pub all_p: u32,
}

impl Spec {
    /// Words of a specification.
    pub const WORDS: usize = 14;

    /// Its words, as C lays them on a little-endian card.
    pub fn words(&self) -> [u32; Self::WORDS] {
        let halves = |value: u64| [value & u64::from(u32::MAX), value >> 32].map(low);
        let ([min_p, min_p_high], [random, random_high]) = (halves(self.min_p), halves(self.random));
        [
            self.inverse_temperature.to_bits(),
            self.top_p,
            min_p,
            min_p_high,
            random,
            random_high,
            self.top_k,
            self.mask,
            self.seen_start,
            self.seen_count,
            self.repetition.to_bits(),
            self.presence.to_bits(),
            self.frequency.to_bits(),
            self.all_p,
        ]
    }

    /// Of a request's settings and this token's random number, with every token allowed and none seen.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "powers of two are exact, shares from 0 to 1, and top-p below 1 is at most 2^32 - 2^8"
    )]
    pub fn of(sampling: &Sampling, random: u64) -> Self {
        /// The lowest temperatures count as 2⁻⁶⁴, whose reciprocal is finite.
        const LARGEST_INVERSE: f32 = (1u128 << 64) as f32;
        let all_p = sampling.top_p >= 1.0;
        Self {
            inverse_temperature: if sampling.temperature > 0.0 {
                (1.0 / sampling.temperature).min(LARGEST_INVERSE)
            } else {
                0.0
            },
            top_p: if all_p {
                0
            } else {
                (sampling.top_p * (1u64 << 32) as f32) as u32
            },
            min_p: (sampling.min_p * (1u64 << 40) as f32) as u64,
            random,
            top_k: sampling.top_k,
            mask: u32::MAX,
            seen_start: 0,
            seen_count: 0,
            repetition: sampling.penalties.repetition,
            presence: sampling.penalties.presence,
            frequency: sampling.penalties.frequency,
            all_p: all_p.into(),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the caller leaves 32 bits")]
fn low(value: u64) -> u32 {
    value as u32
}

/// Kernels take extents as 32-bit numbers.
pub(super) fn int(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// One argument of a kernel, as C lays it.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub struct Argument {
    bytes: [u8; Self::MOST_BYTES],
    size: usize,
}

impl Argument {
    /// The largest one is a structure of five addresses.
    const MOST_BYTES: usize = 40;

    fn new(parts: &[&[u8]]) -> Self {
        let mut argument = Self {
            bytes: [0; Self::MOST_BYTES],
            size: 0,
        };
        for part in parts {
            argument.bytes[argument.size..][..part.len()].copy_from_slice(part);
            argument.size += part.len();
        }
        argument
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.size]
    }
}

/// A list of arguments of any types.
macro_rules! arguments {
    ($($value:expr),* $(,)?) => { &[$($crate::backend::cuda::launch::Argument::from($value)),*][..] };
}
pub(super) use arguments;

macro_rules! plain_arguments {
    ($($kind:ty),*) => { $(
        impl From<$kind> for Argument {
            fn from(value: $kind) -> Self {
                Self::new(&[&value.to_le_bytes()])
            }
        }
    )* };
}

plain_arguments!(u64, i32, f32);

impl From<Target> for Argument {
    fn from(target: Target) -> Self {
        Self::new(&[
            &target.weights.to_le_bytes(),
            &target.out.to_le_bytes(),
            &target.bias.to_le_bytes(),
            &target.residual.to_le_bytes(),
            &target.columns.to_le_bytes(),
            &target.fine.to_le_bytes(),
        ])
    }
}

impl From<Activations> for Argument {
    fn from(x: Activations) -> Self {
        Self::new(&[
            &x.quants.to_le_bytes(),
            &x.residuals.to_le_bytes(),
            &x.scales.to_le_bytes(),
            &x.totals.to_le_bytes(),
            &x.fine_totals.to_le_bytes(),
        ])
    }
}
