use std::num::NonZeroUsize;

use super::*;
use crate::backend::{BLOCK_TOKENS, SequenceSlice};

const SHAPE: CacheShape = CacheShape {
    layers: 1,
    blocks: 8,
    heads: 2,
    head_size: 6,
};
const QUERY_WIDTH: usize = 24;

fn ops(precision: Precision) -> CpuOps {
    CpuOps::new(precision, NonZeroUsize::new(2).expect("positive")).expect("threads start")
}

fn wave(rows: usize, width: usize, step: f32) -> Tensor {
    let mut tensor = Tensor::new(rows, width);
    for (index, value) in tensor.values.iter_mut().enumerate() {
        *value = (f32::from(u16::try_from(index).expect("small")) * step).sin();
    }
    tensor
}

/// Attention of a sequence of 40 tokens, computed in the given steps over the given blocks.
fn attend(precision: Precision, steps: &[usize], blocks: [u32; 3]) -> Vec<f32> {
    let mut ops = ops(precision);
    let mut cache = ops.cache(SHAPE);
    let (keys, values, queries) = (
        wave(40, 12, 0.31),
        wave(40, 12, 0.17),
        wave(40, QUERY_WIDTH, 0.23),
    );
    let mut result = Vec::new();
    let mut done = 0;
    for step in steps {
        let mut batch = Batch::default();
        batch.push(&vec![0; *step], done, &blocks);
        let rows: Vec<u32> = (done..done + step)
            .map(|row| u32::try_from(row).expect("small"))
            .collect();
        let part = |ops: &mut CpuOps, whole: &Tensor| {
            let mut part = Tensor::new(*step, whole.width);
            ops.select(whole, &rows, &mut part);
            part
        };
        let (k, v, q) = (
            part(&mut ops, &keys),
            part(&mut ops, &values),
            part(&mut ops, &queries),
        );
        ops.store(&mut cache, 0, &k, &v, &batch);
        let mut out = Tensor::new(*step, QUERY_WIDTH);
        ops.attend(&cache, 0, &q, &batch, &mut out);
        result.extend_from_slice(out.values());
        done += step;
    }
    result
}

/// The definition, in double precision over contiguous keys and values.
fn reference() -> Vec<f64> {
    let (keys, values, queries) = (
        wave(40, 12, 0.31),
        wave(40, 12, 0.17),
        wave(40, QUERY_WIDTH, 0.23),
    );
    let mut out = Vec::new();
    for token in 0..40 {
        for head in 0..4 {
            let key_head = head / 2 * 6;
            let q = &queries.row(token)[head * 6..][..6];
            let dot = |row: usize| -> f64 {
                let k = &keys.row(row)[key_head..][..6];
                q.iter()
                    .zip(k)
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum::<f64>()
                    / 6f64.sqrt()
            };
            let weights: Vec<f64> = (0..=token).map(|row| dot(row).exp()).collect();
            let total: f64 = weights.iter().sum();
            for element in 0..6 {
                let value = |row: usize| f64::from(values.row(row)[key_head + element]);
                out.push(
                    weights
                        .iter()
                        .enumerate()
                        .map(|(row, weight)| weight * value(row))
                        .sum::<f64>()
                        / total,
                );
            }
        }
    }
    out
}

#[test]
fn paged_attention_equals_the_definition_over_contiguous_memory() {
    for (precision, tolerance) in [(Precision::Exact, 1e-5), (Precision::Fast, 1e-3)] {
        let got = attend(precision, &[40], [5, 0, 3]);
        for (got, expected) in got.iter().zip(reference()) {
            assert!(
                (f64::from(*got) - expected).abs() < tolerance,
                "{precision:?}: {got} {expected}"
            );
        }
    }
}

#[test]
fn attention_is_bit_for_bit_the_same_in_chunks_and_in_other_blocks() {
    let whole = attend(Precision::Fast, &[40], [0, 1, 2]);
    assert_eq!(whole, attend(Precision::Fast, &[1; 40], [7, 2, 5]));
    assert_eq!(whole, attend(Precision::Fast, &[17, 3, 20], [2, 1, 0]));
}

#[test]
fn a_sequence_ignores_what_an_earlier_one_left_in_its_blocks() {
    let mut ops = ops(Precision::Exact);
    let mut cache = ops.cache(SHAPE);
    let poison = Tensor {
        values: vec![f32::NAN; BLOCK_TOKENS * 12],
        rows: BLOCK_TOKENS,
        width: 12,
    };
    let mut batch = Batch::default();
    batch.push(&[0; BLOCK_TOKENS], 0, &[4]);
    ops.store(&mut cache, 0, &poison, &poison, &batch);
    batch.clear();
    batch.push(&[0], 0, &[4]);
    ops.store(&mut cache, 0, &wave(1, 12, 0.3), &wave(1, 12, 0.1), &batch);
    let mut out = Tensor::new(1, QUERY_WIDTH);
    ops.attend(&cache, 0, &wave(1, QUERY_WIDTH, 0.2), &batch, &mut out);
    assert!(out.values().iter().all(|value| value.is_finite()));
    assert_eq!(
        batch.sequences[0],
        SequenceSlice {
            start: 0,
            tokens: 1,
            length: 1,
            block_table: vec![4]
        }
    );
}
