//! The canonical bytes behind a digest.

use sha2::{Digest as _, Sha256};

use super::hex_array::Sha256Digest;
use crate::units::{Prices, Usage};

/// Feeds fields into SHA-256: a tag that separates domains, then each field with its length before it, so that
/// no two lists of fields share an encoding.
pub(super) struct Encoder(Sha256);

impl Encoder {
    pub(super) fn new(tag: &[u8]) -> Self {
        let mut encoder = Self(Sha256::new());
        encoder.bytes(tag);
        encoder
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    pub(super) fn integer(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn usage(&mut self, usage: &Usage) {
        let Usage {
            prompt_tokens,
            cached_prompt_tokens,
            completion_tokens,
            reasoning_tokens,
        } = usage;
        for tokens in [
            prompt_tokens,
            cached_prompt_tokens,
            completion_tokens,
            reasoning_tokens,
        ] {
            self.integer(tokens.get());
        }
    }

    pub(super) fn prices(&mut self, prices: &Prices) {
        let Prices {
            prompt,
            cached_prompt,
            completion,
            reasoning,
            minimum_nano,
        } = prices;
        for price in [prompt, cached_prompt, completion, reasoning] {
            self.integer(price.nano_per_million());
        }
        self.integer(minimum_nano.nano());
    }

    pub(super) fn finish(self) -> Sha256Digest {
        Sha256Digest(self.0.finalize().into())
    }
}
