use proptest::prelude::*;

use super::fees::nano;
use super::*;
use crate::cells::{Layout, encode_boc};
use crate::{Address, Network, SecretKey, Signer, Voucher, cell_hash};

fn params() -> ChannelParams {
    ChannelParams {
        payer_key: SecretKey::from_seed(&[1; 32]).public_key(),
        payer: Address {
            workchain: 0,
            account: [2; 32],
        },
        provider: Address {
            workchain: 0,
            account: [3; 32],
        },
        claimer: Address {
            workchain: 0,
            account: [5; 32],
        },
        challenge_period: 3_600,
        salt: 4,
    }
}

fn number(value: u64) -> StackEntry {
    StackEntry::Number {
        negative: false,
        magnitude: value.to_be_bytes().to_vec(),
    }
}

fn address(address: &Address) -> StackEntry {
    StackEntry::Cell(Layout::new().address(address).build())
}

fn reply() -> Vec<StackEntry> {
    let params = params();
    vec![
        number(1),
        number(6),
        number(1_800_000_000),
        number(70),
        number(930),
        StackEntry::Number {
            negative: false,
            magnitude: params.payer_key.0.to_vec(),
        },
        address(&params.payer),
        address(&params.provider),
        address(&params.claimer),
        number(3_600),
        number(4),
    ]
}

#[test]
fn the_embedded_code_is_the_one_of_its_hash() {
    assert_eq!(cell_hash(&params().state_init().code).expect("hash"), code_hash());
}

#[test]
fn every_parameter_makes_another_address() {
    let base = params();
    let other = Address {
        workchain: 0,
        account: [9; 32],
    };
    let variants = [
        base,
        ChannelParams {
            payer_key: SecretKey::from_seed(&[9; 32]).public_key(),
            ..base
        },
        ChannelParams { payer: other, ..base },
        ChannelParams {
            provider: other,
            ..base
        },
        ChannelParams {
            claimer: other,
            ..base
        },
        ChannelParams {
            challenge_period: 3_601,
            ..base
        },
        ChannelParams { salt: 5, ..base },
    ];
    let addresses: std::collections::BTreeSet<_> = variants.iter().map(ChannelParams::address).collect();
    assert_eq!(addresses.len(), variants.len());
}

#[test]
fn the_getters_reply_is_read() {
    let state = ChannelState::from_stack(&reply()).expect("reads");
    assert_eq!(
        state.status,
        ChannelStatus::Closing {
            deadline: 1_800_000_000
        }
    );
    assert_eq!(
        (state.epoch, state.redeemed.nano(), state.available.nano()),
        (6, 70, 930)
    );
    assert_eq!(state.params, params());
}

#[test]
fn a_reply_with_any_field_missing_or_of_another_kind_is_refused() {
    for index in 0..reply().len() {
        let mut short = reply();
        short.truncate(index);
        ChannelState::from_stack(&short).expect_err("too short");
        let mut odd = reply();
        odd[index] = StackEntry::Other;
        ChannelState::from_stack(&odd).expect_err("of another kind");
        let mut negative = reply();
        negative[index] = StackEntry::Number {
            negative: true,
            magnitude: vec![1],
        };
        ChannelState::from_stack(&negative).expect_err("negative");
    }
    let mut open_with_deadline = reply();
    open_with_deadline[0] = number(0);
    let error = ChannelState::from_stack(&open_with_deadline).expect_err("open, and yet closing");
    assert_eq!(error.field, "closingDeadline");
    let mut unknown = reply();
    unknown[0] = number(3);
    assert_eq!(
        ChannelState::from_stack(&unknown)
            .expect_err("no such status")
            .field,
        "status"
    );
}

#[test]
fn amounts_beyond_the_range_of_money_are_refused() {
    let mut huge = reply();
    huge[3] = number(u64::MAX);
    assert_eq!(
        ChannelState::from_stack(&huge).expect_err("too much").field,
        "redeemed"
    );
    huge[3] = StackEntry::Number {
        negative: false,
        magnitude: vec![1; 15],
    };
    assert_eq!(
        ChannelState::from_stack(&huge).expect_err("too much").field,
        "redeemed"
    );
}

#[test]
fn a_deployment_attaches_deposit_reserve_and_allowance() {
    let message = deploy_and_fund(&params(), nano(1_000_000_000), 1).expect("amount");
    assert_eq!(message.value.nano(), 1_022_000_000);
    assert_eq!(message.destination, params().address());
    assert!(deploy_and_fund(&params(), nano(u64::try_from(i64::MAX).expect("positive")), 1).is_err());
}

proptest! {
    #[test]
    fn every_operation_fits_its_cells(cap in 0u64..=1 << 62, claim in 0u64..=1 << 62, query_id: u64, epoch: u32) {
        let voucher = Voucher {
            global_id: Network::TESTBED.global_id(),
            channel: params().address(),
            cap: nano(cap),
            valid_until: u32::MAX,
            epoch,
        };
        let voucher = voucher.sign(&SecretKey::from_seed(&[1; 32])).expect("signs");
        for message in [
            redeem(&Claim::new(voucher, nano(claim)), query_id),
            close(voucher.voucher.channel, query_id),
            settle(voucher.voucher.channel, query_id),
            refund(voucher.voucher.channel, epoch, None, query_id),
            refund(voucher.voucher.channel, epoch, Some(&Claim { receipts_root: [0xFF; 32], ..Claim::new(voucher, nano(claim)) }), query_id),
            top_up(voucher.voucher.channel, nano(cap), query_id).expect("amount"),
            deploy_and_fund(&params(), nano(cap), query_id).expect("amount"),
        ] {
            encode_boc(&message.to_cell()).expect("encodes");
        }
    }

    #[test]
    fn no_bytes_make_reading_a_payout_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), known: bool) {
        let op: &[u8] = if known { &[0x43, 0x54, 0x00, 0x11] } else { &[] };
        let _ = Payout::parse(&Layout::new().bytes(op).bytes(&bytes).build());
    }

    #[test]
    fn no_numbers_make_reading_a_reply_panic(magnitudes in proptest::collection::vec(
        (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..12,
    )) {
        let stack: Vec<_> = magnitudes
            .into_iter()
            .map(|(negative, magnitude)| StackEntry::Number { negative, magnitude })
            .collect();
        let _ = ChannelState::from_stack(&stack);
    }
}
