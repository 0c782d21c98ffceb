//! Value is neither made nor lost, whatever people send.

use proptest::prelude::*;
use tycho_types::models::StdAddr;
use tycho_types::prelude::*;

use super::{Chain, NOW, TON, block, chain, settle};
use crate::chain::{ExternalMessage, message};
use crate::wallet::{Wallet, contract, stranger};

/// Something that somebody does.
#[derive(Debug, Clone)]
enum Step {
    Faucet {
        to: u8,
        nano: u64,
    },
    Transfer {
        from: u8,
        to: u8,
        nano: u64,
        bounce: bool,
        mode: u8,
        seqno: u32,
    },
    Wait {
        seconds: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let nano = prop_oneof![0_u64..1_000, 0_u64..20_000_000_000];
    prop_oneof![
        (0_u8..8, nano.clone()).prop_map(|(to, nano)| Step::Faucet { to, nano }),
        // Modes: ignore errors, with fees apart, bounce on failure, destroy, the rest of the value or of the balance.
        (
            0_u8..4,
            0_u8..8,
            nano,
            any::<bool>(),
            prop::sample::select(vec![2_u8, 3, 18, 34, 66, 130, 162]),
            0_u32..4
        )
            .prop_map(|(from, to, nano, bounce, mode, seqno)| Step::Transfer {
                from,
                to,
                nano,
                bounce,
                mode,
                seqno
            }),
        (0_u32..40_000_000).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// Four wallets, two contracts that fail, two strangers.
fn account(index: u8) -> StdAddr {
    match index {
        0..4 => Wallet::new(index).address(),
        4 => crate::wallet::address_of(&contract(&[0xF2, 0xAA])),
        5 => crate::wallet::address_of(&contract(&[0x30, 0x90, 0xEA])),
        other => stranger(other),
    }
}

fn run(chain: &mut Chain, step: &Step, nonce: u64) {
    match *step {
        Step::Faucet { to, nano } => {
            let request = chain
                .faucet_request(&account(to), u128::from(nano), nonce)
                .unwrap();
            chain.submit(request).unwrap();
        }
        Step::Transfer {
            from,
            to,
            nano,
            bounce,
            mode,
            seqno,
        } => {
            let init = match to {
                4 => Some(contract(&[0xF2, 0xAA])),
                5 => Some(contract(&[0x30, 0x90, 0xEA])),
                _ => None,
            };
            let cell =
                message::internal(&account(to), u128::from(nano), bounce, init, Cell::default()).unwrap();
            let external = Wallet::new(from).transfer_boc(seqno, &[(mode, cell)]);
            // Unchecked: what a node would refuse must be harmless in a block too.
            chain.submit(ExternalMessage::parse(&external).unwrap()).unwrap();
        }
        Step::Wait { seconds } => {
            let now = chain.head().utime.saturating_add(seconds);
            block(chain, now);
        }
    }
}

fn assert_conserved(chain: &Chain) {
    let totals = chain.totals();
    let somewhere = chain.balances().unwrap() + chain.under_way().unwrap() + totals.collected + totals.burned;
    assert_eq!(somewhere, totals.issued);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn value_is_conserved_and_a_snapshot_is_the_same_chain(steps in prop::collection::vec(step(), 1..30)) {
        let mut chain = chain();
        for index in 0..4 {
            let request = chain.faucet_request(&account(index), 10 * TON, u64::from(index)).unwrap();
            chain.submit(request).unwrap();
        }
        settle(&mut chain);
        for (nonce, step) in (100..).zip(&steps) {
            run(&mut chain, step, nonce);
            let now = chain.head().utime + 1;
            block(&mut chain, now);
            assert_conserved(&chain);
        }
        let restored = Chain::restore(chain.snapshot().unwrap()).unwrap();
        prop_assert_eq!(restored.snapshot().unwrap(), chain.snapshot().unwrap());
        settle(&mut chain);
        assert_conserved(&chain);
    }
}

#[test]
fn time_never_goes_back_and_logical_time_always_forward() {
    let mut chain = chain();
    block(&mut chain, NOW + 100);
    let before = chain.head().clone();
    block(&mut chain, NOW);
    assert_eq!(chain.head().utime, NOW + 100);
    assert!(chain.head().start_lt > before.end_lt && chain.head().seqno == before.seqno + 1);
}
