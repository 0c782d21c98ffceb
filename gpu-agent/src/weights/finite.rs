//! Whether a tensor holds finite numbers only.

use super::quants::TensorType;

/// Whether every element of whole blocks is a finite number. Quants are integers, and their products with finite
/// half-precision floats are finite, so only a block's floats are looked at.
pub fn is_finite(kind: TensorType, bytes: &[u8]) -> bool {
    let offsets: &[usize] = match kind {
        TensorType::F32 => {
            let values = bytes.as_chunks::<4>().0.iter();
            return values.copied().map(f32::from_le_bytes).all(f32::is_finite);
        }
        TensorType::BF16 => {
            let values = bytes.as_chunks::<2>().0.iter();
            return values
                .copied()
                .map(half::bf16::from_le_bytes)
                .all(half::bf16::is_finite);
        }
        TensorType::F16 | TensorType::Q4_0 | TensorType::Q5_0 | TensorType::Q8_0 => &[0],
        TensorType::Q4_1 | TensorType::Q5_1 | TensorType::Q4_K | TensorType::Q5_K => &[0, 2],
        TensorType::Q6_K => &[208],
    };
    bytes.chunks_exact(kind.block_bytes()).all(|block| {
        offsets
            .iter()
            .all(|offset| half::f16::from_le_bytes([block[*offset], block[offset + 1]]).is_finite())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::quants::dequantise;

    const KINDS: [TensorType; 11] = [
        TensorType::F32,
        TensorType::F16,
        TensorType::BF16,
        TensorType::Q4_0,
        TensorType::Q4_1,
        TensorType::Q5_0,
        TensorType::Q5_1,
        TensorType::Q8_0,
        TensorType::Q4_K,
        TensorType::Q5_K,
        TensorType::Q6_K,
    ];

    proptest::proptest! {
        #[test]
        fn blocks_are_finite_if_and_only_if_their_floats_are(
            kind in 0..KINDS.len(),
            at in 0usize..210,
            seed: u8,
        ) {
            let kind = KINDS[kind];
            // Half precision has 31 finite exponents of 32: a byte of 0xFF makes the last one likely enough.
            let mut bytes: Vec<u8> = (0..kind.block_bytes())
                .map(|index| u8::try_from(index).expect("small").wrapping_mul(37).wrapping_add(seed) & 0x3F)
                .collect();
            let length = bytes.len();
            bytes[at % length] = 0xFF;
            bytes[(at + 1) % length] = 0x7F;
            let mut values = vec![0.0; kind.block_elements()];
            dequantise(kind, &bytes, &mut values);
            let expected = values.iter().all(|value| value.is_finite());
            proptest::prop_assert_eq!(is_finite(kind, &bytes), expected);
        }
    }
}
