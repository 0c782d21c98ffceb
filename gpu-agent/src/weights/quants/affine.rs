//! Quantised types: integers with a scale, and a minimum or a zero point.

use half::f16;

use super::{Block, Factors, TensorType};

/// Group `group` of 32 columns of one block of the file.
pub(super) fn block(kind: TensorType, bytes: &[u8], group: usize) -> Block {
    match kind {
        TensorType::Q4_K => super_block(bytes, group, |column| {
            let byte = bytes[16 + group / 2 * 32 + column];
            byte >> (group % 2 * 4) & 15
        }),
        TensorType::Q5_K => super_block(bytes, group, |column| {
            let byte = bytes[48 + group / 2 * 32 + column];
            let high = bytes[16 + column] >> group & 1;
            byte >> (group % 2 * 4) & 15 | high << 4
        }),
        TensorType::Q6_K => q6_k(bytes, group),
        TensorType::Q4_0 => without_minimum(bytes, |column| i16::from(nibble(&bytes[2..], column)) - 8),
        TensorType::Q4_1 => with_minimum(bytes, |column| nibble(&bytes[4..], column)),
        TensorType::Q5_0 => without_minimum(bytes, |column| {
            i16::from(nibble(&bytes[6..], column) | fifth_bit(&bytes[2..], column)) - 16
        }),
        TensorType::Q5_1 => with_minimum(bytes, |column| {
            nibble(&bytes[8..], column) | fifth_bit(&bytes[4..], column)
        }),
        _ => without_minimum(bytes, |column| i16::from(bytes[2 + column].cast_signed())),
    }
}

/// The half-precision float at byte `at`.
fn f16_at(block: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([block[at], block[at + 1]])
}

/// Of 16 bytes: low nibbles are the first 16 columns, high nibbles the last.
fn nibble(bytes: &[u8], column: usize) -> u8 {
    bytes[column % 16] >> (column / 16 * 4) & 15
}

/// Bit `column` of four bytes, in the place of a fifth bit.
fn fifth_bit(bytes: &[u8], column: usize) -> u8 {
    (bytes[column / 8] >> (column % 8) & 1) << 4
}

/// A scale in the first two bytes.
fn without_minimum(bytes: &[u8], step: impl Fn(usize) -> i16) -> Block {
    let scale = f16_at(bytes, 0);
    Block {
        steps: std::array::from_fn(step),
        halves: [1, 1],
        scale: scale.to_f32(),
        minimum: None,
        factors: Factors {
            scale,
            scale_steps: 1,
            ..Factors::default()
        },
    }
}

/// A scale and a minimum in the first four bytes.
fn with_minimum(bytes: &[u8], quant: impl Fn(usize) -> u8) -> Block {
    let minimum = f16_at(bytes, 2);
    Block {
        minimum: Some(minimum.to_f32()),
        factors: Factors {
            scale: f16_at(bytes, 0),
            minimum,
            scale_steps: 1,
            minimum_steps: 1,
        },
        ..without_minimum(bytes, |column| quant(column).into())
    }
}

/// Bytes: d, dmin (f16), 12 of scales, then 32 of fifth bits if there are any, 128 of nibbles.
fn super_block(bytes: &[u8], group: usize, quant: impl Fn(usize) -> u8) -> Block {
    let (scale_steps, minimum_steps) = scale_and_minimum(&bytes[4..16], group);
    let (scale, minimum) = (f16_at(bytes, 0), f16_at(bytes, 2));
    Block {
        steps: std::array::from_fn(|column| quant(column).into()),
        halves: [1, 1],
        scale: scale.to_f32() * f32::from(scale_steps),
        minimum: Some(-(minimum.to_f32() * f32::from(minimum_steps))),
        factors: Factors {
            scale,
            minimum,
            scale_steps,
            minimum_steps,
        },
    }
}

/// The 6-bit scale and minimum of group `index`, packed into 12 bytes.
fn scale_and_minimum(packed: &[u8], index: usize) -> (u8, u8) {
    if index < 4 {
        (packed[index] & 63, packed[index + 4] & 63)
    } else {
        (
            packed[index + 4] & 15 | packed[index - 4] >> 6 << 4,
            packed[index + 4] >> 4 | packed[index] >> 6 << 4,
        )
    }
}

/// Bytes: 128 of low nibbles, 64 of high bit pairs, 16 signed scales, d (f16).
fn q6_k(bytes: &[u8], group: usize) -> Block {
    let (half, quarter) = (group / 4, group % 4);
    let step = |column: usize| {
        let low = bytes[half * 64 + quarter % 2 * 32 + column] >> (quarter / 2 * 4) & 15;
        let high = bytes[128 + half * 32 + column] >> (quarter * 2) & 3;
        i16::from(low | high << 4) - 32
    };
    let scale = f16_at(bytes, 208);
    Block {
        steps: std::array::from_fn(step),
        halves: [0, 1].map(|index| bytes[192 + group * 2 + index].cast_signed()),
        scale: scale.to_f32(),
        minimum: None,
        factors: Factors {
            scale,
            scale_steps: 1,
            ..Factors::default()
        },
    }
}
