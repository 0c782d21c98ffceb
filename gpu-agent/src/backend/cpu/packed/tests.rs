use super::*;
use crate::weights::quants::{TensorType, dequantise};

/// A matrix of random bytes with tame scales.
fn matrix(kind: TensorType, rows: usize, columns: usize) -> RawMatrix {
    let mut state = 1u32;
    let mut bytes: Vec<u8> = (0..rows * kind.row_bytes(columns))
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect();
    for (index, block) in bytes.chunks_exact_mut(kind.row_bytes(GROUP)).enumerate() {
        let step = f32::from(u8::try_from(index % 50).expect("small"));
        block[..2].copy_from_slice(&f16::from_f32(0.01 + step * 0.001).to_le_bytes());
        if matches!(kind, TensorType::Q4_1 | TensorType::Q5_1) {
            block[2..4].copy_from_slice(&f16::from_f32(-0.1).to_le_bytes());
        }
    }
    RawMatrix {
        kind,
        rows,
        columns,
        bytes,
    }
}

const KINDS: [TensorType; 5] = [
    TensorType::Q4_0,
    TensorType::Q4_1,
    TensorType::Q5_0,
    TensorType::Q5_1,
    TensorType::Q8_0,
];

fn inputs(tokens: usize, columns: usize, care: Care) -> Activations {
    let x: Vec<f32> = (0..u16::try_from(tokens * columns).expect("small"))
        .map(|i| (f32::from(i) * 0.37).sin())
        .collect();
    let mut activations = Activations::default();
    activations.quantise(Isa::detect(), &x, columns, care);
    activations
}

#[test]
fn a_packed_row_decodes_as_the_format_defines() {
    for kind in KINDS {
        let raw = matrix(kind, 20, 64);
        let packed = Packed::new(raw.clone(), Care::Plain).expect("affine");
        for row in 0..raw.rows {
            let (mut expected, mut got) = ([0.0; 64], [0.0; 64]);
            dequantise(kind, raw.row(row), &mut expected);
            packed.decode_row(row, &mut got);
            assert!(
                got.iter()
                    .zip(expected)
                    .all(|(got, expected)| got.to_bits() == expected.to_bits()),
                "{kind:?} row {row}"
            );
        }
    }
}

#[test]
fn every_kernel_agrees_with_the_definition_for_every_number_of_tokens() {
    for (kind, care) in KINDS
        .into_iter()
        .flat_map(|kind| [(kind, Care::Plain), (kind, Care::Fine)])
    {
        let raw = matrix(kind, 20, 96);
        let packed = Packed::new(raw.clone(), care).expect("affine");
        let activations = inputs(TILE, 96, care);
        for isa in [Isa::Scalar, Isa::Avx2, Isa::Avx512Vnni].map(|isa| isa.min(Isa::detect())) {
            for tokens in 1..=TILE {
                for row in 0..raw.rows {
                    let sums = packed.multiply(isa, row / ROWS, &activations, 0, tokens);
                    for (token, sums) in sums.iter().enumerate().take(tokens) {
                        let expected = reference(&raw, row, &activations, token, care);
                        let got = f64::from(sums[row % ROWS]);
                        assert!(
                            (got - expected).abs() < 1e-4 * (1.0 + expected.abs()),
                            "{kind:?} {isa:?}: {got} {expected}"
                        );
                    }
                }
            }
        }
    }
}

fn reference(raw: &RawMatrix, row: usize, activations: &Activations, token: usize, care: Care) -> f64 {
    let mut weights = vec![0.0; raw.columns];
    dequantise(raw.kind, raw.row(row), &mut weights);
    let value = |column: usize| {
        let (group, place) = (&activations.tile(0)[column / GROUP], column % GROUP);
        let residual = if care == Care::Fine {
            f64::from(group.residuals[token][place]) / 254.0
        } else {
            0.0
        };
        (f64::from(group.quants[token][place]) + residual) * f64::from(group.scales[token])
    };
    weights
        .iter()
        .enumerate()
        .map(|(column, weight)| f64::from(*weight) * value(column))
        .sum()
}

#[test]
fn extreme_bytes_do_not_overflow() {
    let mut raw = matrix(TensorType::Q8_0, 16, 32);
    for block in raw.bytes.chunks_exact_mut(34) {
        block[2..].fill(0x80);
    }
    let packed = Packed::new(raw.clone(), Care::Plain).expect("affine");
    let mut activations = Activations::default();
    activations.quantise(Isa::Scalar, &[-1.0; 32], 32, Care::Plain);
    for isa in [Isa::Scalar, Isa::Avx2, Isa::Avx512Vnni].map(|isa| isa.min(Isa::detect())) {
        let sums = packed.multiply(isa, 0, &activations, 0, 1);
        let expected = reference(&raw, 0, &activations, 0, Care::Plain);
        assert!((f64::from(sums[0][0]) / expected - 1.0).abs() < 1e-5, "{isa:?}");
    }
}
