//! The product of one row of weights with one row of activations.

use super::{GROUP, RESIDUAL, SEGMENT};
use crate::weights::quants::Block;

/// A group of activations: `x ≈ scale · (quant + residual / 254)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantised {
    /// −127 to 127.
    pub quants: [i8; GROUP],
    /// What rounding to quants lost; zero unless more care was asked for.
    pub residuals: [i8; GROUP],
    /// Step of a quant; NaN if the group holds anything that is no finite number.
    pub scale: f32,
    /// `scale · Σ (quant + residual / 254)`
    pub total: f32,
}

/// Sums block by block within a segment of 256 columns, and segment by segment.
#[expect(clippy::cast_precision_loss, reason = "one of the arithmetic's roundings")]
pub fn product(blocks: &[Block], activations: &[Quantised], fine: bool) -> f32 {
    let mut total = None;
    for (blocks, activations) in blocks
        .chunks(SEGMENT / GROUP)
        .zip(activations.chunks(SEGMENT / GROUP))
    {
        let mut sum = 0.0f32;
        for (block, x) in blocks.iter().zip(activations) {
            let mut integer = dot(block, &x.quants) as f32;
            if fine {
                integer += dot(block, &x.residuals) as f32 * RESIDUAL;
            }
            sum += (block.scale * x.scale) * integer;
            if let Some(minimum) = block.minimum {
                sum += minimum * x.total;
            }
        }
        total = Some(total.map_or(sum, |total: f32| total + sum));
    }
    total.unwrap_or(0.0)
}

/// Exact: at most 32 · 32,512 · 127.
fn dot(block: &Block, quants: &[i8; GROUP]) -> i32 {
    let half = |half: usize| -> i32 {
        let columns = half * (GROUP / 2)..(half + 1) * (GROUP / 2);
        let products = block.steps[columns.clone()].iter().zip(&quants[columns]);
        products.map(|(w, a)| i32::from(*w) * i32::from(*a)).sum()
    };
    i32::from(block.halves[0]) * half(0) + i32::from(block.halves[1]) * half(1)
}
