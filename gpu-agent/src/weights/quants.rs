//! The block formats of GGUF tensors and what they mean: the one definition that every backend is held to.
//!
//! Layouts are those of ggml's `ggml-common.h`. A block holds 32 or 256 consecutive elements of one row.

mod blocks;

use blocks::{f16_at, q4_k, q5_k, q6_k};

/// Encoding of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(non_camel_case_types, reason = "the format's own names")]
pub enum TensorType {
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// 16-bit float with the exponent of a 32-bit one.
    BF16,
    /// 32 × 4 bits, one scale; values are `d · (q − 8)`.
    Q4_0,
    /// 32 × 4 bits, scale and minimum; values are `d · q + m`.
    Q4_1,
    /// 32 × 5 bits, one scale; values are `d · (q − 16)`.
    Q5_0,
    /// 32 × 5 bits, scale and minimum; values are `d · q + m`.
    Q5_1,
    /// 32 × 8 bits, one scale; values are `d · q`, `q` signed.
    Q8_0,
    /// 8 × 32 × 4 bits, each group with a 6-bit scale and minimum.
    Q4_K,
    /// 8 × 32 × 5 bits, each group with a 6-bit scale and minimum.
    Q5_K,
    /// 16 × 16 × 6 bits, each group with an 8-bit scale.
    Q6_K,
}

impl TensorType {
    /// From the number that GGUF stores.
    pub fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            12 => Self::Q4_K,
            13 => Self::Q5_K,
            14 => Self::Q6_K,
            30 => Self::BF16,
            _ => return None,
        })
    }

    /// Elements of one block.
    pub const fn block_elements(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
        }
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
        }
    }

    /// Bytes of a row of `columns` elements, which must be a whole number of blocks.
    pub const fn row_bytes(self, columns: usize) -> usize {
        columns / self.block_elements() * self.block_bytes()
    }
}

/// Decodes whole blocks: `bytes` holds exactly the blocks of `out`.
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
        TensorType::F32 => {
            for (value, raw) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*raw);
            }
        }
        TensorType::F16 => {
            for (value, raw) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = half::f16::from_le_bytes(*raw).to_f32();
            }
        }
        TensorType::BF16 => {
            for (value, raw) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = half::bf16::from_le_bytes(*raw).to_f32();
            }
        }
        TensorType::Q4_K => each_block::<144, 256>(bytes, out, q4_k),
        TensorType::Q5_K => each_block::<176, 256>(bytes, out, q5_k),
        TensorType::Q6_K => each_block::<210, 256>(bytes, out, q6_k),
        _ => {
            for (block, values) in bytes
                .chunks_exact(kind.block_bytes())
                .zip(out.as_chunks_mut::<32>().0)
            {
                let group = affine_group(kind, block).expect("every other type has affine groups");
                for (value, quant) in values.iter_mut().zip(group.quants) {
                    *value = group.value(quant);
                }
            }
        }
    }
}

fn each_block<const BYTES: usize, const ELEMENTS: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; ELEMENTS]),
) {
    for (block, values) in bytes
        .as_chunks::<BYTES>()
        .0
        .iter()
        .zip(out.as_chunks_mut::<ELEMENTS>().0)
    {
        decode(block, values);
    }
}

/// One block of 32 elements in the form `scale · (quant − zero) + minimum`, with unsigned quants.
#[derive(Debug, Clone, PartialEq)]
pub struct AffineGroup {
    /// Unsigned quants, in element order.
    pub quants: [u8; 32],
    /// Scale, exactly as stored.
    pub scale: half::f16,
    /// Quant that stands for zero before the minimum is added.
    pub zero: u8,
    /// Minimum, exactly as stored; zero where the type has none.
    pub minimum: half::f16,
}

impl AffineGroup {
    /// The element that `quant` stands for.
    fn value(&self, quant: u8) -> f32 {
        let steps = i16::from(quant) - i16::from(self.zero);
        self.scale.to_f32() * f32::from(steps) + self.minimum.to_f32()
    }
}

/// Bits of a quant, the quant of zero, and whether there is a minimum, for types made of affine groups of 32.
pub fn affine_layout(kind: TensorType) -> Option<(u8, u8, bool)> {
    match kind {
        TensorType::Q4_0 => Some((4, 8, false)),
        TensorType::Q4_1 => Some((4, 0, true)),
        TensorType::Q5_0 => Some((5, 16, false)),
        TensorType::Q5_1 => Some((5, 0, true)),
        TensorType::Q8_0 => Some((8, 128, false)),
        _ => None,
    }
}

/// Decodes one block of a type that [`affine_layout`] knows; `None` for another.
///
/// # Panics
/// `block` is shorter than a block.
pub fn affine_group(kind: TensorType, block: &[u8]) -> Option<AffineGroup> {
    let (bits, zero, has_minimum) = affine_layout(kind)?;
    let scale = f16_at(block, 0);
    let minimum = if has_minimum {
        f16_at(block, 2)
    } else {
        half::f16::ZERO
    };
    let rest = &block[if has_minimum { 4 } else { 2 }..];
    let mut quants = [0; 32];
    match bits {
        4 => blocks::nibbles(&rest[..16], &mut quants),
        5 => {
            blocks::nibbles(&rest[4..20], &mut quants);
            let high = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
            for (index, quant) in quants.iter_mut().enumerate() {
                *quant |= u8::from(high >> index & 1 == 1) << 4;
            }
        }
        _ => {
            for (quant, &raw) in quants.iter_mut().zip(&rest[..32]) {
                *quant = raw ^ 0x80;
            }
        }
    }
    Some(AffineGroup {
        quants,
        scale,
        zero,
        minimum,
    })
}

#[cfg(test)]
mod tests;
