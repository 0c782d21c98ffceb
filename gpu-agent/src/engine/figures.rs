//! What a running engine counts.

use std::sync::atomic::{AtomicU64, Ordering};

use cocoon_api::Usage;

/// Figures of a running engine, for metrics.
#[derive(Debug, Default)]
pub struct Figures {
    /// Prompt tokens computed, each request's once.
    pub prompt_tokens: AtomicU64,
    /// Prompt tokens that came from the prefix cache.
    pub cached_prompt_tokens: AtomicU64,
    /// Tokens sampled.
    pub completion_tokens: AtomicU64,
    /// Batches computed.
    pub batches: AtomicU64,
    /// Microseconds spent in the backend.
    pub busy_micros: AtomicU64,
    /// Times that a sequence lost its blocks to an older one.
    pub preemptions: AtomicU64,
    /// Sequences that are being computed.
    pub running: AtomicU64,
    /// Sequences that wait for a place or for blocks.
    pub waiting: AtomicU64,
    /// Cache blocks in use.
    pub blocks_used: AtomicU64,
}

impl Figures {
    /// Adds another engine's figures to these.
    pub(super) fn include(&self, other: &Self) {
        let Self {
            prompt_tokens,
            cached_prompt_tokens,
            completion_tokens,
            batches,
            busy_micros,
            preemptions,
            running,
            waiting,
            blocks_used,
        } = self;
        for (sum, more) in [
            (prompt_tokens, &other.prompt_tokens),
            (cached_prompt_tokens, &other.cached_prompt_tokens),
            (completion_tokens, &other.completion_tokens),
            (batches, &other.batches),
            (busy_micros, &other.busy_micros),
            (preemptions, &other.preemptions),
            (running, &other.running),
            (waiting, &other.waiting),
            (blocks_used, &other.blocks_used),
        ] {
            sum.fetch_add(more.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    pub(super) fn add(counter: &AtomicU64, value: usize) {
        counter.fetch_add(value as u64, Ordering::Relaxed);
    }

    pub(super) fn add_prompt(&self, usage: Usage) {
        self.prompt_tokens
            .fetch_add(usage.prompt_tokens.get(), Ordering::Relaxed);
        self.cached_prompt_tokens
            .fetch_add(usage.cached_prompt_tokens.get(), Ordering::Relaxed);
    }

    pub(super) fn set(gauge: &AtomicU64, value: usize) {
        gauge.store(value as u64, Ordering::Relaxed);
    }
}
