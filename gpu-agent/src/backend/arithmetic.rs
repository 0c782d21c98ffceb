//! The one arithmetic, as plain code: each operation's types, rounding and order of sums.
//!
//! This is the definition that docs/arithmetic.md explains. Every machine computes these bits, with whatever
//! instructions it has: all operations are those of IEEE-754 binary32, rounded to nearest even one by one. A
//! multiply-add is two operations. Rust neither fuses nor reorders them.
//!
//! ```text
//! constants, sums ◀ rows ◀ attend
//! constants ◀ product ◀ quantise
//! ```

mod attend;
mod constants;
mod product;
mod quantise;
mod rows;
mod sums;

pub use attend::{Attention, attend};
pub use constants::{
    CHAINS, CHUNK, GELU_CUBE, GELU_FACTOR, GROUP, RESIDUAL, RESIDUAL_STEPS, SEGMENT, SMALLEST,
};
pub use product::{Quantised, product};
pub use quantise::quantise;
pub use rows::{dot, exp, gelu, rms_norm, rotate_pair, silu, soft_cap, tanh};
pub use sums::{STRIDES, strided_sum, tree_sum};

/// Version of this arithmetic: receipts name it, and it changes whenever any result does.
pub const ARITHMETIC: u32 = if FREE_ORDER { 0 } else { 1 };

/// Whether the vectors fuse multiply-adds and leave out segments: what the defined order costs is measured against it.
/// Only `./x bench arithmetic` builds such a program, and it has no version.
pub(crate) const FREE_ORDER: bool = cfg!(feature = "free-order");

#[cfg(test)]
mod tests;
