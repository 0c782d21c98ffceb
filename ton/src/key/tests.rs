use proptest::prelude::*;

use super::*;

/// Made by `@ton/crypto` 3.3.0 for this test and used nowhere else.
const WORDS: &str = "fiber coast must immense deny helmet hour wreck birth soda digital buzz crowd iron correct police \
                     expand three valid unable lunar captain shine grab";
const SEED: &str = "918c9c4213b259b9fd97b5df9f11663c3196587dbd774d11760621f57d9d1cdc";
const PUBLIC: &str = "f7e20423c549edac753fd070913dd1eb806dbb64523d6f6d357166bc89804012";

#[test]
fn words_and_seed_give_the_key_that_ton_crypto_gives() {
    for text in [
        WORDS.to_owned(),
        SEED.to_owned(),
        format!("\n {} \n", WORDS.to_uppercase().replace(' ', "\n")),
        format!("\u{feff}{}\r\n", WORDS.replace(' ', "\r\n")),
        format!("\u{feff}{SEED}\r"),
    ] {
        let key = SecretKey::parse(&text).expect("a key");
        assert_eq!(key.public_key().to_string(), PUBLIC);
    }
}

#[test]
fn a_mistyped_phrase_is_refused() {
    let swapped = WORDS.replacen("fiber coast", "coast fiber", 1);
    assert_eq!(SecretKey::parse(&swapped).err(), Some(KeyError::Mnemonic));
    let short = WORDS.replacen(" grab", "", 1);
    assert_eq!(SecretKey::parse(&short).err(), Some(KeyError::SecretForm));
}

#[test]
fn other_texts_are_refused() {
    let long = "a ".repeat(400);
    for text in ["", "hunter2", &SEED[..62], &SEED.replacen('9', "g", 1), &long] {
        assert_eq!(
            SecretKey::parse(text).err(),
            Some(KeyError::SecretForm),
            "{} characters",
            text.len()
        );
    }
}

#[test]
fn neither_errors_nor_debug_output_show_the_secret() {
    let key = SecretKey::parse(SEED).expect("a key");
    assert!(!format!("{key:?}").contains(&SEED[..8]));
    for text in [WORDS.replacen("fiber", "fibre", 1), SEED.replacen('9', "z", 1)] {
        let error = SecretKey::parse(&text).expect_err("refused");
        for word in text.split(' ') {
            assert!(!format!("{error} {error:?}").contains(word), "{error}");
        }
    }
}

#[test]
fn public_keys_off_the_curve_are_refused() {
    assert!(PUBLIC.parse::<PublicKey>().is_ok());
    assert_eq!(
        "02".repeat(32).parse::<PublicKey>().err(),
        Some(KeyError::PublicKey)
    );
    assert_eq!(PUBLIC[..62].parse::<PublicKey>().err(), Some(KeyError::PublicKey));
}

#[test]
fn a_key_for_which_anybody_can_sign_is_refused() {
    // The neutral element: R = neutral, s = 0 satisfies the equation for every message.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    assert_eq!(
        PublicKey(neutral).to_string().parse::<PublicKey>().err(),
        Some(KeyError::PublicKey)
    );
    let mut anybodys = Signature([0; 64]);
    anybodys.0[..32].copy_from_slice(&neutral);
    assert!(!PublicKey(neutral).verify(&[7; 32], &anybodys));
}

proptest! {
    #[test]
    fn what_a_key_signs_verifies_and_nothing_else_does(seed: [u8; 32], hash: [u8; 32], flip in 0usize..512) {
        let key = SecretKey::from_seed(&seed);
        let signature = key.sign(&hash).expect("signs");
        prop_assert!(key.public_key().verify(&hash, &signature));
        prop_assert_eq!(signature.to_string().parse(), Ok(signature));
        let mut forged = signature;
        forged.0[flip / 8] ^= 1 << (flip % 8);
        prop_assert!(!key.public_key().verify(&hash, &forged));
        let mut other = hash;
        other[flip / 16] ^= 1;
        prop_assert!(!key.public_key().verify(&other, &signature));
    }

    #[test]
    fn no_text_makes_parsing_panic(text in ".{0,200}") {
        let _ = text.parse::<PublicKey>();
        let _ = text.parse::<Signature>();
    }
}
