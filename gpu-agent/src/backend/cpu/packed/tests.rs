use std::num::NonZeroUsize;

use half::f16;

use super::*;
use crate::{
    backend::{
        arithmetic::{Quantised, product, quantise},
        cpu::pool::Pool,
    },
    weights::quants::TensorType,
};

/// Random bytes whose floats are tame: bytes of floats are those of small numbers.
pub(in crate::backend::cpu) fn matrix(kind: TensorType, rows: usize, columns: usize) -> RawMatrix {
    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    let mut bytes = Vec::new();
    let blocks = rows * columns / kind.block_elements();
    for block in 0..blocks {
        let mut one: Vec<u8> = (0..kind.block_bytes()).map(|_| random()).collect();
        let tame = f32::from(u8::try_from(block % 200).expect("small")) * 0.001 - 0.05;
        let half = f16::from_f32(tame).to_le_bytes();
        match kind {
            TensorType::F32 => one = ((f32::from(random()) - 128.0) * 0.013).to_le_bytes().to_vec(),
            TensorType::F16 => {
                one = f16::from_f32(f32::from(random()) * 0.1 - 11.0)
                    .to_le_bytes()
                    .to_vec();
            }
            TensorType::BF16 => {
                one = half::bf16::from_f32(f32::from(random()) * 0.1 - 11.0)
                    .to_le_bytes()
                    .to_vec();
            }
            TensorType::Q6_K => one[208..210].copy_from_slice(&half),
            TensorType::Q4_1 | TensorType::Q5_1 | TensorType::Q4_K | TensorType::Q5_K => {
                one[..2].copy_from_slice(&half);
                one[2..4].copy_from_slice(&f16::from_f32(-0.1).to_le_bytes());
            }
            _ => one[..2].copy_from_slice(&half),
        }
        bytes.extend(one);
    }
    RawMatrix {
        kind,
        rows,
        columns,
        bytes,
    }
}

fn pack(raw: &RawMatrix, care: Care) -> Packed {
    Packed::new(raw, care, &mut Arena::default()).expect("memory")
}

fn blocks(raw: &RawMatrix, row: usize) -> Vec<Block> {
    let mut blocks = Vec::new();
    each_block(raw.kind, raw.row(row), |_, block| blocks.push(block.clone()));
    blocks
}

fn input(rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns)
        .map(|index| (f32::from(u16::try_from(index % 60_013).expect("small")) * 0.37).sin() * 3.0)
        .collect()
}

fn isas() -> [Isa; 3] {
    [Isa::Scalar, Isa::Avx2, Isa::Avx512Vnni].map(|isa| isa.min(Isa::detect()))
}

fn quantised(isa: Isa, x: &[f32], columns: usize, care: Care) -> Activations {
    let pool = Pool::start(NonZeroUsize::MIN).expect("threads start");
    let mut activations = Activations::default();
    activations.quantise(&pool, isa, x, columns, care);
    activations
}

/// Shapes with rows that fill no group of 16, and columns of one block, of part of a segment, and of several segments.
const SHAPES: [(usize, usize); 4] = [(5, 32), (20, 96), (17, 544), (33, 768)];

fn columns_of(kind: TensorType, columns: usize) -> usize {
    columns.next_multiple_of(kind.block_elements())
}

#[test]
fn a_packed_row_decodes_to_its_blocks() {
    for kind in TensorType::ALL {
        for (rows, columns) in SHAPES {
            let columns = columns_of(kind, columns);
            let raw = matrix(kind, rows, columns);
            let packed = pack(&raw, Care::Plain);
            for row in 0..rows {
                let expected: Vec<f32> = blocks(&raw, row).iter().flat_map(Block::values).collect();
                let mut got = vec![0.0; columns];
                packed.decode_row(row, &mut got);
                assert!(
                    got.iter()
                        .zip(&expected)
                        .all(|(got, expected)| got.to_bits() == expected.to_bits()),
                    "{kind:?} row {row} of {rows} with {columns} columns"
                );
            }
        }
    }
}

#[test]
fn every_instruction_set_multiplies_like_the_definition_bit_for_bit() {
    for kind in TensorType::ALL {
        for ((rows, columns), care) in SHAPES
            .into_iter()
            .flat_map(|shape| [(shape, Care::Plain), (shape, Care::Fine)])
        {
            let columns = columns_of(kind, columns);
            let raw = matrix(kind, rows, columns);
            let packed = pack(&raw, care);
            let x = input(32, columns);
            let fine = care == Care::Fine;
            let groups: Vec<Vec<Quantised>> = x
                .chunks(columns)
                .map(|row| row.chunks(GROUP).map(|group| quantise(group, fine)).collect())
                .collect();
            let weights: Vec<Vec<Block>> = (0..rows).map(|row| blocks(&raw, row)).collect();
            for isa in isas() {
                let activations = quantised(isa, &x, columns, Care::Fine);
                for tokens in [1, 2, 3, 4, 5, 7, 8, 9, 12, 32] {
                    let mut room = Room::default();
                    for group in 0..rows.div_ceil(ROWS) {
                        packed.multiply(isa, group, &activations, tokens, &mut room);
                        for (token, sums) in room.sums().iter().take(tokens).enumerate() {
                            for (row, sum) in (group * ROWS..rows).zip(sums) {
                                let expected = product(&weights[row], &groups[token], fine);
                                assert!(
                                    sum.to_bits() == expected.to_bits(),
                                    "{kind:?} {isa:?} {care:?}: row {row} of {rows} × {columns}, token {token} of \
                                     {tokens}: {sum}, not {expected}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn extreme_bytes_neither_overflow_nor_saturate() {
    for kind in TensorType::ALL {
        let columns = columns_of(kind, 64);
        for fill in [0u8, 0x7F, 0x80, 0xFF] {
            let mut raw = matrix(kind, 16, columns);
            for block in raw.bytes.chunks_exact_mut(kind.block_bytes()) {
                let quants = match kind {
                    TensorType::Q6_K => 0..208,
                    TensorType::F32 | TensorType::F16 | TensorType::BF16 => 0..0,
                    _ => 4..block.len(),
                };
                block[quants].fill(fill);
            }
            let packed = pack(&raw, Care::Fine);
            for sign in [1.0f32, -1.0] {
                let x = vec![sign; 9 * columns];
                let group: Vec<Quantised> = x[..columns].chunks(GROUP).map(|x| quantise(x, true)).collect();
                for isa in isas() {
                    let activations = quantised(isa, &x, columns, Care::Fine);
                    for tokens in [1, 9] {
                        let mut room = Room::default();
                        packed.multiply(isa, 0, &activations, tokens, &mut room);
                        for (row, sum) in room.sums[0][0].iter().enumerate() {
                            let expected = product(&blocks(&raw, row), &group, true);
                            assert_eq!(sum.to_bits(), expected.to_bits(), "{kind:?} {isa:?} {fill}");
                        }
                    }
                }
            }
        }
    }
}
