//! The product in portable code: what the other kernels compute, step by step.

use half::f16;

use super::{GROUP, Inputs, QUAD, RESIDUAL, ROWS, RowGroup, TILE, TileSums, Width};

/// `sums[token][row]` over all blocks of a row group.
#[expect(
    clippy::cast_precision_loss,
    reason = "sums of 32 products of bytes are below 2^24"
)]
pub(super) fn multiply(rows: &RowGroup<'_>, inputs: &Inputs<'_>) -> TileSums {
    let mut sums = [[0.0; ROWS]; TILE];
    let count = rows.width.lines();
    for (group, scales) in rows.scales.iter().enumerate() {
        let lines = &rows.lines[group * count..][..count];
        for (token, sums) in sums.iter_mut().enumerate().take(inputs.tokens) {
            let at = token * inputs.groups + group;
            let block = at * GROUP..(at + 1) * GROUP;
            let dot = |lane: usize, quants: &[i8], total: i32| {
                let mut dot = -i32::from(rows.zero) * total;
                for (column, activation) in quants.iter().enumerate() {
                    let (line, shift) = rows.width.locate(column);
                    let byte = lines[line].0[lane * QUAD + column % QUAD];
                    let quant = if rows.width == Width::Four {
                        byte >> shift & 15
                    } else {
                        byte
                    };
                    dot += i32::from(quant) * i32::from(*activation);
                }
                dot as f32
            };
            let mut total = inputs.sums[at] as f32;
            if let Some(rest) = &inputs.rest {
                total += rest.sums[at] as f32 * RESIDUAL;
            }
            for (lane, sum) in sums.iter_mut().enumerate() {
                let mut product = dot(lane, &inputs.quants[block.clone()], inputs.sums[at]);
                if let Some(rest) = &inputs.rest {
                    product += dot(lane, &rest.quants[block.clone()], rest.sums[at]) * RESIDUAL;
                }
                *sum += f16::from_bits(scales[lane]).to_f32() * inputs.scales[at] * product;
                if let Some(minima) = rows.minima.get(group) {
                    *sum += f16::from_bits(minima[lane]).to_f32() * (inputs.scales[at] * total);
                }
            }
        }
    }
    sums
}
