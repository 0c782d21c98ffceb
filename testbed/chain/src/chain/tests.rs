//! Tests of the chain itself: time and messages in, blocks out.

mod conservation;
mod external;
mod fees;
mod getters;
mod limits;
mod robustness;

use tycho_types::models::{OrdinaryTxInfo, StateInit, StdAddr, Transaction, TxInfo};
use tycho_types::prelude::*;

use super::{Chain, ExternalMessage, TESTBED_GLOBAL_ID, message};
use crate::wallet::{WALLET_MODE, Wallet, address_of};

/// When the tests' networks start.
const NOW: u32 = 1_792_000_000;

/// One TON in nanoTON.
const TON: u128 = 1_000_000_000;

fn chain() -> Chain {
    Chain::genesis(TESTBED_GLOBAL_ID, NOW).unwrap()
}

/// A chain on which the wallet of seed 1 holds this much and is deployed.
fn with_wallet(nano: u128) -> (Chain, Wallet) {
    let mut chain = chain();
    let wallet = Wallet::new(1);
    fund(&mut chain, &wallet.address(), nano);
    (chain, wallet)
}

fn block(chain: &mut Chain, now: u32) {
    let record = chain.plan_block(now).unwrap();
    chain.apply(record).unwrap();
}

/// Makes blocks until nothing is under way.
fn settle(chain: &mut Chain) {
    while chain.waiting() + chain.queued() > 0 {
        let now = chain.head().utime;
        block(chain, now);
    }
}

fn fund(chain: &mut Chain, address: &StdAddr, nano: u128) {
    let request = chain
        .faucet_request(address, nano, u64::from(chain.head().seqno))
        .unwrap();
    chain.submit(request).unwrap();
    settle(chain);
}

fn parsed(cell: &Cell) -> ExternalMessage {
    ExternalMessage::parse(&Boc::encode(cell)).unwrap()
}

/// Checks, submits and settles.
fn send(chain: &mut Chain, cell: &Cell) {
    let message = parsed(cell);
    chain.check(&message).unwrap();
    chain.submit(message).unwrap();
    settle(chain);
}

/// Deploys a contract by a message from the wallet and returns its address.
fn deploy(chain: &mut Chain, wallet: &Wallet, seqno: u32, init: StateInit, nano: u128) -> StdAddr {
    let address = address_of(&init);
    let cell = message::internal(&address, nano, false, Some(init), Cell::default()).unwrap();
    send(chain, &wallet.transfer(seqno, u32::MAX, &[(WALLET_MODE, cell)]));
    address
}

fn last_transaction(chain: &Chain, address: &StdAddr) -> (Transaction, OrdinaryTxInfo) {
    let transaction = chain
        .transactions(address, None)
        .next()
        .unwrap()
        .cell
        .parse::<Transaction>()
        .unwrap();
    let TxInfo::Ordinary(info) = transaction.load_info().unwrap() else {
        panic!("not an ordinary transaction")
    };
    (transaction, info)
}
