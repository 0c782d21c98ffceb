//! Seeds from TON mnemonics: 24 words, no password, as wallets show them.
//!
//! The scheme is TON's own and not BIP-39: the words are checked by a version byte that is derived from them.

use bip39::Language;
use hmac::{Hmac, Mac as _};
use pbkdf2::pbkdf2;
use sha2::Sha512;
use zeroize::Zeroizing;

use crate::key::KeyError;

const WORDS: usize = 24;
const ROUNDS: u32 = 100_000;
/// The version check is 256 times cheaper than the seed, so that generators can search for a valid phrase.
const VERSION_ROUNDS: u32 = ROUNDS / 256;
/// Bits of a word's number in the list.
const WORD_BITS: usize = 11;
/// Bytes that name [`WORDS`] words.
const PHRASE_BYTES: usize = WORDS * WORD_BITS / 8;
/// Phrases that are tried for one with the version byte, which one of 256 has: that none of so many has it happens once
/// in 10³³.
const MAX_TRIES: u32 = 20_000;

/// The 24 words of a new wallet. Erased when dropped, and never shown but by [`Phrase::as_str`].
pub struct Phrase(Zeroizing<String>);

impl Phrase {
    /// A phrase of words that `random` chooses: it fills what it is given with bytes that nobody can guess.
    ///
    /// # Errors
    /// Those of `random`.
    ///
    /// # Panics
    /// `random` gives what no random source gives: 20,000 phrases without the version byte.
    pub fn generate<E>(mut random: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut bytes = Zeroizing::new([0; PHRASE_BYTES]);
        for _ in 0..MAX_TRIES {
            random(bytes.as_mut_slice())?;
            let phrase = words(&bytes);
            if has_version(&entropy(phrase.as_bytes())) {
                return Ok(Self(phrase));
            }
        }
        panic!("the random source is none: no phrase of {MAX_TRIES} has the version byte")
    }

    /// The words, with one space between two.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Phrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Phrase(of 24 words)")
    }
}

/// The words whose numbers stand in the bytes, eleven bits each, the highest bit first.
fn words(bytes: &[u8; PHRASE_BYTES]) -> Zeroizing<String> {
    let list = Language::English.word_list();
    let bit = |index: usize| usize::from(bytes[index / 8] >> (7 - index % 8) & 1);
    // Longest words have eight letters: the text never moves, and leaves no copy behind.
    let mut phrase = Zeroizing::new(String::with_capacity(WORDS * 9));
    for word in 0..WORDS {
        let number = (0..WORD_BITS).fold(0, |number, offset| number << 1 | bit(word * WORD_BITS + offset));
        if word > 0 {
            phrase.push(' ');
        }
        phrase.push_str(list[number]);
    }
    phrase
}

fn has_version(entropy: &[u8; 64]) -> bool {
    stretch(entropy, b"TON seed version", VERSION_ROUNDS)[0] == 0
}

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
    if !has_version(&entropy) {
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

#[cfg(test)]
mod tests;
