use std::num::NonZeroUsize;

use super::*;
use crate::backend::{NumberError, ops::RopePairs};

const SHAPE: CacheShape = CacheShape {
    layers: 1,
    blocks: 8,
    heads: 2,
    head_size: 6,
};
const QUERY_WIDTH: usize = 24;
const PLAIN: Attention = Attention {
    heads: 4,
    kv_heads: 2,
    head_size: 6,
    scale: 0.408_248_3,
    window: None,
    soft_cap: None,
};

fn ops(precision: Precision) -> CpuOps {
    CpuOps::new(precision, NonZeroUsize::new(2).expect("positive")).expect("threads start")
}

fn wave(rows: usize, width: usize, step: f32) -> Tensor {
    let mut tensor = Tensor::new(rows, width);
    for (index, value) in tensor.resize(rows).iter_mut().enumerate() {
        *value = (f32::from(u16::try_from(index).expect("small")) * step).sin();
    }
    tensor
}

/// Attention of a sequence of 40 tokens, computed in the given steps over the given blocks.
fn attend(precision: Precision, attention: Attention, steps: &[usize], blocks: [u32; 3]) -> Vec<f32> {
    let mut ops = ops(precision);
    let mut cache = ops.cache(SHAPE).expect("memory");
    let (keys, values, queries) = (
        wave(40, 12, 0.31),
        wave(40, 12, 0.17),
        wave(40, QUERY_WIDTH, 0.23),
    );
    let mut result = Vec::new();
    let mut done = 0;
    for step in steps {
        let mut batch = Batch::new(BLOCK_TOKENS);
        batch.push(&vec![0; *step], done, &blocks);
        let part = |whole: &Tensor| rows(whole, done, *step);
        result.extend(compute(
            &mut ops,
            &mut cache,
            &batch,
            attention,
            [part(&keys), part(&values), part(&queries)],
        ));
        done += step;
    }
    result
}

/// Some rows of a tensor.
fn rows(whole: &Tensor, first: usize, count: usize) -> Tensor {
    let mut part = Tensor::new(count, whole.width);
    part.resize(count)
        .copy_from_slice(&whole.values()[first * whole.width..][..count * whole.width]);
    part
}

/// Stores the keys and values of a batch as they are, and attends.
fn compute(
    ops: &mut CpuOps,
    cache: &mut Cache,
    batch: &Batch,
    attention: Attention,
    [mut keys, values, mut queries]: [Tensor; 3],
) -> Vec<f32> {
    let what = RotateStore {
        norms: None,
        rotation: Rotation {
            size: 0,
            head_size: SHAPE.head_size,
            pairs: RopePairs::Adjacent,
        },
        table: &Vec::new(),
        layer: 0,
    };
    ops.stage(batch, &[]).expect("a processor");
    ops.rotate_store(what, &mut queries, &mut keys, &values, cache)
        .expect("a processor");
    let mut out = Tensor::new(batch.rows(), QUERY_WIDTH);
    ops.attend(attention, cache, 0, &queries, &mut out)
        .expect("a processor");
    out.values().to_vec()
}

/// The definition, in double precision over contiguous keys and values.
fn reference(attention: Attention) -> Vec<f64> {
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
                let score = q
                    .iter()
                    .zip(k)
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum::<f64>()
                    * f64::from(attention.scale);
                attention
                    .soft_cap
                    .map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
            };
            let seen = |row: usize| attention.window.is_none_or(|window| row + window > token);
            let weigh = |row: usize| if seen(row) { dot(row).exp() } else { 0.0 };
            let weights: Vec<f64> = (0..=token).map(weigh).collect();
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
    let (window, soft_cap) = (Some(19), Some(0.5));
    let kinds = [
        PLAIN,
        Attention { window, ..PLAIN },
        Attention { soft_cap, ..PLAIN },
        Attention {
            window: Some(1),
            soft_cap,
            ..PLAIN
        },
    ];
    for attention in kinds {
        for (precision, tolerance) in [(Precision::Exact, 1e-5), (Precision::Fast, 1e-3)] {
            let got = attend(precision, attention, &[40], [5, 0, 3]);
            for (got, expected) in got.iter().zip(reference(attention)) {
                assert!(
                    (f64::from(*got) - expected).abs() < tolerance,
                    "{precision:?} {attention:?}: {got} {expected}"
                );
            }
        }
    }
}

#[test]
fn attention_is_bit_for_bit_the_same_in_chunks_and_in_other_blocks() {
    for window in [None, Some(17)] {
        let attention = Attention { window, ..PLAIN };
        let whole = attend(Precision::Fast, attention, &[40], [0, 1, 2]);
        assert_eq!(whole, attend(Precision::Fast, attention, &[1; 40], [7, 2, 5]));
        assert_eq!(whole, attend(Precision::Fast, attention, &[17, 3, 20], [2, 1, 0]));
    }
}

#[test]
fn a_sequence_ignores_what_an_earlier_one_left_in_its_blocks() {
    let mut ops = ops(Precision::Exact);
    let mut cache = ops.cache(SHAPE).expect("memory");
    let poison = || {
        let mut tensor = Tensor::new(BLOCK_TOKENS, 12);
        tensor.resize(BLOCK_TOKENS).fill(f32::NAN);
        tensor
    };
    let mut batch = Batch::new(BLOCK_TOKENS);
    batch.push(&[0; BLOCK_TOKENS], 0, &[4]);
    let queries = wave(BLOCK_TOKENS, QUERY_WIDTH, 0.2);
    compute(&mut ops, &mut cache, &batch, PLAIN, [poison(), poison(), queries]);
    batch.clear();
    batch.push(&[0], 0, &[4]);
    let inputs = [wave(1, 12, 0.3), wave(1, 12, 0.1), wave(1, QUERY_WIDTH, 0.2)];
    let out = compute(&mut ops, &mut cache, &batch, PLAIN, inputs);
    assert!(out.iter().all(|value| value.is_finite()));
}

#[test]
fn rows_whose_keys_are_no_numbers_are_named() {
    let mut ops = ops(Precision::Fast);
    let mut cache = ops.cache(SHAPE).expect("memory");
    let mut batch = Batch::new(BLOCK_TOKENS);
    batch.push(&[0, 0, 0], 0, &[4]);
    let mut keys = wave(3, 12, 0.3);
    keys.resize(3)[12] = 70_000.0;
    let inputs = [keys, wave(3, 12, 0.1), wave(3, QUERY_WIDTH, 0.2)];
    compute(&mut ops, &mut cache, &batch, PLAIN, inputs);
    let error = ops.finish().expect_err("half precision ends at 65,504");
    assert_eq!(error, ForwardError::Numbers(NumberError { rows: vec![1] }));
}
