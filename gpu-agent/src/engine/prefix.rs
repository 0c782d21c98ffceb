//! Names of full blocks by all that led to them: equal names have equal keys and values.

use sha2::{Digest as _, Sha256};

/// Digest of a full block's tokens and of the block before it, and so of the whole sequence up to its end. It is a
/// cryptographic one: whoever writes prompts must not find two that share a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockName([u8; 32]);

impl BlockName {
    /// The name of a block that holds `tokens` after the block `before`, or at the start of a sequence.
    pub fn of(before: Option<&Self>, tokens: &[u32]) -> Self {
        let mut hash = Sha256::new();
        hash.update(before.map_or([0; 32], |name| name.0));
        for token in tokens {
            hash.update(token.to_le_bytes());
        }
        Self(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_what_came_before() {
        let first = BlockName::of(None, &[1, 2]);
        assert_eq!(first, BlockName::of(None, &[1, 2]));
        assert_ne!(first, BlockName::of(None, &[2, 1]));
        assert_ne!(BlockName::of(Some(&first), &[3, 4]), BlockName::of(None, &[3, 4]));
    }
}
