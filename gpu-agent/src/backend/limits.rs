//! What a backend is sized for, and the budget that sizes it.

/// What a backend was sized for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rows, which are new tokens, of one batch.
    pub rows: usize,
    /// Rows of one batch whose logits or next tokens can be had.
    pub outputs: usize,
    /// Tokens of one sequence.
    pub context: usize,
    /// Blocks of the key/value cache.
    pub blocks: usize,
    /// Tokens of one block.
    pub block_tokens: usize,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
}

impl Limits {
    /// Blocks that hold `tokens` tokens.
    pub fn blocks_for(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.block_tokens)
    }

    /// Tokens that the whole cache holds.
    pub fn cache_tokens(&self) -> usize {
        self.blocks * self.block_tokens
    }
}

/// What may be spent on working memory and cache once the weights are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes on each device.
    pub bytes: u64,
    /// Rows of one batch.
    pub rows: usize,
    /// Rows of one batch whose logits or next tokens can be had.
    pub outputs: usize,
    /// Tokens of one sequence. The cache holds at least one whole sequence.
    pub context: usize,
    /// Tokens that the cache shall hold at most, over all sequences.
    pub cache_tokens: usize,
}
