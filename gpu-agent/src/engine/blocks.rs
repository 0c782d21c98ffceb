//! Which blocks of the key/value cache are free.

/// The blocks of a cache. Each is free or belongs to one sequence.
#[derive(Debug)]
pub struct BlockPool {
    /// Free blocks; the last is handed out first.
    free: Vec<u32>,
    total: usize,
    block_tokens: usize,
}

impl BlockPool {
    /// A pool of `total` free blocks of `block_tokens` tokens each.
    pub fn new(total: usize, block_tokens: usize) -> Self {
        let free: Vec<u32> = (0u32..).take(total).collect();
        Self {
            free: free.into_iter().rev().collect(),
            total,
            block_tokens,
        }
    }

    /// Blocks for `tokens` tokens, or `None` while too few are free.
    pub fn take(&mut self, tokens: usize) -> Option<Vec<u32>> {
        let remaining = self.free.len().checked_sub(tokens.div_ceil(self.block_tokens))?;
        Some(self.free.split_off(remaining))
    }

    /// Takes back what [`BlockPool::take`] handed out.
    ///
    /// # Panics
    /// More blocks come back than were handed out.
    pub fn give_back(&mut self, blocks: Vec<u32>) {
        self.free.extend(blocks);
        assert!(self.free.len() <= self.total, "blocks were given back twice");
    }

    /// Blocks in use.
    pub fn used(&self) -> usize {
        self.total - self.free.len()
    }

    /// Blocks in all.
    pub fn total(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_never_handed_out_twice() {
        let mut pool = BlockPool::new(4, 16);
        let first = pool.take(17).expect("two blocks");
        let second = pool.take(32).expect("two blocks");
        assert!(pool.take(1).is_none());
        assert!(first.iter().all(|block| !second.contains(block)));
        pool.give_back(first);
        assert_eq!(pool.used(), 2);
        assert!(pool.take(32).is_some());
    }

    #[test]
    fn nothing_is_taken_when_too_little_is_free() {
        let mut pool = BlockPool::new(2, 16);
        assert!(pool.take(33).is_none());
        assert_eq!(pool.used(), 0);
    }
}
