use super::*;
use crate::{SecretKey, Signer as _};

/// Made by `@ton/crypto` 3.3.0 for these tests and used nowhere else, and the key that it gives.
const WORDS_OF_TON_CRYPTO: &str = "fiber coast must immense deny helmet hour wreck birth soda digital buzz crowd iron \
     correct police expand three valid unable lunar captain shine grab";
const PUBLIC: &str = "f7e20423c549edac753fd070913dd1eb806dbb64523d6f6d357166bc89804012";

fn generate(mut random: impl FnMut(&mut [u8])) -> Phrase {
    let filled = Phrase::generate(|bytes| {
        random(bytes);
        Ok::<_, std::convert::Infallible>(())
    });
    filled.expect("bytes")
}

#[test]
fn without_random_bytes_there_is_no_phrase() {
    assert_eq!(Phrase::generate(|_| Err("no bytes")).err(), Some("no bytes"));
}

/// The bytes that name these words.
fn bytes_of(words: &str) -> [u8; PHRASE_BYTES] {
    let list = Language::English.word_list();
    let mut bytes = [0; PHRASE_BYTES];
    for (index, word) in words.split(' ').enumerate() {
        let number = list
            .iter()
            .position(|listed| *listed == word)
            .expect("a word of the list");
        for offset in 0..WORD_BITS {
            let at = index * WORD_BITS + offset;
            bytes[at / 8] |= u8::from(number >> (WORD_BITS - 1 - offset) & 1 == 1) << (7 - at % 8);
        }
    }
    bytes
}

#[test]
fn the_words_of_known_bytes_are_those_that_ton_crypto_reads() {
    let known = bytes_of(WORDS_OF_TON_CRYPTO);
    let phrase = generate(|bytes| bytes.copy_from_slice(&known));
    assert_eq!(phrase.as_str(), WORDS_OF_TON_CRYPTO);
    let key = SecretKey::parse(phrase.as_str()).expect("a key");
    assert_eq!(key.public_key().to_string(), PUBLIC);
}

#[test]
fn a_phrase_without_the_version_byte_is_not_given_out() {
    let known = bytes_of(WORDS_OF_TON_CRYPTO);
    let mut tries = 0_u8;
    let phrase = generate(|bytes| {
        // "abandon" 24 times has another version.
        bytes.fill(0);
        if tries > 0 {
            bytes.copy_from_slice(&known);
        }
        tries += 1;
    });
    assert_eq!((phrase.as_str(), tries), (WORDS_OF_TON_CRYPTO, 2));
}

#[test]
fn a_new_phrase_is_a_key_and_shows_itself_to_nobody() {
    // A generator of Knuth's: what matters here is that the bytes differ from try to try.
    let mut state = 7_u64;
    let phrase = generate(|bytes| {
        for byte in bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = state.to_be_bytes()[0];
        }
    });
    assert_eq!(phrase.as_str().split(' ').count(), WORDS);
    assert!(SecretKey::parse(phrase.as_str()).is_ok());
    assert_eq!(format!("{phrase:?}"), "Phrase(of 24 words)");
}
