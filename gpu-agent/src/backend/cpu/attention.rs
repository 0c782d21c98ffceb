//! Causal grouped-query attention over the paged cache, one block of 16 tokens after the other.
//!
//! Softmax is computed online (Milakov and Gimelshein 2018; Dao et al. 2022): each block rescales what the blocks before
//! it summed. Blocks are visited in order of position whatever else is in the batch, so a query's result does not
//! depend on its neighbours.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use super::{
    Isa, Tensor,
    cache::{BLOCK_TOKENS, Cache},
    elementwise::{LANES, capped, exp},
    isa::for_every_isa,
    pool::{Parts, Pool},
};
use crate::backend::{
    batch::{Batch, Part},
    ops::{Attention, CacheShape},
};

/// Query tokens that share one reading of the cache.
const QUERY_TOKENS: usize = 16;
/// Partial sums of a score: hides the latency of the multiply-add.
const CHAINS: usize = 4;
/// Registers of sums that one walk over the values fills: a head of 64.
const COLUMNS: usize = 4;

/// Working memory of each thread.
pub(super) struct Scratch(Vec<Mutex<Room>>);

#[derive(Default)]
struct Room {
    keys: Vec<f32>,
    values: Vec<f32>,
    queries: Vec<Query>,
    /// Unnormalised results, `[queries, head_size]`
    sums: Vec<f32>,
}

impl Scratch {
    pub(super) fn new(threads: NonZeroUsize) -> Self {
        Self((0..threads.get()).map(|_| Mutex::default()).collect())
    }
}

/// One query head of one token.
#[derive(Debug, Clone, Copy)]
struct Query {
    /// Where it starts in the queries and in the output.
    at: usize,
    /// Tokens up to itself.
    visible: usize,
    /// Tokens of these that are before its window.
    hidden: usize,
    /// Largest score so far.
    largest: f32,
    /// Sum of the weights so far.
    total: f32,
}

/// Some query tokens of one sequence and one key head.
struct Task<'a> {
    sequence: Part<'a>,
    first: usize,
    tokens: usize,
    head: usize,
}

/// `out[row] = softmax(query · keys · scale) · values`, for every row and head of the batch.
#[expect(clippy::too_many_arguments, reason = "the operands of one kernel")]
pub(super) fn attend(
    pool: &Pool,
    isa: Isa,
    scratch: &Scratch,
    attention: Attention,
    cache: &Cache,
    layer: usize,
    queries: &Tensor,
    batch: &Batch,
    out: &mut Tensor,
) {
    let heads = cache.shape().heads;
    let tasks: Vec<Task<'_>> = batch
        .parts()
        .flat_map(|sequence| tasks(sequence, heads))
        .collect();
    let width = out.width;
    let out = Parts::new(out.resize(queries.rows));
    pool.run(tasks.len(), &|thread, index| {
        let room = &mut *scratch.0[thread].lock().unwrap_or_else(PoisonError::into_inner);
        tasks[index].run(isa, attention, cache, layer, queries, room);
        Task::write(cache.shape(), room, width, &out);
    });
}

fn tasks(sequence: Part<'_>, heads: usize) -> impl Iterator<Item = Task<'_>> {
    (0..sequence.tokens).step_by(QUERY_TOKENS).flat_map(move |first| {
        let tokens = QUERY_TOKENS.min(sequence.tokens - first);
        (0..heads).map(move |head| Task {
            sequence,
            first,
            tokens,
            head,
        })
    })
}

impl Task<'_> {
    fn run(
        &self,
        isa: Isa,
        attention: Attention,
        cache: &Cache,
        layer: usize,
        queries: &Tensor,
        room: &mut Room,
    ) {
        let CacheShape { heads, head_size, .. } = cache.shape();
        let per_key = queries.width / (heads * head_size);
        let before = self.sequence.before();
        let window = attention.window.unwrap_or(usize::MAX);
        room.queries.clear();
        for token in self.first..self.first + self.tokens {
            for query in 0..per_key {
                let at =
                    (self.sequence.start + token) * queries.width + (self.head * per_key + query) * head_size;
                let visible = before + token + 1;
                room.queries.push(Query {
                    at,
                    visible,
                    hidden: visible.saturating_sub(window),
                    largest: f32::NEG_INFINITY,
                    total: 0.0,
                });
            }
        }
        room.sums.clear();
        room.sums.resize(room.queries.len() * head_size, 0.0);
        room.keys.resize(BLOCK_TOKENS * head_size, 0.0);
        room.values.resize(BLOCK_TOKENS * head_size, 0.0);
        let last = before + self.first + self.tokens;
        let first = (before + self.first + 1).saturating_sub(window) / BLOCK_TOKENS;
        for (index, block) in self.sequence.blocks[..last.div_ceil(BLOCK_TOKENS)]
            .iter()
            .enumerate()
            .skip(first)
        {
            let keys = cache.keys(layer, *block as usize, self.head, &mut room.keys);
            let values = cache.values(layer, *block as usize, self.head, &mut room.values);
            let seen = index * BLOCK_TOKENS;
            attend_block(
                isa,
                attention,
                queries.values(),
                keys,
                values,
                seen,
                &mut room.queries,
                &mut room.sums,
            );
        }
    }

    #[expect(unsafe_code, reason = "threads write disjoint heads of one output")]
    fn write(shape: CacheShape, room: &Room, width: usize, out: &Parts<'_, f32>) {
        let CacheShape { heads, head_size, .. } = shape;
        let per_token = width / heads;
        for (group, sums) in room
            .queries
            .chunks_exact(per_token / head_size)
            .zip(room.sums.chunks_exact(per_token))
        {
            // SAFETY: these query heads of this token belong to this task alone.
            let out = unsafe { out.part(group[0].at, per_token) };
            for ((query, sums), out) in group
                .iter()
                .zip(sums.chunks_exact(head_size))
                .zip(out.chunks_exact_mut(head_size))
            {
                let scale = 1.0 / query.total;
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum * scale);
            }
        }
    }
}

