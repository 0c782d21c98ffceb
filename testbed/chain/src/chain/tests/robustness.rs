//! Bytes from outside never panic.

use proptest::prelude::*;
use tycho_types::models::StateInit;
use tycho_types::prelude::*;

use super::{Chain, NOW, TON, block, chain, fund};
use crate::chain::{ExternalMessage, message};
use crate::wallet::{Wallet, address_of};

/// Checks and then executes a message that a node would or would not have let in.
fn swallow(chain: &mut Chain, boc: &[u8]) {
    let Ok(message) = ExternalMessage::parse(boc) else {
        return;
    };
    let _verdict = chain.check(&message);
    chain.submit(message).unwrap();
    for _ in 0..3 {
        block(chain, NOW + 1);
    }
}

fn cell() -> impl Strategy<Value = Cell> {
    let leaf = prop::collection::vec(any::<u8>(), 0..=127).prop_map(|bytes| cell_of(&bytes, &[]));
    leaf.prop_recursive(4, 24, 4, |inner| {
        (
            prop::collection::vec(any::<u8>(), 0..=127),
            prop::collection::vec(inner, 0..=4),
        )
            .prop_map(|(bytes, children)| cell_of(&bytes, &children))
    })
}

fn cell_of(bytes: &[u8], children: &[Cell]) -> Cell {
    let mut builder = CellBuilder::new();
    builder
        .store_raw(bytes, u16::try_from(bytes.len() * 8).unwrap())
        .unwrap();
    for child in children {
        builder.store_reference(child.clone()).unwrap();
    }
    builder.build().unwrap()
}

proptest! {
    #[test]
    fn any_bytes_as_a_message_leave_the_chain_going(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        swallow(&mut chain(), &bytes);
    }

    #[test]
    fn any_damage_to_a_good_message_leaves_the_chain_going(at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let mut chain = chain();
        let wallet = Wallet::new(1);
        fund(&mut chain, &wallet.address(), TON);
        let mut boc = wallet.transfer_boc(0, &[crate::wallet::payment(&wallet.address(), 1)]);
        let at = at.index(boc.len());
        boc[at] = with;
        swallow(&mut chain, &boc);
    }

    #[test]
    fn any_code_and_any_body_leave_the_chain_going(code in cell(), data in cell(), body in cell()) {
        let mut chain = chain();
        let mut accepting = CellBuilder::new();
        accepting.store_u16(0xF800).unwrap();
        let code = if accepting.store_slice(code.as_slice_allow_exotic()).is_ok() {
            accepting.build().unwrap()
        } else {
            code
        };
        let init = StateInit { code: Some(code), data: Some(data), ..StateInit::default() };
        let address = address_of(&init);
        fund(&mut chain, &address, 5 * TON);
        let cell = message::external(&address, Some(init), body).unwrap();
        swallow(&mut chain, &Boc::encode(cell));
        let _output = chain.run_get_method(&address, 85_143, &[]);
    }
}
