//! Bounds of blocks and of the history.

use tycho_types::prelude::*;

use super::{NOW, TON, block, deploy, parsed, settle, with_wallet};
use crate::chain::history::History;
use crate::chain::{BLOCK_GAS, HISTORY_TRANSACTIONS, TransactionRecord, message};
use crate::wallet::{WALLET_MODE, contract, stranger};

#[test]
fn contracts_that_never_end_fill_a_block_and_the_rest_waits_for_the_next() {
    let (mut chain, wallet) = with_wallet(50 * TON);
    // DROP, PUSHCONT { } AGAIN: each message takes the whole million of gas.
    let endless = deploy(&mut chain, &wallet, 0, contract(&[0x30, 0x90, 0xEA]), TON);
    let calls = [(); 15].map(|()| {
        (
            WALLET_MODE,
            message::internal(&endless, TON, false, None, Cell::default()).unwrap(),
        )
    });
    chain
        .submit(parsed(&wallet.transfer(1, u32::MAX, &calls)))
        .unwrap();
    block(&mut chain, NOW);
    assert_eq!(chain.queued(), 15);
    block(&mut chain, NOW);
    let each = 1_000_000;
    assert_eq!(chain.queued(), 15 - usize::try_from(BLOCK_GAS / each).unwrap());
    settle(&mut chain);
    assert_eq!(chain.queued(), 0);
}

#[test]
fn the_oldest_transactions_are_forgotten_first() {
    let mut history = History::default();
    let newest = HISTORY_TRANSACTIONS as u64 + 5;
    for lt in 1..=newest {
        let address = stranger(u8::try_from(lt % 2).unwrap());
        history.push_transaction(TransactionRecord {
            address,
            lt,
            seqno: 0,
            cell: Cell::default(),
        });
    }
    assert_eq!(history.transactions().count(), HISTORY_TRANSACTIONS);
    assert_eq!(history.transactions().next().unwrap().lt, 6);
    let even: Vec<_> = history
        .of_account(&stranger(0), 9)
        .map(|record| record.lt)
        .collect();
    assert_eq!(even, [8, 6]);
}
