//! Causal grouped-query attention over the paged cache, one chunk of 64 positions after the other.
//!
//! Chunks begin at multiples of 64 positions and are visited in order, whatever else is in the batch. Within a chunk
//! all scores come first, then their weights relative to the chunk's largest score, then the weighted values; a chunk's
//! result is added to what the chunks before it summed (Dao et al. 2022). A query's result depends on its sequence
//! alone.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod kernel;
mod scalar;
mod softmax;

use std::{
    num::NonZeroUsize,
    ops::Range,
    sync::{Mutex, PoisonError},
};

use softmax::{State, combine, weigh};

use super::{
    Isa, Tensor,
    cache::{BLOCK_TOKENS, Cache},
    pool::{Parts, Pool},
};
use crate::backend::{
    arithmetic::CHUNK,
    batch::{Batch, Part},
    ops::{Attention, CacheShape},
};

/// Query tokens that share one reading of the cache.
const QUERY_TOKENS: usize = 16;
/// Blocks of a chunk.
const CHUNK_BLOCKS: usize = CHUNK / BLOCK_TOKENS;

/// Working memory of each thread.
pub(super) struct Scratch(Vec<Mutex<Room>>);

#[derive(Default)]
struct Room {
    /// Keys or values of one block as floats.
    block: Vec<f32>,
    queries: Vec<Query>,
    /// Scores of the chunk at hand, then their weights, `[queries, 64]`
    scores: Vec<[f32; CHUNK]>,
    /// Weighted values of the chunk at hand, `[queries, head_size]`
    chunk_sums: Vec<f32>,
    /// Weighted values of all chunks so far, `[queries, head_size]`
    sums: Vec<f32>,
}

impl Scratch {
    pub(super) fn new(threads: NonZeroUsize) -> Self {
        Self((0..threads.get()).map(|_| Mutex::default()).collect())
    }
}

/// One query head of one token.
#[derive(Debug, Clone)]
struct Query {
    /// Where it starts in the queries and in the output.
    at: usize,
    /// Positions that it sees.
    visible: Range<usize>,
    /// Of the chunks so far; `None` before the first.
    state: Option<State>,
}

impl Query {
    /// What it sees of `count` positions from `first` on, counted from there.
    fn within(&self, first: usize, count: usize) -> Range<usize> {
        let clamp = |position: usize| position.clamp(first, first + count) - first;
        clamp(self.visible.start)..clamp(self.visible.end)
    }
}

/// Some query tokens of one sequence and one key head.
struct Task<'a> {
    sequence: Part<'a>,
    first: usize,
    tokens: usize,
    head: usize,
}