for_every_isa! {
    /// Adds one block, whose first token has position `seen`, to every query's running softmax.
    #[expect(clippy::too_many_arguments, reason = "the operands of one kernel")]
    fn attend_block(
        attention: Attention,
        input: &[f32],
        keys: &[f32],
        values: &[f32],
        seen: usize,
        queries: &mut [Query],
        sums: &mut [f32],
    ) {
        let head_size = keys.len() / BLOCK_TOKENS;
        let keys = keys.as_chunks::<BLOCK_TOKENS>().0;
        for (query, sums) in queries.iter_mut().zip(sums.chunks_exact_mut(head_size)) {
            let visible = query.visible.saturating_sub(seen).min(BLOCK_TOKENS);
            let hidden = query.hidden.saturating_sub(seen);
            if visible <= hidden {
                continue;
            }
            let scores = scores(attention, &input[query.at..][..head_size], keys);
            let (weights, rescale) = query.add(&scores, hidden, visible);
            weighted_sum(&weights, visible, values, rescale, sums);
        }
    }
}

/// Scores of 16 tokens.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must be compiled with its caller's instruction set"
)]
fn scores(attention: Attention, query: &[f32], keys: &[[f32; BLOCK_TOKENS]]) -> [f32; BLOCK_TOKENS] {
    let scale = attention.scale;
    let mut chains = [[0.0f32; BLOCK_TOKENS]; CHAINS];
    let (elements, last_elements) = query.as_chunks::<CHAINS>();
    let (rows, last_rows) = keys.as_chunks::<CHAINS>();
    for (elements, rows) in elements.iter().zip(rows) {
        for ((chain, element), row) in chains.iter_mut().zip(elements).zip(rows) {
            add_scaled(chain, *element, row);
        }
    }
    for (element, row) in last_elements.iter().zip(last_rows) {
        add_scaled(&mut chains[0], *element, row);
    }
    let mut scores = [0.0; BLOCK_TOKENS];
    for (token, score) in scores.iter_mut().enumerate() {
        *score = ((chains[0][token] + chains[1][token]) + (chains[2][token] + chains[3][token])) * scale;
    }
    if let Some(cap) = attention.soft_cap {
        scores = scores.map(|score| capped(score, cap));
    }
    scores
}

impl Query {
    /// Takes the scores from `hidden` to `visible` into the running softmax: their weights, and what earlier sums are to be
    /// multiplied with.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "must be compiled with its caller's instruction set"
    )]
    fn add(
        &mut self,
        scores: &[f32; BLOCK_TOKENS],
        hidden: usize,
        visible: usize,
    ) -> ([f32; BLOCK_TOKENS], f32) {
        let largest = scores[hidden..visible]
            .iter()
            .fold(self.largest, |a, b| if *b > a { *b } else { a });
        let rescale = exp(self.largest - largest);
        let mut weights = [0.0f32; BLOCK_TOKENS];
        for (token, (weight, score)) in weights.iter_mut().zip(scores).enumerate() {
            let value = exp(score - largest);
            *weight = if (hidden..visible).contains(&token) {
                value
            } else {
                0.0
            };
        }
        self.largest = largest;
        self.total = self.total * rescale + weights.iter().sum::<f32>();
        (weights, rescale)
    }
}

/// `sums = sums · rescale + Σ weight · value`
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must be compiled with its caller's instruction set"
)]
fn weighted_sum(
    weights: &[f32; BLOCK_TOKENS],
    visible: usize,
    values: &[f32],
    rescale: f32,
    sums: &mut [f32],
) {
    let head_size = sums.len();
    let rows = || weights[..visible].iter().zip(values.chunks_exact(head_size));
    let (columns, last) = sums.as_chunks_mut::<LANES>();
    let done = columns.len() * LANES;
    let (wide, narrow) = columns.as_chunks_mut::<COLUMNS>();
    for (index, sums) in wide.iter_mut().enumerate() {
        let mut local = sums.map(|column| column.map(|sum| sum * rescale));
        for (weight, values) in rows() {
            let values = values.as_chunks::<LANES>().0.as_chunks::<COLUMNS>().0;
            for (sum, values) in local.iter_mut().zip(&values[index]) {
                add_scaled(sum, *weight, values);
            }
        }
        *sums = local;
    }
    let before = wide.len() * COLUMNS;
    for (index, sum) in narrow.iter_mut().enumerate() {
        let mut local = sum.map(|sum| sum * rescale);
        for (weight, values) in rows() {
            add_scaled(
                &mut local,
                *weight,
                &values.as_chunks::<LANES>().0[before + index],
            );
        }
        *sum = local;
    }
    for (offset, sum) in last.iter_mut().enumerate() {
        *sum *= rescale;
        for (weight, values) in rows() {
            *sum = weight.mul_add(values[done + offset], *sum);
        }
    }
}

/// `sums += factor · values`
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "must be compiled with its caller's instruction set"
)]
fn add_scaled(sums: &mut [f32; LANES], factor: f32, values: &[f32; LANES]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = factor.mul_add(*value, *sum);
    }
}
