//! The product of the definition, on packed weights.

use super::{
    Inputs, Segment, TileSums,
    form::{Form, ROWS},
    place,
};
use crate::{
    backend::arithmetic::{Quantised, product},
    weights::quants::Block,
};

/// Adds the segment's sums to those of every tile.
pub(super) fn multiply<'a>(
    weights: &Segment<'_>,
    inputs: impl Fn(usize) -> Inputs<'a>,
    tiles: &mut [TileSums],
) {
    for row in 0..ROWS {
        let blocks: Vec<Block> = (0..weights.blocks)
            .map(|block| place::read(Form::of(weights.number), weights.lines, block, row))
            .collect();
        for (tile, sums) in tiles.iter_mut().enumerate() {
            let Inputs { groups, tokens } = inputs(tile);
            for (token, sums) in sums.iter_mut().enumerate().take(tokens) {
                let x: Vec<Quantised> = groups
                    .iter()
                    .map(|group| group.row(token, weights.fine))
                    .collect();
                let sum = product(&blocks, &x, weights.fine);
                sums[row] = if weights.first { sum } else { sums[row] + sum };
            }
        }
    }
}
