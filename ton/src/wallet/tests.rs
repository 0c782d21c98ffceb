use cocoon_api::NanoTon;

use super::*;
use crate::{SecretKey, cell_hash};

fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32])
}

fn transfer(count: usize) -> Result<UnsignedTransfer, WalletError> {
    let to = Address {
        workchain: 0,
        account: [9; 32],
    };
    let message = (SendMode::ExactValue, InternalMessage::transfer(to, NanoTon::ZERO));
    Wallet::new(key().public_key(), &Network::TESTBED).transfer(3, 1_800_000_000, &vec![message; count])
}

#[test]
fn the_embedded_code_is_the_published_one() {
    let published = "20834b7b72b112147e1b2fb457b84e74d1a30f04f737d4f62a668e9552d2b72f";
    assert_eq!(hex::encode(code_hash()), published);
}

#[test]
fn addresses_are_those_that_ton_ton_derives() {
    // `WalletContractV5R1.create({publicKey, walletId: {networkGlobalId}})` of @ton/ton 16.3.0 for the key with seed
    // 07…07.
    let expected = [
        (
            Network::MAINNET,
            "0:949bc8af02b9eb02b449c4e11d594f4befd433c8c6b665967b60a9f9dbfff3d0",
        ),
        (
            Network::TESTNET,
            "0:f4353ed65c960a639e4abc7f605cd8cebae5e841cbdc2fad2c3d0806eabf4c75",
        ),
        (
            Network::TESTBED,
            "0:ead5615eb272673357abeb3164f9f91557ec10d76f1d1ca957b3396155ec7135",
        ),
    ];
    for (network, address) in expected {
        let wallet = Wallet::new(key().public_key(), &network);
        assert_eq!(wallet.address().to_string(), address, "{}", network.name());
    }
}

#[test]
fn wallet_ids_are_those_of_the_standard() {
    let id = |network: &Network| Wallet::new(key().public_key(), network).id;
    assert_eq!(id(&Network::MAINNET), 0x7FFF_FF11);
    assert_eq!(id(&Network::TESTNET), 0x7FFF_FFFD);
}

#[test]
fn a_transfer_carries_1_to_255_messages() {
    assert!(matches!(transfer(0), Err(WalletError::MessageCount(0))));
    assert!(transfer(1).is_ok());
    assert!(transfer(MAX_MESSAGES).is_ok());
    assert!(matches!(
        transfer(MAX_MESSAGES + 1),
        Err(WalletError::MessageCount(256))
    ));
}

#[test]
fn only_the_wallets_key_can_sign() {
    let foreign = SecretKey::from_seed(&[8; 32]);
    let unsigned = transfer(1).expect("transfer");
    let signature = foreign.sign(unsigned.hash()).expect("signs");
    assert!(matches!(
        unsigned.clone().sign(&foreign),
        Err(WalletError::ForeignKey { .. })
    ));
    assert!(matches!(
        unsigned.with_signature(&signature),
        Err(WalletError::ForeignSignature(_))
    ));
}

#[test]
fn the_normalised_hash_ignores_the_state_init() {
    let unsigned = transfer(1).expect("transfer");
    let signed = unsigned.sign(&key()).expect("signs");
    let parsed = ParsedMessage::parse(&decode_boc(&signed.boc).expect("own bytes")).expect("a message");
    let init = Some(Wallet::new(key().public_key(), &Network::TESTBED).state_init());
    let with_init = ExternalMessage {
        destination: signed.destination,
        init,
        body: parsed.body,
    };
    let boc = with_init.encode().expect("encodes");
    assert_ne!(boc, signed.boc);
    assert_eq!(SignedMessage::decode(&boc).expect("decodes").hash, signed.hash);
}

#[test]
fn a_signed_message_survives_its_bytes() {
    let signed = transfer(255).expect("transfer").sign(&key()).expect("signs");
    let decoded = SignedMessage::decode(&signed.boc).expect("decodes");
    assert_eq!(decoded, signed);
    assert_eq!((decoded.seqno, decoded.valid_until), (3, 1_800_000_000));
}

#[test]
fn bytes_that_are_no_wallet_message_are_refused() {
    let other = ExternalMessage {
        destination: Address {
            workchain: 0,
            account: [1; 32],
        },
        init: None,
        body: CODE.cell.clone(),
    };
    assert!(SignedMessage::decode(&other.encode().expect("encodes")).is_err());
    let internal = InternalMessage::transfer(other.destination, NanoTon::ZERO).to_cell();
    let boc = crate::encode_boc(&internal).expect("encodes");
    assert!(matches!(
        SignedMessage::decode(&boc),
        Err(WalletError::NotExternal)
    ));
    assert!(SignedMessage::decode(b"").is_err());
    assert!(cell_hash(&internal).is_ok());
}
