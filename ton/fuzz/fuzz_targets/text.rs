//! Texts that people paste: addresses, keys and the signatures of vouchers.

#![no_main]

use cocoon_ton::{Address, Network, PublicKey, Signature};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.friendly(&Network::TESTNET, true).parse(), Ok(address));
    }
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    if let Ok(signature) = text.parse::<Signature>() {
        assert_eq!(signature.to_string().parse(), Ok(signature));
    }
});
