//! Normalisation, quantisation, gating and embedding.

use gpu_agent::backend::arithmetic::{self, Quantised, gelu, quantise, rms_norm, silu};
use gpu_agent::backend::cuda::launch::Shape;
use gpu_agent::backend::cuda::layout::Layout;
use gpu_agent::weights::quants::{TensorType, each_block};

use crate::arguments;
use crate::card::{Card, assert_bits, ptx};
use crate::product::{assert_groups, download, int, reserve};
use crate::random::Random;

pub const MODULE: &str = "rows.sm_61";
pub const EMBED_MODULE: &str = "embed.sm_61";
const EPSILON: f32 = 1e-5;

fn groups(row: &[f32], fine: bool) -> Vec<Quantised> {
    row.chunks(32).map(|group| quantise(group, fine)).collect()
}

#[test]
fn rows_are_normalised_and_quantised_as_by_their_twin() {
    let card = Card::new(61);
    let module = card.module(&ptx(MODULE));
    let mut random = Random::new(10);
    // Less than a group, less than the partial sums, exactly as many, several turns, and no whole number of groups.
    for width in [1, 20, 96, 128, 576, 1000] {
        for rows in [1, 3] {
            for fine in [false, true] {
                let x = random.floats(rows * width);
                let weight = random.floats(width);
                let mut normed = vec![0.0; rows * width];
                for (x, out) in x.chunks(width).zip(normed.chunks_mut(width)) {
                    rms_norm(x, &weight, EPSILON, out);
                }
                let out = card.reserve::<f32>(rows * width);
                let count = rows * width.div_ceil(32);
                for (weights, floats, values) in [(card.upload(&weight), out, &normed), (0, 0, &x)] {
                    let to = reserve(&card, count, fine);
                    let arguments = arguments![
                        card.upload(&x),
                        0u64,
                        weights,
                        EPSILON,
                        f32::INFINITY,
                        int(width),
                        floats,
                        to,
                        card.upload(&vec![0u32; rows])
                    ];
                    card.run(
                        &module,
                        "norm_quantise",
                        Shape::norm_quantise(rows, width),
                        arguments,
                    );
                    let expected: Vec<Quantised> =
                        values.chunks(width).flat_map(|row| groups(row, fine)).collect();
                    let what = format!(
                        "{rows} rows of {width}, fine: {fine}, normalised: {}",
                        weights != 0
                    );
                    assert_groups(&download(&card, to, count), &expected, &what);
                }
                assert_bits(&card.download(out, rows * width), &normed, "normalised floats");
            }
        }
    }
}

#[test]
fn groups_of_numbers_at_the_ends_of_their_range_are_quantised_as_by_their_twin() {
    let card = Card::new(61);
    let module = card.module(&ptx(MODULE));
    let ordinary = Random::new(11).floats(32);
    let with = |value: f32| {
        let mut group = ordinary.clone();
        group[17] = value;
        group
    };
    let smallest = arithmetic::SMALLEST;
    let rows = [
        vec![0.0; 32],
        vec![-0.0; 32],
        vec![smallest; 32],
        vec![smallest * 0.99; 32],
        vec![f32::from_bits(1); 32],
        vec![f32::MAX; 32],
        with(f32::INFINITY),
        with(f32::NEG_INFINITY),
        with(f32::NAN),
        with(-1e30),
        // Halves of steps go to the even one.
        (0..32u8).map(|index| 127.0 - f32::from(index) * 0.5).collect(),
    ];
    for fine in [false, true] {
        let x = card.upload(&rows.concat());
        let to = reserve(&card, rows.len(), fine);
        let faults = card.upload(&vec![0u32; rows.len()]);
        let limit = f32::INFINITY;
        let arguments = arguments![x, 0u64, 0u64, EPSILON, limit, 32i32, 0u64, to, faults];
        card.run(&module, "norm_quantise", Shape::rows(rows.len()), arguments);
        let expected: Vec<Quantised> = rows.iter().flat_map(|row| groups(row, fine)).collect();
        assert_groups(
            &download(&card, to, rows.len()),
            &expected,
            &format!("fine: {fine}"),
        );
        let noted = expected.iter().map(|group| group.scale.is_nan().into());
        assert_eq!(
            card.download::<u32>(faults, rows.len()),
            noted.collect::<Vec<u32>>()
        );
    }
}

