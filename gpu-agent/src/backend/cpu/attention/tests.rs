use super::*;
use crate::backend::{arithmetic, cpu::Precision};

/// Key heads, query heads for each, head size, tokens, window, cap.
type Case = (usize, usize, usize, usize, Option<usize>, Option<f32>);

const CASES: [Case; 6] = [
    (2, 3, 64, 150, None, None),
    (1, 2, 6, 70, None, Some(3.0)),
    (2, 1, 40, 200, Some(50), None),
    (1, 4, 128, 65, Some(1), Some(20.0)),
    (3, 1, 18, 130, Some(64), None),
    (1, 1, 256, 64, None, None),
];

fn wave(rows: usize, width: usize, step: f32) -> Tensor {
    let mut tensor = Tensor::new(rows, width);
    for (index, value) in tensor.resize(rows).iter_mut().enumerate() {
        let place = f32::from(u16::try_from(index % 50_021).expect("small"));
        *value = (place * step).sin() * 2.0;
    }
    tensor
}

fn rows(of: &Tensor, range: Range<usize>) -> Tensor {
    let mut part = Tensor::new(range.len(), of.width);
    part.resize(range.len())
        .copy_from_slice(&of.values()[range.start * of.width..range.end * of.width]);
    part
}

/// A sequence's results, computed in steps of the given lengths over blocks in reverse order.
fn computed(case: Case, isa: Isa, threads: usize, precision: Precision, steps: &[usize]) -> Vec<f32> {
    let (heads, per_key, head_size, tokens, window, soft_cap) = case;
    let pool = Pool::start(NonZeroUsize::new(threads).expect("positive")).expect("threads start");
    let scratch = Scratch::new(NonZeroUsize::new(threads).expect("positive"));
    let blocks = tokens.div_ceil(BLOCK_TOKENS);
    let shape = CacheShape {
        layers: 1,
        blocks,
        heads,
        head_size,
    };
    let mut cache = Cache::new(shape, precision);
    let table: Vec<u32> = (0u32..)
        .take(blocks)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    let (keys, values) = (
        wave(tokens, heads * head_size, 0.31),
        wave(tokens, heads * head_size, 0.17),
    );
    let queries = wave(tokens, heads * per_key * head_size, 0.23);
    let attention = Attention {
        heads: heads * per_key,
        kv_heads: heads,
        head_size,
        scale: 0.17,
        window,
        soft_cap,
    };
    let mut result = Vec::new();
    let mut done = 0;
    for step in steps.iter().copied().cycle() {
        let range = done..tokens.min(done + step);
        let mut batch = Batch::new(BLOCK_TOKENS);
        batch.push(&vec![0; range.len()], done, &table);
        let part = |of: &Tensor| rows(of, range.clone());
        cache.store(0, &part(&keys), &part(&values), &batch);
        let mut out = Tensor::new(range.len(), queries.width);
        attend(
            &pool,
            isa,
            &scratch,
            attention,
            &cache,
            0,
            &part(&queries),
            &batch,
            &mut out,
        );
        result.extend_from_slice(out.values());
        done = range.end;
        if done == tokens {
            return result;
        }
    }
    unreachable!("steps repeat until every token is done")
}

/// The definition over contiguous rows.
fn defined(case: Case, precision: Precision) -> Vec<f32> {
    let (heads, per_key, head_size, tokens, window, soft_cap) = case;
    let stored = |mut of: Tensor| {
        if precision == Precision::Fast {
            for value in of.resize(tokens) {
                *value = half::f16::from_f32(*value).to_f32();
            }
        }
        of
    };
    let keys = stored(wave(tokens, heads * head_size, 0.31));
    let values = stored(wave(tokens, heads * head_size, 0.17));
    let queries = wave(tokens, heads * per_key * head_size, 0.23);
    let attention = arithmetic::Attention {
        scale: 0.17,
        soft_cap,
    };
    let mut result = vec![0.0; queries.values().len()];
    for (index, out) in result.chunks_exact_mut(head_size).enumerate() {
        let (token, head) = (
            index / (heads * per_key),
            index % (heads * per_key) / per_key * head_size,
        );
        let first = window.map_or(0, |window| (token + 1).saturating_sub(window));
        arithmetic::attend(
            &queries.values()[index * head_size..][..head_size],
            |t| &keys.row(t)[head..][..head_size],
            |t| &values.row(t)[head..][..head_size],
            first..token + 1,
            attention,
            out,
        );
    }
    result
}

#[test]
fn every_instruction_set_attends_like_the_definition_bit_for_bit_in_any_pieces() {
    for case in CASES {
        for precision in [Precision::Fast, Precision::Exact] {
            let expected = defined(case, precision);
            for isa in [Isa::Scalar, Isa::Avx2, Isa::Avx512Vnni].map(|isa| isa.min(Isa::detect())) {
                for (threads, steps) in [(1, &[1000][..]), (2, &[1]), (3, &[17, 3, 40])] {
                    let got = computed(case, isa, threads, precision, steps);
                    assert_eq!(got.len(), expected.len());
                    let first = got
                        .iter()
                        .zip(&expected)
                        .position(|(a, b)| a.to_bits() != b.to_bits());
                    assert_eq!(
                        first, None,
                        "{case:?} {precision:?} {isa:?} in steps of {steps:?}"
                    );
                }
            }
        }
    }
}
