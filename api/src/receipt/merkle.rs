//! Merkle trees: over the tokens of a prompt and its answer, and over digests.

use sha2::{Digest as _, Sha256};

use super::{encoding::Encoder, hex_array::Sha256Digest};

const TAG: &[u8] = b"cocoon.farm/tokens-root/v1";
/// Before a leaf and before a node, as RFC 6962, section 2.1, has it: no node can be taken for a leaf.
const LEAF: [u8; 1] = [0];
const NODE: [u8; 1] = [1];

/// Root of the Merkle tree (the shape of RFC 6962, section 2.1) over the token ids of the prompt, then of the answer,
/// each four bytes in big-endian order; hashed with both counts, so that no token of one can be taken for one of the
/// other.
///
/// A tree rather than one digest: to dispute the n-th token of an answer, one token and log₂ of the number of tokens
/// digests are shown, and none of the others.
pub fn tokens_root(prompt: &[u32], completion: &[u32]) -> Sha256Digest {
    let mut tree = Tree::default();
    for token in prompt.iter().chain(completion) {
        tree.push(&token.to_be_bytes());
    }
    let mut encoder = Encoder::new(TAG);
    encoder.integer(prompt.len() as u64);
    encoder.integer(completion.len() as u64);
    encoder.bytes(&tree.root());
    encoder.finish()
}

/// Root of the Merkle tree (RFC 6962, section 2.1) over digests.
pub fn merkle_root(leaves: impl IntoIterator<Item = Sha256Digest>) -> Sha256Digest {
    let mut tree = Tree::default();
    for leaf in leaves {
        tree.push(&leaf.0);
    }
    Sha256Digest(tree.root())
}

/// Roots of complete subtrees from left to right, each with its number of leaves, a power of two; they fall in size.
#[derive(Default)]
struct Tree(Vec<(usize, [u8; 32])>);

impl Tree {
    fn push(&mut self, leaf: &[u8]) {
        let mut hash = Sha256::new();
        hash.update(LEAF);
        hash.update(leaf);
        let mut added = (1, hash.finalize().into());
        while let Some((leaves, left)) = self.0.pop_if(|(leaves, _)| *leaves == added.0) {
            added = (leaves * 2, node(&left, &added.1));
        }
        self.0.push(added);
    }

    /// The digest of nothing where there is no leaf.
    fn root(&self) -> [u8; 32] {
        let roots = self.0.iter().rev().map(|(_, root)| *root);
        roots
            .reduce(|right, left| node(&left, &right))
            .unwrap_or_else(|| Sha256::digest([]).into())
    }
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(NODE);
    hash.update(left);
    hash.update(right);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition of RFC 6962, word by word.
    fn reference(tokens: &[u32]) -> [u8; 32] {
        match tokens {
            [] => Sha256::digest([]).into(),
            [token] => {
                let mut hash = Sha256::new();
                hash.update([0]);
                hash.update(token.to_be_bytes());
                hash.finalize().into()
            }
            more => {
                let left = more.len().next_power_of_two() / 2;
                node(&reference(&more[..left]), &reference(&more[left..]))
            }
        }
    }

    fn tree(tokens: &[u32]) -> [u8; 32] {
        let mut tree = Tree::default();
        for token in tokens {
            tree.push(&token.to_be_bytes());
        }
        tree.root()
    }

    #[test]
    fn a_token_of_the_prompt_is_none_of_the_answer() {
        assert_ne!(tokens_root(&[1, 2], &[3]), tokens_root(&[1], &[2, 3]));
        assert_ne!(tokens_root(&[1], &[2]), tokens_root(&[1], &[3]));
        assert_eq!(tokens_root(&[1], &[2]), tokens_root(&[1], &[2]));
    }

    proptest! {
        #[test]
        fn the_tree_is_that_of_the_definition(tokens in proptest::collection::vec(any::<u32>(), 0..70)) {
            prop_assert_eq!(tree(&tokens), reference(&tokens));
        }
    }
}
