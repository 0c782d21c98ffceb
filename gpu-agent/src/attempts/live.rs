//! Tokens of requests that have no result yet: shown, and never billed.

use cocoon_api::{TokenCount, Usage};

/// Tokens by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Live {
    pub(super) prompt: u64,
    pub(super) cached: u64,
    pub(super) completion: u64,
}

impl Live {
    pub(super) fn add(&mut self, other: Self) {
        self.prompt += other.prompt;
        self.cached += other.cached;
        self.completion += other.completion;
    }

    pub(super) fn subtract(&mut self, other: Self) {
        self.prompt -= other.prompt;
        self.cached -= other.cached;
        self.completion -= other.completion;
    }

    pub(super) fn usage(&self) -> Usage {
        // An attempt's tokens are far below the limit of the type.
        let count = |tokens| TokenCount::new(tokens).unwrap_or_default();
        Usage {
            prompt_tokens: count(self.prompt),
            cached_prompt_tokens: count(self.cached),
            completion_tokens: count(self.completion),
            ..Usage::default()
        }
    }
}
