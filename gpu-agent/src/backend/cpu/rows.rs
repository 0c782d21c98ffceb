//! Work on the rows of activations, shared out among threads.

use super::pool::{Parts, Pool};

/// Rows of one chunk: batches of up to as many, which decode, are not worth waking a thread for.
const ROWS_PER_CHUNK: usize = 8;

/// Calls `work(row, values)` for every row of `[rows, width]`.
#[expect(unsafe_code, reason = "threads write disjoint rows")]
pub(super) fn each_row<T: Send>(
    pool: &Pool,
    values: &mut [T],
    width: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let rows = values.len() / width;
    let parts = Parts::new(values);
    pool.run(rows.div_ceil(ROWS_PER_CHUNK), &|_, chunk| {
        for row in chunk * ROWS_PER_CHUNK..rows.min((chunk + 1) * ROWS_PER_CHUNK) {
            // SAFETY: every row belongs to one chunk.
            work(row, unsafe { parts.part(row * width, width) });
        }
    });
}
