use proptest::prelude::*;

use super::*;
use crate::decode_boc;

fn nano(value: u64) -> NanoTon {
    NanoTon::from_nano(value).expect("in range")
}

fn code_and_data() -> StateInit {
    StateInit {
        code: Layout::new().uint(1, 8).build(),
        data: Layout::new().uint(2, 8).build(),
    }
}

proptest! {
    #[test]
    fn internal_messages_are_read_back(
        account: [u8; 32],
        value in 0u64..=1 << 62,
        bounce: bool,
        deploys: bool,
        body in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..127)),
    ) {
        let destination = Address { workchain: 0, account };
        let body = body.map(|bytes| Layout::new().bytes(&bytes).build());
        let init = deploys.then(code_and_data);
        let message = InternalMessage { destination, value: nano(value), bounce, init, body: body.clone() };
        let parsed = ParsedMessage::parse(&message.to_cell()).expect("reads");
        let value = nano(value);
        let info =
            MessageInfo::Internal { source: None, destination, value, forward_fee: nano(0), bounce, bounced: false };
        prop_assert_eq!(parsed.info, info);
        prop_assert_eq!(parsed.body, body.unwrap_or_else(|| Layout::new().build()));
    }

    #[test]
    fn external_messages_keep_their_hash_whatever_they_deploy(account: [u8; 32], deploys: bool, bytes: [u8; 60]) {
        let destination = Address { workchain: 0, account };
        let body = Layout::new().bytes(&bytes).build();
        let plain = ExternalMessage { destination, init: None, body: body.clone() };
        let message = ExternalMessage { init: deploys.then(code_and_data), ..plain.clone() };
        let parsed = ParsedMessage::parse(&decode_boc(&message.encode().expect("encodes")).expect("decodes"))
            .expect("reads");
        prop_assert_eq!(parsed.normalized_hash(), Some(plain.normalized_hash()));
        prop_assert_eq!(parsed.info, MessageInfo::ExternalIn { destination });
    }

    #[test]
    fn no_cell_makes_reading_a_message_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..128),
        references in 0usize..5,
    ) {
        let child = Layout::new().uint(0, 8).build();
        let cell = (0..references).fold(Layout::new().bytes(&bytes[..bytes.len().min(127)]), |layout, _| {
            layout.reference(&child)
        });
        let _ = ParsedMessage::parse(&cell.build());
    }
}
