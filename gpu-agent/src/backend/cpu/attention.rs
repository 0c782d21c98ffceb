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
    Cache, Isa, Tensor,
    elementwise::exp,
    isa::for_every_isa,
    pool::{Parts, Pool},
};
use crate::backend::{BLOCK_TOKENS, Batch, SequenceSlice, ops::CacheShape};

/// Query tokens that share one reading of the cache.
const QUERY_TOKENS: usize = 16;
/// Partial sums of a score: hides the latency of the multiply-add.
const CHAINS: usize = 4;

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
    /// Tokens that it may see.
    visible: usize,
    /// Largest score so far.
    largest: f32,
    /// Sum of the weights so far.
    total: f32,
}

/// Some query tokens of one sequence and one key head.
struct Task<'a> {
    sequence: &'a SequenceSlice,
    first: usize,
    tokens: usize,
    head: usize,
}

/// `out[row] = softmax(query · keys / √head_size) · values`, for every row and head of the batch.
#[expect(clippy::too_many_arguments, reason = "the operands of one kernel")]
pub(super) fn attend(
    pool: &Pool,
    isa: Isa,
    scratch: &Scratch,
    cache: &Cache,
    layer: usize,
    queries: &Tensor,
    batch: &Batch,
    out: &mut Tensor,
) {
    let heads = cache.shape().heads;
    let tasks: Vec<Task<'_>> = batch.sequences.iter().flat_map(|sequence| tasks(sequence, heads)).collect();
    let width = out.width;
    let out = Parts::new(out.resize(queries.rows));
    pool.run(tasks.len(), &|thread, index| {
        let room = &mut *scratch.0[thread].lock().unwrap_or_else(PoisonError::into_inner);
        tasks[index].run(isa, cache, layer, queries, room);
        tasks[index].write(cache.shape(), room, width, &out);
    });
}

fn tasks(sequence: &SequenceSlice, heads: usize) -> impl Iterator<Item = Task<'_>> {
    (0..sequence.tokens).step_by(QUERY_TOKENS).flat_map(move |first| {
        let tokens = QUERY_TOKENS.min(sequence.tokens - first);
        (0..heads).map(move |head| Task { sequence, first, tokens, head })
    })
}

impl Task<'_> {
    fn run(&self, isa: Isa, cache: &Cache, layer: usize, queries: &Tensor, room: &mut Room) {
        let CacheShape { heads, head_size, .. } = cache.shape();
        let per_key = queries.width / (heads * head_size);
        let before = self.sequence.length - self.sequence.tokens;
        room.queries.clear();
        for token in self.first..self.first + self.tokens {
            for query in 0..per_key {
                let at = (self.sequence.start + token) * queries.width + (self.head * per_key + query) * head_size;
                let visible = before + token + 1;
                room.queries.push(Query { at, visible, largest: f32::NEG_INFINITY, total: 0.0 });
            }
        }
        room.sums.clear();
        room.sums.resize(room.queries.len() * head_size, 0.0);
        room.keys.resize(BLOCK_TOKENS * head_size, 0.0);
        room.values.resize(BLOCK_TOKENS * head_size, 0.0);
        let last = before + self.first + self.tokens;
        for (index, block) in self.sequence.block_table[..last.div_ceil(BLOCK_TOKENS)].iter().enumerate() {
            let keys = cache.keys(layer, *block as usize, self.head, &mut room.keys);
            let values = cache.values(layer, *block as usize, self.head, &mut room.values);
            let seen = index * BLOCK_TOKENS;
            attend_block(isa, queries.values(), keys, values, seen, &mut room.queries, &mut room.sums);
        }
    }

    #[expect(unsafe_code, reason = "threads write disjoint heads of one output")]
    fn write(&self, shape: CacheShape, room: &Room, width: usize, out: &Parts<'_, f32>) {
        let CacheShape { heads, head_size, .. } = shape;
        let per_token = width / heads;
        for (group, sums) in room.queries.chunks_exact(per_token / head_size).zip(room.sums.chunks_exact(per_token)) {
            // SAFETY: these query heads of this token belong to this task alone.
            let out = unsafe { out.part(group[0].at, per_token) };
            for ((query, sums), out) in
                group.iter().zip(sums.chunks_exact(head_size)).zip(out.chunks_exact_mut(head_size))
            {
                let scale = 1.0 / query.total;
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum * scale);
            }
        }
    }
}

for_every_isa! {
    /// Adds one block, whose first token has position `seen`, to every query's running softmax.
    fn attend_block(
        q: &[f32],
        keys: &[f32],
        values: &[f32],
        seen: usize,
        queries: &mut [Query],
        sums: &mut [f32],
    ) {
        let head_size = keys.len() / BLOCK_TOKENS;
        let scale = 1.0 / (head_size as f32).sqrt();
        let keys = keys.as_chunks::<BLOCK_TOKENS>().0;
        for (query, sums) in queries.iter_mut().zip(sums.chunks_exact_mut(head_size)) {
            let visible = query.visible.saturating_sub(seen).min(BLOCK_TOKENS);
            if visible == 0 {
                continue;
            }
            let mut chains = [[0.0f32; BLOCK_TOKENS]; CHAINS];
            let q = &q[query.at..][..head_size];
            let mut elements = q.chunks_exact(CHAINS);
            let mut key_rows = keys.chunks_exact(CHAINS);
            for (elements, keys) in (&mut elements).zip(&mut key_rows) {
                for ((chain, element), keys) in chains.iter_mut().zip(elements).zip(keys) {
                    for (sum, key) in chain.iter_mut().zip(keys) {
                        *sum = element.mul_add(*key, *sum);
                    }
                }
            }
            for ((chain, element), keys) in chains.iter_mut().zip(elements.remainder()).zip(key_rows.remainder()) {
                for (sum, key) in chain.iter_mut().zip(keys) {
                    *sum = element.mul_add(*key, *sum);
                }
            }
            let [a, b, c, d] = &chains;
            let mut scores = [f32::NEG_INFINITY; BLOCK_TOKENS];
            let mut largest = query.largest;
            for index in 0..BLOCK_TOKENS {
                let score = ((a[index] + b[index]) + (c[index] + d[index])) * scale;
                scores[index] = if index < visible { score } else { f32::NEG_INFINITY };
            }
            for score in scores {
                largest = if score > largest { score } else { largest };
            }
            let rescale = exp(query.largest - largest);
            let mut weights = [0.0f32; BLOCK_TOKENS];
            for index in 0..BLOCK_TOKENS {
                let weight = exp(scores[index] - largest);
                weights[index] = if index < visible { weight } else { 0.0 };
            }
            query.largest = largest;
            query.total = query.total * rescale + weights.iter().sum::<f32>();
            let (lanes, rest) = sums.as_chunks_mut::<BLOCK_TOKENS>();
            for (column, sums) in lanes.iter_mut().enumerate() {
                let mut sum = *sums;
                for value in &mut sum {
                    *value *= rescale;
                }
                for (weight, values) in weights.iter().zip(values.chunks_exact(head_size)).take(visible) {
                    let values = &values[column * BLOCK_TOKENS..][..BLOCK_TOKENS];
                    for (sum, value) in sum.iter_mut().zip(values) {
                        *sum = weight.mul_add(*value, *sum);
                    }
                }
                *sums = sum;
            }
            let done = head_size - rest.len();
            for (offset, sum) in rest.iter_mut().enumerate() {
                *sum *= rescale;
                for (weight, values) in weights.iter().zip(values.chunks_exact(head_size)).take(visible) {
                    *sum = weight.mul_add(values[done + offset], *sum);
                }
            }
        }
    }
}
