//! Decoders of the 256-element "K" blocks, and pieces that several formats share.

use half::f16;

/// The half-precision float at byte `at`.
pub(super) fn f16_at(block: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([block[at], block[at + 1]])
}

/// 16 bytes to 32 quants: low nibbles are the first half, high nibbles the second.
pub(super) fn nibbles(bytes: &[u8], quants: &mut [u8; 32]) {
    let (low, high) = quants.split_at_mut(16);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = byte & 15;
        *high = byte >> 4;
    }
}

/// The 6-bit scale and minimum of group `index`, packed into 12 bytes.
fn scale_and_minimum(packed: &[u8], index: usize) -> (f32, f32) {
    let (scale, minimum) = if index < 4 {
        (packed[index] & 63, packed[index + 4] & 63)
    } else {
        (
            packed[index + 4] & 15 | packed[index - 4] >> 6 << 4,
            packed[index + 4] >> 4 | packed[index] >> 6 << 4,
        )
    };
    (scale.into(), minimum.into())
}

/// Bytes: d, dmin (f16), 12 of scales, 128 of nibbles.
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(block, 0).to_f32(), f16_at(block, 2).to_f32());
    for group in 0..8 {
        let (scale, minimum) = scale_and_minimum(&block[4..16], group);
        let bytes = &block[16 + group / 2 * 32..][..32];
        let shift = group % 2 * 4;
        for (value, byte) in out[group * 32..][..32].iter_mut().zip(bytes) {
            *value = d * scale * f32::from(byte >> shift & 15) - dmin * minimum;
        }
    }
}

/// Bytes: d, dmin (f16), 12 of scales, 32 of fifth bits, 128 of nibbles.
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (f16_at(block, 0).to_f32(), f16_at(block, 2).to_f32());
    let high = &block[16..48];
    for group in 0..8 {
        let (scale, minimum) = scale_and_minimum(&block[4..16], group);
        let bytes = &block[48 + group / 2 * 32..][..32];
        let shift = group % 2 * 4;
        for ((value, byte), high) in out[group * 32..][..32].iter_mut().zip(bytes).zip(high) {
            let quant = byte >> shift & 15 | (high >> group & 1) << 4;
            *value = d * scale * f32::from(quant) - dmin * minimum;
        }
    }
}

/// Bytes: 128 of low nibbles, 64 of high bit pairs, 16 signed scales, d (f16).
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = f16_at(block, 208).to_f32();
    for half in 0..2 {
        let low = &block[half * 64..][..64];
        let high = &block[128 + half * 32..][..32];
        let scales = &block[192 + half * 8..][..8];
        for index in 0..128 {
            let (quarter, column) = (index / 32, index % 32);
            let nibble = low[quarter % 2 * 32 + column] >> (quarter / 2 * 4) & 15;
            let quant = nibble | (high[column] >> (quarter * 2) & 3) << 4;
            let scale = f32::from(scales[index / 16].cast_signed());
            out[half * 128 + index] = d * scale * (f32::from(quant) - 32.0);
        }
    }
}
