//! Bags of cells from outside: as messages, wallet messages and transactions.

#![no_main]

use cocoon_ton::SignedMessage;
use cocoon_ton::channel::Payout;
use cocoon_ton::message::ParsedMessage;
use cocoon_ton::transaction::Transaction;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = SignedMessage::decode(bytes) {
        assert_eq!(message.boc, bytes);
    }
    let Ok(cell) = cocoon_ton::decode_boc(bytes) else { return };
    let encoded = cocoon_ton::encode_boc(&cell).expect("what was decoded can be encoded");
    let again = cocoon_ton::decode_boc(&encoded).expect("what was encoded can be decoded");
    assert_eq!(cocoon_ton::cell_hash(&cell).ok(), cocoon_ton::cell_hash(&again).ok());
    let _ = ParsedMessage::parse(&cell).map(|message| (message.op(), message.normalized_hash()));
    let _ = Payout::parse(&cell);
    let _ = Transaction::parse(&cell).map(|transaction| (transaction.succeeded(), transaction.payments()));
});
