//! The block formats of GGUF tensors and what they mean: the one definition that every backend is held to.
//!
//! Layouts are those of ggml's `ggml-common.h`. A block of the file holds 1, 32 or 256 consecutive elements of one row;
//! computation sees every type as blocks of 32 (see [`Block`] and docs/arithmetic.md).

mod affine;
mod blocks;
mod fixed;
mod tensor_type;

use blocks::COLUMNS;
pub use blocks::{Block, Factors};
pub use tensor_type::TensorType;

/// Decodes whole blocks to what the format defines: `bytes` holds exactly the blocks of `out`.
///
/// # Panics
/// The lengths do not belong together.
pub fn dequantise(kind: TensorType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(
        bytes.len(),
        kind.row_bytes(out.len()),
        "{} elements of {kind:?}",
        out.len()
    );
    match kind {
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => fixed::floats(kind, bytes, out),
        _ => each_block(kind, bytes, |index, block| {
            for (value, step) in out[index * 32..][..32].iter_mut().zip(block.values()) {
                *value = step;
            }
        }),
    }
}

/// Calls `take` with every block of a row in order; columns beyond the row's end are zeros.
///
/// # Panics
/// `bytes` is no whole number of the type's blocks.
pub fn each_block(kind: TensorType, bytes: &[u8], mut take: impl FnMut(usize, &Block)) {
    assert!(bytes.len().is_multiple_of(kind.block_bytes()), "{kind:?}");
    match kind {
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => {
            let columns = bytes.len() / kind.block_bytes();
            for first in (0..columns).step_by(COLUMNS) {
                let count = COLUMNS.min(columns - first);
                let mut values = [0.0; COLUMNS];
                fixed::floats(
                    kind,
                    &bytes[first * kind.block_bytes()..][..count * kind.block_bytes()],
                    &mut values[..count],
                );
                take(first / COLUMNS, &fixed::block(&values));
            }
        }
        _ => {
            let per_block = kind.block_elements() / COLUMNS;
            for (index, block) in bytes.chunks_exact(kind.block_bytes()).enumerate() {
                for group in 0..per_block {
                    take(index * per_block + group, &affine::block(kind, block, group));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
