//! Ed25519 keys: who signs, and how a secret gets in without ever getting out.

mod error;

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

pub use error::KeyError;

use crate::mnemonic;

const SEED_HEX_CHARS: usize = 64;

/// Longest text that is read as a secret: 24 words of at most 8 letters and generous white space.
const MAX_SECRET_CHARS: usize = 512;

/// A signature could not be made.
#[derive(Debug, thiserror::Error)]
#[error("signer refused to sign: {0}")]
pub struct SignError(pub String);

/// Whatever can sign a cell hash with one Ed25519 key: a key in memory, or a device that keeps it.
///
/// Signers that answer over a network fit through [`crate::wallet::UnsignedTransfer::with_signature`], which takes
/// a finished signature.
pub trait Signer {
    /// The key that verifies what [`Signer::sign`] makes.
    fn public_key(&self) -> PublicKey;

    /// Pure Ed25519 over the 32 bytes of a cell hash.
    fn sign(&self, hash: &[u8; 32]) -> Result<Signature, SignError>;
}

/// An Ed25519 private key in memory, erased when dropped.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key of a 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads 24 mnemonic words or the 64 hex digits of a seed, with any white space around, and behind the byte order
    /// mark that some editors put before every text.
    ///
    /// The error tells which form failed and never repeats the text.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.len() > MAX_SECRET_CHARS {
            return Err(KeyError::SecretForm);
        }
        if text.len() == SEED_HEX_CHARS && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let mut seed = Zeroizing::new([0u8; 32]);
            hex::decode_to_slice(text, seed.as_mut_slice()).map_err(|_| KeyError::SecretForm)?;
            return Ok(Self::from_seed(&seed));
        }
        mnemonic::seed(text).map(|seed| Self::from_seed(&seed))
    }
}

impl Signer for SecretKey {
    fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, hash: &[u8; 32]) -> Result<Signature, SignError> {
        Ok(Signature(self.0.sign(hash).to_bytes()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public_key())
    }
}

/// An Ed25519 public key. Printed and parsed as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Whether `signature` is one of this key over `hash`. False as well where the key is no curve point.
    ///
    /// Strict: refuses keys and signatures with parts of small order, which verifiers disagree about. What passes
    /// here passes in TVM too, so nobody works for a voucher that the contract then refuses.
    pub fn verify(&self, hash: &[u8; 32], signature: &Signature) -> bool {
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| {
            key.verify_strict(hash, &ed25519_dalek::Signature::from_bytes(&signature.0))
                .is_ok()
        })
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0u8; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| KeyError::PublicKey)?;
        match VerifyingKey::from_bytes(&bytes) {
            Ok(key) if !key.is_weak() => Ok(Self(bytes)),
            Ok(_) | Err(_) => Err(KeyError::PublicKey),
        }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An Ed25519 signature. Printed and parsed as 128 hexadecimal digits, as the API has them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl FromStr for Signature {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; 64];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| KeyError::Signature)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