#[test]
fn named_rows_are_taken_and_values_beyond_the_limit_are_noted() {
    let card = Card::new(61);
    let module = card.module(&ptx(MODULE));
    let (width, weight) = (40, vec![1.0; 40]);
    let mut x = Random::new(15).floats(4 * width);
    (x[width + 39], x[2 * width]) = (-1e20, 1e19);
    let to = reserve(&card, 3 * 2, false);
    let (faults, names) = (card.upload(&[0u32; 4]), card.upload(&[3u32, 1, 2]));
    let arguments = arguments![
        card.upload(&x),
        names,
        card.upload(&weight),
        EPSILON,
        5e19f32,
        int(width),
        0u64,
        to,
        faults
    ];
    card.run(&module, "norm_quantise", Shape::rows(3), arguments);
    assert_eq!(card.download::<u32>(faults, 4), [0, 1, 0, 0]);
    let mut expected = Vec::new();
    for row in [3, 1, 2] {
        let mut normed = vec![0.0; width];
        rms_norm(&x[row * width..][..width], &weight, EPSILON, &mut normed);
        expected.extend(groups(&normed, false));
    }
    assert_groups(&download(&card, to, 6), &expected, "named rows");
}

#[test]
fn normalised_rows_are_added_as_by_their_twin() {
    let card = Card::new(61);
    let module = card.module(&ptx(MODULE));
    let mut random = Random::new(12);
    for width in [20, 576] {
        let (x, weight) = (random.floats(2 * width), random.floats(width));
        let mut sum = random.floats(2 * width);
        let on_card = card.upload(&sum);
        let faults = card.upload(&[0u32; 2]);
        let arguments = arguments![
            card.upload(&x),
            card.upload(&weight),
            EPSILON,
            8.0f32,
            int(width),
            on_card,
            faults
        ];
        card.run(&module, "norm_add", Shape::rows(2), arguments);
        for (x, sum) in x.chunks(width).zip(sum.chunks_mut(width)) {
            let mut normed = vec![0.0; width];
            rms_norm(x, &weight, EPSILON, &mut normed);
            sum.iter_mut()
                .zip(normed)
                .for_each(|(sum, normed)| *sum += normed);
        }
        assert_bits(
            &card.download(on_card, 2 * width),
            &sum,
            &format!("rows of {width}"),
        );
    }
}

#[test]
fn gates_are_activated_as_by_their_twin() {
    let card = Card::new(61);
    let module = card.module(&ptx(MODULE));
    let mut random = Random::new(13);
    let (rows, width) = (2, 200);
    let mut gate: Vec<f32> = random
        .floats(rows * width)
        .iter()
        .map(|value| value * 20.0)
        .collect();
    gate[..6].copy_from_slice(&[0.0, -0.0, 90.0, -90.0, 1e30, f32::NAN]);
    let up = random.floats(rows * width);
    for (activation, function) in [(0, silu as fn(f32) -> f32), (1, gelu)] {
        let count = rows * width.div_ceil(32);
        let to = reserve(&card, count, false);
        let faults = card.upload(&[0u32; 2]);
        let arguments = arguments![
            card.upload(&gate),
            card.upload(&up),
            int(width),
            int(width),
            activation,
            to,
            faults
        ];
        card.run(&module, "gate_quantise", Shape::gate(rows, width), arguments);
        let values: Vec<f32> = gate
            .iter()
            .zip(&up)
            .map(|(gate, up)| function(*gate) * up)
            .collect();
        let expected: Vec<Quantised> = values.chunks(width).flat_map(|row| groups(row, false)).collect();
        assert_groups(
            &download(&card, to, count),
            &expected,
            &format!("activation {activation}"),
        );
        assert_eq!(card.download::<u32>(faults, rows), [1, 0]);
    }
}

#[test]
fn rows_of_every_type_are_embedded_as_their_blocks_decode() {
    let card = Card::new(61);
    for kind in TensorType::ALL {
        embed(&card, kind, 512);
    }
}

/// Embeds four tokens with rows of `width`; loads of the table are watched.
pub fn embed(card: &Card, kind: TensorType, width: usize) {
    let module = card.module(&ptx(EMBED_MODULE));
    let vocabulary = 70;
    let table = Random::new(14).matrix(kind, vocabulary, width);
    let (layout, packed) = Layout::pack(&table);
    let tokens = [0u32, 69, 31, 32];
    let out = card.reserve::<f32>(tokens.len() * width);
    let (name, factor) = (format!("embed_{}", layout.format.name().to_uppercase()), 1.5f32);
    let weights = card.upload(&packed);
    card.watch(weights, packed.len());
    let arguments = arguments![
        weights,
        int(vocabulary),
        int(layout.blocks),
        card.upload(&tokens),
        int(width),
        factor,
        out
    ];
    card.run(&module, &name, Shape::rows(tokens.len()), arguments);
    let mut expected = Vec::new();
    for token in tokens {
        each_block(kind, table.row(token as usize), |_, block| {
            expected.extend(block.values().map(|value| value * factor));
        });
    }
    assert_bits(
        &card.download(out, tokens.len() * width),
        &expected,
        &format!("{kind:?}"),
    );
}
