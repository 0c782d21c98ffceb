//! The tokens of a prompt and its answer as they travel with a result and are kept beside it: whoever has them counts
//! the bill again and computes the root that the receipt names.

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};

use super::{hex_array::Sha256Digest, merkle::tokens_root};
use crate::units::Usage;

/// Bits of an id in one byte of LEB128; the eighth says whether more follow.
const BITS: u32 = 7;
const MORE: u8 = 0x80;

/// Token ids as text: each id in LEB128 (seven bits a byte, the lowest first, with no byte more than it needs), all of
/// them as base64 without padding. An id of a vocabulary of 150,000 takes four characters at most, an ordinary one less
/// than three.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenIds(String);

/// The tokens of one request: of its prompt as the model saw it, and of all that was sampled, a last one that ends the
/// answer included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnswerTokens {
    /// Of the prompt.
    pub prompt: TokenIds,
    /// Of the answer.
    pub completion: TokenIds,
}

/// Why tokens are not those of a receipt. It repeats none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// The text is not what ids are written as.
    #[error("its tokens cannot be read")]
    Form,
    /// There are more or fewer than are billed.
    #[error("it bills another number of tokens than there are")]
    Count,
    /// They are others than those that were signed.
    #[error("its tokens are not those that were signed")]
    Root,
}

impl TokenIds {
    /// Writes ids.
    pub fn new(ids: &[u32]) -> Self {
        let mut bytes = Vec::with_capacity(3 * ids.len());
        for id in ids {
            let mut left = *id;
            while left >> BITS != 0 {
                bytes.push(left.to_le_bytes()[0] | MORE);
                left >>= BITS;
            }
            bytes.push(left.to_le_bytes()[0]);
        }
        Self(BASE64_STANDARD_NO_PAD.encode(bytes))
    }

    /// Reads them.
    pub fn ids(&self) -> Result<Vec<u32>, TokensError> {
        let bytes = BASE64_STANDARD_NO_PAD
            .decode(&self.0)
            .map_err(|_| TokensError::Form)?;
        let mut ids = Vec::with_capacity(bytes.len() / 2);
        let (mut id, mut shift) = (0_u32, 0);
        for byte in bytes {
            let part = u32::from(byte & !MORE);
            // What does not fit 32 bits, or ends with nothing, has another text.
            let placed = part
                .checked_shl(shift)
                .filter(|placed| placed >> shift == part)
                .ok_or(TokensError::Form)?;
            id |= placed;
            shift += BITS;
            if byte & MORE == 0 {
                if part == 0 && shift > BITS {
                    return Err(TokensError::Form);
                }
                ids.push(id);
                (id, shift) = (0, 0);
            }
        }
        if shift == 0 {
            Ok(ids)
        } else {
            Err(TokensError::Form)
        }
    }

    /// Characters of the text.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Tokens are as private as the text that they make.
impl std::fmt::Debug for TokenIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenIds({} characters)", self.0.len())
    }
}

impl AnswerTokens {
    /// Of a prompt and its answer.
    pub fn new(prompt: &[u32], completion: &[u32]) -> Self {
        Self {
            prompt: TokenIds::new(prompt),
            completion: TokenIds::new(completion),
        }
    }

    /// Whether a receipt with this root and these counts is about these tokens.
    pub fn check(&self, root: Sha256Digest, usage: &Usage) -> Result<(), TokensError> {
        let (prompt, completion) = (self.prompt.ids()?, self.completion.ids()?);
        let Usage {
            prompt_tokens,
            cached_prompt_tokens,
            completion_tokens,
            reasoning_tokens,
        } = usage;
        let sum = |a: u64, b: u64| a.checked_add(b);
        let billed = (
            sum(prompt_tokens.get(), cached_prompt_tokens.get()),
            sum(completion_tokens.get(), reasoning_tokens.get()),
        );
        if billed != (Some(prompt.len() as u64), Some(completion.len() as u64)) {
            return Err(TokensError::Count);
        }
        if tokens_root(&prompt, &completion) != root {
            return Err(TokensError::Root);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::TokenCount;

    fn usage(prompt: u64, cached: u64, completion: u64, reasoning: u64) -> Usage {
        let count = |tokens| TokenCount::new(tokens).unwrap();
        Usage {
            prompt_tokens: count(prompt),
            cached_prompt_tokens: count(cached),
            completion_tokens: count(completion),
            reasoning_tokens: count(reasoning),
        }
    }

    #[test]
    fn tokens_are_those_of_a_receipt_by_number_and_by_root() {
        let tokens = AnswerTokens::new(&[1, 2, 3], &[4, 5]);
        let root = tokens_root(&[1, 2, 3], &[4, 5]);
        tokens.check(root, &usage(3, 0, 2, 0)).unwrap();
        tokens.check(root, &usage(1, 2, 1, 1)).unwrap();
        for wrong in [
            usage(2, 0, 2, 0),
            usage(3, 0, 3, 0),
            usage(3, 1, 2, 0),
            usage(5, 0, 0, 0),
        ] {
            assert_eq!(tokens.check(root, &wrong), Err(TokensError::Count));
        }
        let others = AnswerTokens::new(&[1, 2, 3], &[4, 6]);
        assert_eq!(others.check(root, &usage(3, 0, 2, 0)), Err(TokensError::Root));
        let damaged = AnswerTokens {
            prompt: TokenIds("?".into()),
            ..tokens
        };
        assert_eq!(damaged.check(root, &usage(3, 0, 2, 0)), Err(TokensError::Form));
    }

    #[test]
    fn ids_have_one_text() {
        // 0x80 0x00 would be another text of 0, and five bytes whose last is 0x10 are more than 32 bits.
        for bytes in [
            &[0x80, 0x00][..],
            &[0x80],
            &[0xff, 0xff, 0xff, 0xff, 0x10],
            &[0xff; 9],
        ] {
            let text = TokenIds(BASE64_STANDARD_NO_PAD.encode(bytes));
            assert_eq!(text.ids(), Err(TokensError::Form), "{bytes:?}");
        }
    }

    #[test]
    fn no_debug_output_shows_tokens() {
        let shown = format!("{:?}", AnswerTokens::new(&[7; 9], &[]));
        assert!(
            shown.contains("12 characters") && !shown.contains("Bwc"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn ids_read_back_as_they_were_written(ids in proptest::collection::vec(any::<u32>(), 0..40)) {
            prop_assert_eq!(TokenIds::new(&ids).ids().unwrap(), ids);
        }

        #[test]
        fn an_id_of_any_vocabulary_takes_four_characters_at_most(ids in proptest::collection::vec(0..1_u32 << 21, 1..40)) {
            prop_assert!(TokenIds::new(&ids).len() <= 4 * ids.len());
        }

        #[test]
        fn arbitrary_text_is_refused_or_is_the_one_text_of_its_ids(text in "[A-Za-z0-9+/=?]{0,40}") {
            let text = TokenIds(text);
            if let Ok(ids) = text.ids() {
                prop_assert_eq!(TokenIds::new(&ids), text);
            }
        }
    }
}
