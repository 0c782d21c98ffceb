use half::f16;

use super::*;

fn block(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn q4_0_is_scale_times_quant_less_eight() {
    let mut nibbles = [0x88u8; 16];
    nibbles[0] = 0xF0;
    let bytes = block(&[&f16::from_f32(0.5).to_le_bytes(), &nibbles]);
    let mut out = [1.0; 32];
    dequantise(TensorType::Q4_0, &bytes, &mut out);
    assert_eq!((out[0], out[16], out[1]), (-4.0, 3.5, 0.0));
}

#[test]
fn q4_1_adds_the_minimum() {
    let nibbles = [0x31u8; 16];
    let bytes = block(&[
        &f16::from_f32(0.25).to_le_bytes(),
        &f16::from_f32(-1.0).to_le_bytes(),
        &nibbles,
    ]);
    let mut out = [0.0; 32];
    dequantise(TensorType::Q4_1, &bytes, &mut out);
    assert_eq!((out[0], out[31]), (-0.75, -0.25));
}

#[test]
fn q5_0_takes_its_fifth_bit_from_the_mask() {
    let bytes = block(&[&f16::ONE.to_le_bytes(), &0x8000_0001u32.to_le_bytes(), &[0u8; 16]]);
    let mut out = [9.0; 32];
    dequantise(TensorType::Q5_0, &bytes, &mut out);
    assert_eq!((out[0], out[1], out[31]), (0.0, -16.0, 0.0));
}

#[test]
fn q8_0_is_signed() {
    let mut quants = [0u8; 32];
    (quants[0], quants[1]) = (0x80, 0x7F);
    let bytes = block(&[&f16::from_f32(2.0).to_le_bytes(), &quants]);
    let mut out = [0.0; 32];
    dequantise(TensorType::Q8_0, &bytes, &mut out);
    assert_eq!((out[0], out[1], out[2]), (-256.0, 254.0, 0.0));
}

#[test]
fn q6_k_is_centred_on_thirty_two() {
    let mut bytes = [0u8; 210];
    bytes[192] = 1;
    bytes[208..].copy_from_slice(&f16::ONE.to_le_bytes());
    let mut out = [0.0; 256];
    dequantise(TensorType::Q6_K, &bytes, &mut out);
    assert_eq!((out[0], out[15], out[16]), (-32.0, -32.0, 0.0));
}

proptest::proptest! {
    #[test]
    fn every_type_decodes_any_bytes(seed: [u8; 32]) {
        for code in 0..40 {
            let Some(kind) = TensorType::from_code(code) else { continue };
            let bytes: Vec<u8> = seed.iter().copied().cycle().take(kind.row_bytes(256)).collect();
            dequantise(kind, &bytes, &mut [0.0; 256]);
        }
    }
}
