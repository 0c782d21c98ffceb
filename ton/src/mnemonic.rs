//! Seeds from TON mnemonics: 24 words, no password, as wallets show them.
//!
//! The scheme is TON's own and not BIP-39: the words are checked by a version byte that is derived from them.

use hmac::{Hmac, Mac as _};
use pbkdf2::pbkdf2;
use sha2::Sha512;
use zeroize::Zeroizing;

use crate::key::KeyError;

const WORDS: usize = 24;
const ROUNDS: u32 = 100_000;
/// The version check is 256 times cheaper than the seed, so that generators can search for a valid phrase.
const VERSION_ROUNDS: u32 = ROUNDS / 256;

/// The Ed25519 seed of a phrase. Case and white space between the words do not matter.
pub(crate) fn seed(text: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let mut phrase = Zeroizing::new(String::with_capacity(text.len()));
    let mut words = 0;
    for word in text.split_whitespace() {
        if words > 0 {
            phrase.push(' ');
        }
        phrase.extend(word.chars().map(|letter| letter.to_ascii_lowercase()));
        words += 1;
    }
    let letters = phrase
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_lowercase());
    if words != WORDS || !letters {
        return Err(KeyError::SecretForm);
    }
    let entropy = entropy(phrase.as_bytes());
    if stretch(&entropy, b"TON seed version", VERSION_ROUNDS)[0] != 0 {
        return Err(KeyError::Mnemonic);
    }
    let mut seed = Zeroizing::new([0u8; 32]);
    seed.copy_from_slice(&stretch(&entropy, b"TON default seed", ROUNDS)[..32]);
    Ok(seed)
}

/// HMAC-SHA512 of the empty password under the phrase.
fn entropy(phrase: &[u8]) -> Zeroizing<[u8; 64]> {
    let mac = Hmac::<Sha512>::new_from_slice(phrase).expect("HMAC takes keys of any length");
    Zeroizing::new(mac.finalize().into_bytes().into())
}

fn stretch(entropy: &[u8; 64], salt: &[u8], rounds: u32) -> Zeroizing<[u8; 64]> {
    let mut stretched = Zeroizing::new([0u8; 64]);
    pbkdf2::<Hmac<Sha512>>(entropy, salt, rounds, stretched.as_mut_slice())
        .expect("the output is shorter than PBKDF2's limit");
    stretched
}