/// What all tasks share.
struct Job<'a> {
    isa: Isa,
    attention: Attention,
    cache: &'a Cache,
    layer: usize,
    queries: &'a Tensor,
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
    let out = Parts::new(out.resize(queries.rows));
    let job = Job {
        isa,
        attention,
        cache,
        layer,
        queries,
    };
    pool.run(tasks.len(), &|thread, index| {
        let room = &mut *scratch.0[thread].lock().unwrap_or_else(PoisonError::into_inner);
        tasks[index].run(&job, room, &out);
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
    fn run(&self, job: &Job<'_>, room: &mut Room, out: &Parts<'_, f32>) {
        self.collect_queries(job, &mut room.queries);
        if job.isa == Isa::Scalar {
            scalar::attend(self, job, &room.queries, out);
            return;
        }
        let head_size = job.cache.shape().head_size;
        let length = room.queries.len() * head_size;
        room.sums.resize(length.max(room.sums.len()), 0.0);
        room.chunk_sums.resize(length.max(room.chunk_sums.len()), 0.0);
        room.scores
            .resize(room.queries.len().max(room.scores.len()), [0.0; CHUNK]);
        room.block.resize(BLOCK_TOKENS * head_size, 0.0);
        let seen = self.seen(&room.queries);
        for chunk in seen.start / CHUNK..seen.end.div_ceil(CHUNK) {
            self.attend_chunk(job, chunk, seen.end, room);
        }
        for (query, sums) in room.queries.iter().zip(room.sums.chunks_exact(head_size)) {
            let total = query.state.as_ref().map_or(1.0, |state| state.total);
            write(out, query.at, sums, total);
        }
    }

    /// Every query head that shares this key head, of every token.
    fn collect_queries(&self, job: &Job<'_>, queries: &mut Vec<Query>) {
        let CacheShape { heads, head_size, .. } = job.cache.shape();
        let width = job.queries.width;
        let per_key = width / (heads * head_size);
        let window = job.attention.window.unwrap_or(usize::MAX);
        queries.clear();
        for token in self.first..self.first + self.tokens {
            let end = self.sequence.before() + token + 1;
            for query in 0..per_key {
                queries.push(Query {
                    at: (self.sequence.start + token) * width + (self.head * per_key + query) * head_size,
                    visible: end.saturating_sub(window)..end,
                    state: None,
                });
            }
        }
    }

    /// Positions that any of the queries sees.
    fn seen(&self, queries: &[Query]) -> Range<usize> {
        let start = queries.first().map_or(0, |query| query.visible.start);
        start..self.sequence.before() + self.first + self.tokens
    }

    fn attend_chunk(&self, job: &Job<'_>, chunk: usize, end: usize, room: &mut Room) {
        let CacheShape { head_size, .. } = job.cache.shape();
        let first = chunk * CHUNK;
        let blocks = chunk * CHUNK_BLOCKS..end.div_ceil(BLOCK_TOKENS).min((chunk + 1) * CHUNK_BLOCKS);
        let Room {
            block: floats,
            queries,
            scores,
            chunk_sums,
            sums,
        } = room;
        for block in blocks.clone() {
            let number = self.sequence.blocks[block] as usize;
            let keys = job.cache.keys(job.layer, number, self.head, floats);
            for (query, scores) in queries.iter().zip(&mut *scores) {
                if !query.within(block * BLOCK_TOKENS, BLOCK_TOKENS).is_empty() {
                    let input = &job.queries.values()[query.at..][..head_size];
                    let at = block * BLOCK_TOKENS - first;
                    add_scores(job.isa, input, keys, &mut scores[at..at + BLOCK_TOKENS]);
                }
            }
        }
        let mut states = Vec::with_capacity(queries.len());
        for (query, scores) in queries.iter().zip(&mut *scores) {
            let visible = query.within(first, CHUNK);
            let Attention { scale, soft_cap, .. } = job.attention;
            states.push(
                (!visible.is_empty())
                    .then(|| weigh(job.isa, scale, soft_cap, visible.start, visible.end, scores)),
            );
        }
        chunk_sums.fill(0.0);
        for block in blocks {
            let number = self.sequence.blocks[block] as usize;
            let values = job.cache.values(job.layer, number, self.head, floats);
            let rows = queries
                .iter()
                .zip(&*scores)
                .zip(chunk_sums.chunks_exact_mut(head_size));
            for ((query, weights), sums) in rows {
                let visible = query.within(block * BLOCK_TOKENS, BLOCK_TOKENS);
                let weights = &weights[block * BLOCK_TOKENS - first..][visible.clone()];
                add_values(job.isa, weights, &values[visible.start * head_size..], sums);
            }
        }
        let rows = sums
            .chunks_exact_mut(head_size)
            .zip(chunk_sums.chunks_exact(head_size));
        for ((query, state), (sums, chunk_sums)) in queries.iter_mut().zip(states).zip(rows) {
            let Some(state) = state else { continue };
            match &mut query.state {
                None => {
                    sums.copy_from_slice(chunk_sums);
                    query.state = Some(state);
                }
                Some(before) => combine(job.isa, before, sums, &state, chunk_sums),
            }
        }
    }
}

/// Scores of 16 positions, not scaled yet.
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(unused_variables, reason = "portable code has its own way")
)]
fn add_scores(isa: Isa, query: &[f32], keys: &[f32], scores: &mut [f32]) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => avx512::scores(query, keys, scores),
        #[cfg(target_arch = "x86_64")]
        _ => avx2::scores(query, keys, scores),
        #[cfg(not(target_arch = "x86_64"))]
        _ => unreachable!("portable code has its own way"),
    }
}

/// `sums += weight · value`, one position after the other.
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(unused_variables, reason = "portable code has its own way")
)]
fn add_values(isa: Isa, weights: &[f32], values: &[f32], sums: &mut [f32]) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => avx512::add_values(weights, values, sums),
        #[cfg(target_arch = "x86_64")]
        _ => avx2::add_values(weights, values, sums),
        #[cfg(not(target_arch = "x86_64"))]
        _ => unreachable!("portable code has its own way"),
    }
}

/// Puts a query's result, not yet divided by the sum of its weights, in its place.
#[expect(unsafe_code, reason = "threads write disjoint heads of one output")]
fn write(out: &Parts<'_, f32>, at: usize, sums: &[f32], total: f32) {
    let scale = 1.0 / total;
    // SAFETY: this query head of this token belongs to one task alone.
    let out = unsafe { out.part(at, sums.len()) };
    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum * scale);
}

#[cfg(test)]
mod tests;
