//! The product in portable code: what the other kernels compute, step by step.

use half::f16;

use super::{GROUP, Inputs, Line, QUAD, RESIDUAL, ROWS, RowGroup, TILE, TileSums, Width};

/// `sums[token][row]` over all blocks of a row group.
pub(super) fn multiply(weights: &RowGroup<'_>, inputs: &Inputs<'_>) -> TileSums {
    let mut sums = [[0.0; ROWS]; TILE];
    let count = weights.width.lines();
    for (group, input) in inputs.groups.iter().enumerate() {
        let lines = &weights.lines[group * count..][..count];
        for (token, sums) in sums.iter_mut().enumerate().take(inputs.tokens) {
            for (row, sum) in sums.iter_mut().enumerate() {
                let scale = f16::from_bits(weights.scales[group][row]).to_f32();
                let minimum = match weights.minima.get(group) {
                    Some(minima) => f16::from_bits(minima[row]).to_f32(),
                    None => weights.zero * scale,
                };
                let mut product = dot(weights.width, lines, row, &input.quants[token]);
                if inputs.fine {
                    product += dot(weights.width, lines, row, &input.residuals[token]) * RESIDUAL;
                }
                *sum += scale * input.scales[token] * product + minimum * input.totals[token];
            }
        }
    }
    sums
}

/// Integer product of one row of a block with 32 activations.
#[expect(
    clippy::cast_precision_loss,
    reason = "sums of 32 products of bytes are below 2^24"
)]
fn dot(width: Width, lines: &[Line], row: usize, activations: &[i8; GROUP]) -> f32 {
    let mut sum = 0;
    for (column, activation) in activations.iter().enumerate() {
        let (line, shift) = width.locate(column);
        let byte = lines[line].0[row * QUAD + column % QUAD];
        let quant = if width == Width::Four {
            byte >> shift & 15
        } else {
            byte
        };
        sum += i32::from(quant) * i32::from(*activation);
    }
    sum as f32
}
