//! The wallet contract v5r1 for tests: real code from mainnet, messages assembled by hand.

use ed25519_dalek::{Signer, SigningKey};
use tycho_types::models::{StateInit, StdAddr};
use tycho_types::prelude::*;

use crate::chain::{TESTBED_GLOBAL_ID, message};

/// The contract's code, hash `20834b7b…`.
const CODE: &str = "te6ccgECFAEAAoEAART/APSkE/S88sgLAQIBIAQCAQLyAwEeINcLH4IQc2lnbrry4Ip/DwIBSA4FAgEgBwYAGb5fD2omhAgKDrkPoCwCASALCAIBSAoJABGyYvtRNDXCgCAAF7Ml+1E0HHXIdcLH4AIBbg0MABmvHfaiaEAQ65DrhY/AABmtznaiaEAg65Drhf/AAtzQINdJwSCRW49jINcLHyCCEGV4dG69IYIQc2ludL2wkl8D4IIQZXh0brqOtIAg1yEB0HTXIfpAMPpE+Cj6RDBYvZFb4O1E0IEBQdch9AWDB/QOb6ExkTDhgEDXIXB/2zzgMSDXSYECgLmRMOBw4hAPAeaO8O2i7fshgwjXIgKDCNcjIIAg1yHTH9Mf0x/tRNDSANMfINMf0//XCgAK+QFAzPkQmiiUXwrbMeHywIffArNQB7Dy0IRRJbry4IVQNrry4Ib4I7vy0IgikvgA3gGkf8jKAMsfAc8Wye1UIJL4D95w2zzYEAP27aLt+wL0BCFukmwhjkwCIdc5MHCUIccAs44tAdcoIHYeQ2wg10nACPLgkyDXSsAC8uCTINcdBscSwgBSMLDy0InXTNc5MAGk6GwShAe78uCT10rAAPLgk+1V4tIAAcAAkVvg69csCBQgkXCWAdcsCBwS4lIQseMPINdKExIRABCTW9sx4ddM0AByMNcsCCSOLSHy4JLSAO1E0NIAURO68tCPVFAwkTGcAYEBQNch1woA8uCO4sjKAFjPFsntVJPywI3iAJYB+kAB+kT4KPpEMFi68uCR7UTQgQFB1xj0BQSdf8jKAEAEgwf0U/Lgi44UA4MH9Fvy4Iwi1woAIW4Bs7Dy0JDiyFADzxYS9ADJ7VQ=";

/// Bits that tell a testbed wallet's id from those of other networks (the network's id over the default context).
#[expect(clippy::cast_sign_loss, reason = "the id is the bit pattern")]
const WALLET_ID: u32 = TESTBED_GLOBAL_ID as u32 ^ 0x8000_0000;

/// Send mode: fees come from the balance, not from the amount (1), and a message that cannot be sent is skipped (2);
/// the wallet takes no external request without the second.
pub(crate) const WALLET_MODE: u8 = 3;

/// A wallet and its key.
pub(crate) struct Wallet {
    key: SigningKey,
}

impl Wallet {
    pub(crate) fn new(seed: u8) -> Self {
        Self {
            key: SigningKey::from_bytes(&[seed; 32]),
        }
    }

    pub(crate) fn address(&self) -> StdAddr {
        address_of(&self.state_init())
    }

    pub(crate) fn state_init(&self) -> StateInit {
        let mut data = CellBuilder::new();
        data.store_bit_one().unwrap();
        data.store_u32(0).unwrap();
        data.store_u32(WALLET_ID).unwrap();
        data.store_raw(self.key.verifying_key().as_bytes(), 256).unwrap();
        data.store_bit_zero().unwrap();
        let code = Boc::decode_base64(CODE).unwrap();
        StateInit {
            code: Some(code),
            data: Some(data.build().unwrap()),
            ..StateInit::default()
        }
    }

    /// A signed external message that sends these messages; it deploys the wallet when `seqno` is 0.
    pub(crate) fn transfer(&self, seqno: u32, valid_until: u32, messages: &[(u8, Cell)]) -> Cell {
        let mut body = CellBuilder::new();
        body.store_u32(0x7369_676e).unwrap();
        body.store_u32(WALLET_ID).unwrap();
        body.store_u32(valid_until).unwrap();
        body.store_u32(seqno).unwrap();
        body.store_bit_one().unwrap();
        body.store_reference(actions(messages)).unwrap();
        body.store_bit_zero().unwrap();
        let signature = self
            .key
            .sign(body.clone().build().unwrap().repr_hash().as_slice());
        body.store_raw(&signature.to_bytes(), 512).unwrap();
        let init = (seqno == 0).then(|| self.state_init());
        message::external(&self.address(), init, body.build().unwrap()).unwrap()
    }

    /// [`Wallet::transfer`] as a bag of cells, valid for ever.
    pub(crate) fn transfer_boc(&self, seqno: u32, messages: &[(u8, Cell)]) -> Vec<u8> {
        Boc::encode(self.transfer(seqno, u32::MAX, messages))
    }
}

/// The list of actions that sends these messages in order.
fn actions(messages: &[(u8, Cell)]) -> Cell {
    messages.iter().fold(Cell::default(), |before, (mode, message)| {
        let mut action = CellBuilder::new();
        action.store_reference(before).unwrap();
        action.store_u32(0x0ec3_c86d).unwrap();
        action.store_u8(*mode).unwrap();
        action.store_reference(message.clone()).unwrap();
        action.build().unwrap()
    })
}

/// A contract of a few instructions, with an empty cell as data.
pub(crate) fn contract(code: &[u8]) -> StateInit {
    let mut cell = CellBuilder::new();
    cell.store_raw(code, u16::try_from(code.len() * 8).unwrap())
        .unwrap();
    StateInit {
        code: Some(cell.build().unwrap()),
        data: Some(Cell::default()),
        ..StateInit::default()
    }
}

/// Where code and data live.
pub(crate) fn address_of(init: &StateInit) -> StdAddr {
    StdAddr::new(0, *CellBuilder::build_from(init).unwrap().repr_hash())
}

/// A payment without bounce and without body.
pub(crate) fn payment(destination: &StdAddr, nano: u128) -> (u8, Cell) {
    (
        WALLET_MODE,
        message::internal(destination, nano, false, None, Cell::default()).unwrap(),
    )
}

/// An account that nobody has the key of.
pub(crate) fn stranger(byte: u8) -> StdAddr {
    StdAddr::new(0, HashBytes([byte; 32]))
}
