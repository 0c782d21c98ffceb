//! Attention by the definition, on keys and values gathered from the cache.

use super::{Job, Query, Task, write};
use crate::backend::{
    arithmetic::{self, attend as definition},
    cpu::{cache::BLOCK_TOKENS, pool::Parts},
};

/// Computes all queries of a task.
pub(super) fn attend(task: &Task<'_>, job: &Job<'_>, queries: &[Query], out: &Parts<'_, f32>) {
    let head_size = job.cache.shape().head_size;
    let end = task.seen(queries).end;
    let mut keys = vec![0.0; end.next_multiple_of(BLOCK_TOKENS) * head_size];
    let mut values = keys.clone();
    let mut room = vec![0.0; BLOCK_TOKENS * head_size];
    let blocks = keys
        .chunks_exact_mut(room.len())
        .zip(values.chunks_exact_mut(BLOCK_TOKENS * head_size));
    for (number, (keys, values)) in task.sequence.blocks.iter().zip(blocks) {
        let block = job.cache.keys(job.layer, *number as usize, task.head, &mut room);
        for (element, row) in block.chunks_exact(BLOCK_TOKENS).enumerate() {
            for (token, key) in row.iter().enumerate() {
                keys[token * head_size + element] = *key;
            }
        }
        values.copy_from_slice(
            job.cache
                .values(job.layer, *number as usize, task.head, &mut room),
        );
    }
    let attention = arithmetic::Attention {
        scale: job.attention.scale,
        soft_cap: job.attention.soft_cap,
    };
    let mut result = vec![0.0; head_size];
    for query in queries {
        definition(
            &job.queries.values()[query.at..][..head_size],
            |position| &keys[position * head_size..][..head_size],
            |position| &values[position * head_size..][..head_size],
            query.visible.clone(),
            attention,
            &mut result,
        );
        write(out, query.at, &result, 1.0);
    }
}
