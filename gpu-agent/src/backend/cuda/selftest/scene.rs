//! Sequences in a paged cache, with queries for their last positions: what attention is checked with, on a card at hand
//! and on a machine of PTX.

use half::f16;

use super::random::Random;
use crate::backend::arithmetic;
use crate::backend::cuda::launch::QUERY_TILE;
use crate::backend::ops::Attention;

/// Tokens of a block of the cache.
pub const BLOCK: usize = 16;
/// What the cache holds where nobody wrote: a NaN, which no key and no value is.
pub const UNWRITTEN: u16 = 0x7e00;

/// Where an element of one head lies in a block, as `attention.cuh` has it.
pub fn place(size: usize, slot: usize, element: usize, is_value: bool) -> usize {
    if is_value {
        slot * size + element
    } else {
        (element / 8 * BLOCK + slot) * 8 + element % 8
    }
}

/// Sequences with random keys and values, and random queries.
#[derive(Debug)]
pub struct Scene {
    /// How is attended.
    pub attention: Attention,
    /// Tokens of each sequence, and how many of them are new.
    pub sequences: Vec<(usize, usize)>,
    /// `[rows, heads * size]`
    pub queries: Vec<f32>,
    /// The cache's keys and values. Its blocks are in no order, and what no token has is [`UNWRITTEN`].
    pub caches: [Vec<u16>; 2],
    /// Blocks of all sequences.
    pub tables: Vec<u32>,
    /// Where the blocks of each sequence begin.
    pub offsets: Vec<u32>,
    /// Where the rows of each sequence begin.
    pub starts: Vec<u32>,
    /// Position of each row.
    pub positions: Vec<u32>,
    /// Keys and values as the cache keeps them, `[sequence][position][kv_heads * size]`.
    kept: [Vec<Vec<Vec<f32>>>; 2],
}

impl Scene {
    /// Sequences of so many tokens, of which so many are new.
    pub fn new(attention: Attention, sequences: Vec<(usize, usize)>) -> Self {
        let mut random = Random::new(20);
        let Attention {
            heads,
            kv_heads,
            head_size: size,
            ..
        } = attention;
        let width = kv_heads * size;
        let blocks: usize = sequences.iter().map(|(length, _)| length.div_ceil(BLOCK)).sum();
        let mut caches = [0, 1].map(|_| vec![UNWRITTEN; blocks * BLOCK * width]);
        let (mut tables, mut offsets, mut starts, mut positions) = (vec![], vec![0u32], vec![0u32], vec![]);
        let mut kept = [Vec::new(), Vec::new()];
        let mut next = blocks;
        for (length, new) in &sequences {
            let first = tables.len();
            for _ in 0..length.div_ceil(BLOCK) {
                next -= 1;
                tables.push(number(next));
            }
            for (is_value, (cache, kept)) in caches.iter_mut().zip(&mut kept).enumerate() {
                let mut rows = Vec::new();
                for position in 0..*length {
                    let halves: Vec<f16> = (0..width).map(|_| f16::from_f32(random.float())).collect();
                    for (at, half) in halves.iter().enumerate() {
                        let block = tables[first + position / BLOCK] as usize * kv_heads + at / size;
                        let within = place(size, position % BLOCK, at % size, is_value == 1);
                        cache[block * BLOCK * size + within] = half.to_bits();
                    }
                    rows.push(halves.iter().map(|half| half.to_f32()).collect::<Vec<f32>>());
                }
                kept.push(rows);
            }
            offsets.push(number(tables.len()));
            positions.extend((length - new..*length).map(number));
            starts.push(number(positions.len()));
        }
        let queries = random.floats(positions.len() * heads * size);
        Self {
            attention,
            sequences,
            queries,
            caches,
            tables,
            offsets,
            starts,
            positions,
            kept,
        }
    }

    /// What the twin says, `[rows, heads * size]`.
    pub fn expected(&self) -> Vec<f32> {
        let of = &self.attention;
        let (size, group) = (of.head_size, of.heads / of.kv_heads);
        let attention = arithmetic::Attention {
            scale: of.scale,
            soft_cap: of.soft_cap,
        };
        let [keys, values] = &self.kept;
        let mut all = vec![0.0; self.queries.len()];
        let mut outs = all.chunks_mut(size).zip(self.queries.chunks(size));
        for (sequence, (length, new)) in self.sequences.iter().enumerate() {
            for position in length - new..*length {
                let from = of
                    .window
                    .map_or(0, |window| (position + 1).saturating_sub(window));
                for (head, (out, query)) in outs.by_ref().take(of.heads).enumerate() {
                    let at = head / group * size..(head / group + 1) * size;
                    arithmetic::attend(
                        query,
                        |t| &keys[sequence][t][at.clone()],
                        |t| &values[sequence][t][at.clone()],
                        from..position + 1,
                        attention,
                        out,
                    );
                }
            }
        }
        all
    }

    /// Tiles of query heads for `attend_rows`: sequence and first pair of each.
    pub fn tiles(&self) -> Vec<u32> {
        let group = self.attention.heads / self.attention.kv_heads;
        let mut tiles = Vec::new();
        for (sequence, (_, new)) in self.sequences.iter().enumerate() {
            for first in (0..new * group).step_by(QUERY_TILE) {
                tiles.extend([sequence, first].map(number));
            }
        }
        tiles
    }
}

/// Positions and blocks of a check are few.
fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
