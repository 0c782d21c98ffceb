//! Norms, gates and embeddings.

use super::bench::{Bench, difference};
use super::random::Random;
use crate::backend::arithmetic::{Quantised, gelu, quantise, rms_norm, silu};
use crate::backend::cuda::launch::{Shape, arguments, int};
use crate::backend::cuda::layout::Layout;
use crate::backend::cuda::modules;
use crate::backend::error::DeviceError;
use crate::backend::ops::Activation;
use crate::weights::quants::{TensorType, each_block};

const EPSILON: f32 = 1e-5;
/// Rows of a check: more than one.
const ROWS: usize = 2;

fn groups(values: &[f32], width: usize) -> Vec<Quantised> {
    let row = |row| <[f32]>::chunks(row, 32).map(|group| quantise(group, true));
    values.chunks(width).flat_map(row).collect()
}

/// `norm_quantise` and `norm_add`.
pub(super) fn norms(bench: &mut Bench<'_>, width: usize) -> Result<(), DeviceError> {
    let mut random = Random::new(10);
    let x = random.floats(ROWS * width);
    let weight = random.floats(width);
    let mut sum = random.floats(ROWS * width);
    let mut normed = vec![0.0; ROWS * width];
    for (x, out) in x.chunks(width).zip(normed.chunks_mut(width)) {
        rms_norm(x, &weight, EPSILON, out);
    }
    let on_card = [bench.upload(&x)?, bench.upload(&weight)?, bench.upload(&sum)?];
    let [rows, weights, sums] = on_card;
    let to = bench.reserve_groups(ROWS * width.div_ceil(32))?;
    let faults = bench.upload(&[0u32; ROWS])?;
    let limit = f32::INFINITY;
    let arguments = arguments![rows, 0u64, weights, EPSILON, limit, int(width), 0u64, to, faults];
    bench.run(
        modules::ROWS,
        "norm_quantise",
        Shape::norm_quantise(ROWS, width),
        arguments,
    )?;
    let found = bench.compare_groups(to, &groups(&normed, width))?;
    bench.note(modules::ROWS, "norm_quantise", format!("rows of {width}"), found);
    let arguments = arguments![rows, weights, EPSILON, limit, int(width), sums, faults];
    bench.run(modules::ROWS, "norm_add", Shape::rows(ROWS), arguments)?;
    sum.iter_mut()
        .zip(normed)
        .for_each(|(sum, normed)| *sum += normed);
    let found = difference(&bench.download(sums, ROWS * width)?, &sum);
    bench.note(modules::ROWS, "norm_add", format!("rows of {width}"), found);
    bench.clear();
    Ok(())
}

/// `gate_quantise`.
pub(super) fn gate(bench: &mut Bench<'_>, width: usize, activation: Activation) -> Result<(), DeviceError> {
    let mut random = Random::new(13);
    let (code, function): (i32, fn(f32) -> f32) = match activation {
        Activation::Silu => (0, silu),
        Activation::Gelu => (1, gelu),
    };
    let (gate, up) = (random.floats(ROWS * width), random.floats(ROWS * width));
    let (gates, ups) = (bench.upload(&gate)?, bench.upload(&up)?);
    let to = bench.reserve_groups(ROWS * width.div_ceil(32))?;
    let faults = bench.upload(&[0u32; ROWS])?;
    let arguments = arguments![gates, ups, int(width), int(width), code, to, faults];
    bench.run(
        modules::ROWS,
        "gate_quantise",
        Shape::gate(ROWS, width),
        arguments,
    )?;
    let values: Vec<f32> = gate
        .iter()
        .zip(&up)
        .map(|(gate, up)| function(*gate) * up)
        .collect();
    let found = bench.compare_groups(to, &groups(&values, width))?;
    bench.note(modules::ROWS, "gate_quantise", format!("rows of {width}"), found);
    bench.clear();
    Ok(())
}

/// `embed_*` of the table's type.
pub(super) fn embed(bench: &mut Bench<'_>, kind: TensorType, width: usize) -> Result<(), DeviceError> {
    let table = Random::new(14).matrix(kind, 40, width);
    let (layout, packed) = Layout::pack(&table);
    let (tokens, factor) = ([0u32, 39, 31, 32], 1.5f32);
    let (weights, names) = (bench.upload(&packed)?, bench.upload(&tokens)?);
    let out = bench.reserve::<f32>(tokens.len() * width)?;
    let (rows, blocks) = (int(layout.rows), int(layout.blocks));
    let arguments = arguments![weights, rows, blocks, names, int(width), factor, out];
    let kernel = modules::embed_kernel(layout.format);
    bench.run(modules::EMBED, kernel, Shape::rows(tokens.len()), arguments)?;
    let mut expected = Vec::new();
    for token in tokens {
        each_block(kind, table.row(token as usize), |_, block| {
            expected.extend(block.values().map(|value| value * factor));
        });
    }
    let found = difference(&bench.download(out, tokens.len() * width)?, &expected);
    bench.note(
        modules::EMBED,
        kernel,
        format!("{kind:?}, rows of {width}"),
        found,
    );
    bench.clear();
    Ok(())
}
