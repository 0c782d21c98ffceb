use proptest::prelude::*;

use super::*;

/// Made by `@ton/core` 0.63.1: the wallet v5r1 of the key with seed 07…07 on mainnet, testnet and the testbed.
const RAW: &str = "0:949bc8af02b9eb02b449c4e11d594f4befd433c8c6b665967b60a9f9dbfff3d0";
const FRIENDLY: &str = "UQCUm8ivArnrArRJxOEdWU9L79QzyMa2ZZZ7YKn52__z0N1Q";
const TEST_ONLY: &str = "0QD0NT7WXJYKY55KvH9gXNjOuuXoQcvcL60sPQgG6r9MdYxq";

#[test]
fn both_forms_name_the_same_account() {
    assert_eq!(FRIENDLY.parse::<Address>(), RAW.parse());
}

#[test]
fn printing_restores_the_form_of_the_network() {
    let address: Address = RAW.parse().expect("raw");
    assert_eq!(address.to_string(), RAW);
    assert_eq!(address.friendly(&Network::MAINNET, false), FRIENDLY);
    let test: Address = TEST_ONLY.parse().expect("test-only");
    assert_eq!(test.friendly(&Network::TESTNET, false), TEST_ONLY);
}

#[test]
fn a_test_only_address_is_refused_on_mainnet() {
    assert_eq!(
        Address::parse_for(&Network::MAINNET, TEST_ONLY),
        Err(AddressError::TestOnly)
    );
    assert!(Address::parse_for(&Network::TESTNET, TEST_ONLY).is_ok());
    assert!(
        Address::parse_for(&Network::TESTBED, FRIENDLY).is_ok(),
        "mainnet's form is understood everywhere"
    );
}

#[test]
fn a_mistyped_address_is_refused() {
    let mistyped = FRIENDLY.replacen("UQCU", "UQCV", 1);
    assert_eq!(mistyped.parse::<Address>(), Err(AddressError::Checksum));
    assert_eq!("0:949b".parse::<Address>(), Err(AddressError::Form));
    assert_eq!("".parse::<Address>(), Err(AddressError::Form));
    assert_eq!(
        format!("300:{}", "0".repeat(64)).parse::<Address>(),
        Err(AddressError::Form)
    );
}

#[test]
fn an_unknown_tag_is_refused() {
    let mut bytes = URL_SAFE_NO_PAD.decode(FRIENDLY).expect("base64");
    bytes[0] = 0x42;
    let checksum = crc16(&bytes[..34]).to_be_bytes();
    bytes[34..].copy_from_slice(&checksum);
    assert_eq!(
        URL_SAFE_NO_PAD.encode(bytes).parse::<Address>(),
        Err(AddressError::Tag(0x42))
    );
}

proptest! {
    #[test]
    fn every_address_survives_every_form(workchain: i8, account: [u8; 32], bounceable: bool) {
        let address = Address { workchain, account };
        prop_assert_eq!(address.to_string().parse(), Ok(address));
        for network in [Network::MAINNET, Network::TESTNET] {
            let text = address.friendly(&network, bounceable);
            prop_assert_eq!(Address::parse_for(&network, &text), Ok(address));
        }
    }

    #[test]
    fn no_text_makes_parsing_panic(text in ".{0,64}") {
        let _ = text.parse::<Address>();
    }
}
