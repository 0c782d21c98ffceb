//! How fast a backend decodes, before it serves.

use std::time::Instant;

use crate::backend::{Backend, Batch, ForwardError, Limits, SampleSpec};

/// Tokens of the measurement at start: long enough to warm caches, about a tenth of a second.
const MEASURED_TOKENS: usize = 16;

/// Tokens a second of one sequence, measured on an idle backend; also touches all weights once.
///
/// # Errors
/// The device fails, or the model has no finite result.
#[expect(clippy::cast_precision_loss, reason = "a few tokens")]
pub fn measure(backend: &mut dyn Backend) -> Result<f64, ForwardError> {
    let limits: Limits = *backend.limits();
    let tokens = MEASURED_TOKENS.min(limits.context).min(limits.cache_tokens());
    let table: Vec<u32> = (0u32..).take(limits.blocks_for(tokens)).collect();
    let mut batch = Batch::new(limits.block_tokens);
    let mut started = Instant::now();
    for position in 0..tokens {
        if position == 1 {
            started = Instant::now();
        }
        batch.clear();
        let row = batch.push(&[0], position, &table);
        batch.want(row);
        backend.step(&batch, &[SampleSpec::GREEDY])?;
    }
    Ok(tokens.saturating_sub(1) as f64 / started.elapsed().as_secs_f64())
}
