use proptest::prelude::*;

use super::*;
use crate::{Network, SecretKey};

fn nano(value: u64) -> NanoTon {
    NanoTon::from_nano(value).expect("in range")
}

fn voucher() -> Voucher {
    Voucher {
        global_id: Network::TESTBED.global_id(),
        channel: Address {
            workchain: 0,
            account: [5; 32],
        },
        cap: nano(1_000_000),
        valid_until: 1_800_000_000,
        epoch: 3,
    }
}

fn payer() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

const NOW: u32 = 1_799_999_000;

#[test]
fn a_payers_voucher_is_accepted() {
    let signed = voucher().sign(&payer()).expect("signs");
    assert_eq!(
        signed.check(&payer().public_key(), 3, NOW, nano(1_000_000)),
        Ok(())
    );
}

#[test]
fn the_signature_covers_every_field() {
    let signed = voucher().sign(&payer()).expect("signs");
    let other_channel = Address {
        workchain: 0,
        account: [6; 32],
    };
    let other_chain = Address {
        workchain: -1,
        ..voucher().channel
    };
    let changed = [
        Voucher {
            global_id: Network::MAINNET.global_id(),
            ..voucher()
        },
        Voucher {
            channel: other_channel,
            ..voucher()
        },
        Voucher {
            channel: other_chain,
            ..voucher()
        },
        Voucher {
            cap: nano(1_000_001),
            ..voucher()
        },
        Voucher {
            valid_until: 1_800_000_001,
            ..voucher()
        },
        Voucher {
            epoch: 4,
            ..voucher()
        },
    ];
    for voucher in changed {
        let forged = SignedVoucher { voucher, ..signed };
        assert_eq!(
            forged.verify(&payer().public_key()),
            Err(VoucherError::BadSignature),
            "{voucher:?}"
        );
    }
}

#[test]
fn a_voucher_of_another_key_is_refused() {
    let signed = voucher().sign(&SecretKey::from_seed(&[2; 32])).expect("signs");
    assert_eq!(
        signed.check(&payer().public_key(), 3, NOW, nano(0)),
        Err(VoucherError::BadSignature)
    );
}

#[test]
fn a_voucher_that_ends_before_it_can_be_redeemed_is_refused() {
    let signed = voucher().sign(&payer()).expect("signs");
    assert_eq!(
        signed.check(&payer().public_key(), 3, 1_800_000_000, nano(0)),
        Ok(()),
        "the last second counts"
    );
    let expired = VoucherError::Expired {
        valid_until: 1_800_000_000,
        needed_until: 1_800_000_001,
    };
    assert_eq!(
        signed.check(&payer().public_key(), 3, 1_800_000_001, nano(0)),
        Err(expired)
    );
}

#[test]
fn a_voucher_of_another_epoch_is_refused() {
    let signed = voucher().sign(&payer()).expect("signs");
    let wrong = VoucherError::WrongEpoch {
        voucher: 3,
        channel: 4,
    };
    assert_eq!(signed.check(&payer().public_key(), 4, NOW, nano(0)), Err(wrong));
}

#[test]
fn a_voucher_below_an_earlier_one_is_refused() {
    let signed = voucher().sign(&payer()).expect("signs");
    let lowered = VoucherError::Lowered {
        cap: nano(1_000_000),
        earlier: nano(1_000_001),
    };
    assert_eq!(
        signed.check(&payer().public_key(), 3, NOW, nano(1_000_001)),
        Err(lowered)
    );
}

proptest! {
    #[test]
    fn vouchers_that_differ_have_hashes_that_differ(
        a in any::<(i32, i8, [u8; 32], u32, u32, u32)>(),
        b in any::<(i32, i8, [u8; 32], u32, u32, u32)>(),
    ) {
        let make = |(global_id, workchain, account, cap, valid_until, epoch)| Voucher {
            global_id,
            channel: Address { workchain, account },
            cap: nano(u64::from(cap)),
            valid_until,
            epoch,
        };
        prop_assert_eq!(make(a) == make(b), make(a).hash() == make(b).hash());
    }
}
