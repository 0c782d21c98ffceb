//! Keys, digests and signatures: fixed-size arrays that travel as hexadecimal text.

use sha2::{Digest as _, Sha256};

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

hex_array!(
    /// An agent's Ed25519 public key. In JSON: 64 hexadecimal digits.
    AgentKey,
    32
);
hex_array!(
    /// A SHA-256 digest. In JSON: 64 hexadecimal digits.
    Sha256Digest,
    32
);
hex_array!(
    /// An Ed25519 signature. In JSON: 128 hexadecimal digits.
    Ed25519Signature,
    64
);

impl Sha256Digest {
    /// SHA-256 of the bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}
