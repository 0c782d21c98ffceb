//! The canonical bytes behind a digest, and fixed-size arrays that travel as hexadecimal text.

use sha2::{Digest as _, Sha256};

use super::Sha256Digest;
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

macro_rules! hex_array {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $length]);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl std::str::FromStr for $name {
            type Err = hex::FromHexError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; $length];
                hex::decode_to_slice(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(|error| {
                    serde::de::Error::custom(format!(
                        "{} needs {} hexadecimal digits: {error}", stringify!($name), 2 * $length
                    ))
                })
            }
        }
    };
}
pub(super) use hex_array;
