//! What transfers, bounces and time cost: the formulas of the configuration, written out again by hand.

use tycho_types::cell::CellTreeStats;
use tycho_types::models::{ComputePhase, MsgInfo};
use tycho_types::prelude::*;

use super::{NOW, TON, block, chain, deploy, fund, last_transaction, send, settle, with_wallet};
use crate::chain::message;
use crate::wallet::{WALLET_MODE, contract, payment, stranger};

/// `ceil(value / 65536)`
fn shifted(value: u128) -> u128 {
    value.div_ceil(65_536)
}

fn gas_fee(gas: u64) -> u128 {
    6_667 + shifted(4_369_067 * u128::from(gas.saturating_sub(100)))
}

/// Forwarding of a message whose cells below the root are these.
fn forward_fee(below_root: CellTreeStats) -> u128 {
    66_667
        + shifted(
            4_369_067 * u128::from(below_root.bit_count) + 436_906_667 * u128::from(below_root.cell_count),
        )
}

/// Distinct cells below the root of a message.
fn below_root(root: &Cell) -> CellTreeStats {
    let all = root.compute_unique_stats(usize::MAX).unwrap();
    CellTreeStats {
        bit_count: all.bit_count - u64::from(root.bit_len()),
        cell_count: all.cell_count - 1,
    }
}

#[test]
fn a_transfer_costs_exactly_import_gas_and_forwarding_and_the_value_arrives_whole() {
    let (mut chain, wallet) = with_wallet(5 * TON);
    let payee = stranger(7);
    // The first transfer deploys the wallet; the second is the ordinary case.
    send(&mut chain, &wallet.transfer(0, u32::MAX, &[payment(&payee, TON)]));
    let before = chain.balance(&wallet.address()).unwrap();
    let external = wallet.transfer(1, u32::MAX, &[payment(&payee, TON / 2)]);
    send(&mut chain, &external);

    let (transaction, info) = last_transaction(&chain, &wallet.address());
    let ComputePhase::Executed(compute) = info.compute_phase else {
        panic!("the wallet did not run")
    };
    let gas = compute.gas_used.into_inner();
    assert_eq!(gas, 4_939, "gas of a v5r1 transfer on mainnet");
    let import = forward_fee(below_root(&external));
    let forward = forward_fee(CellTreeStats {
        bit_count: 0,
        cell_count: 0,
    });
    let paid = before - chain.balance(&wallet.address()).unwrap() - TON / 2;
    assert_eq!(paid, import + gas_fee(gas) + forward);

    // A third of the forwarding stays with the sender's validators, the rest travels with the message.
    let first_part = (forward * 21_845) >> 16;
    assert_eq!(
        transaction.total_fees.tokens.into_inner(),
        import + gas_fee(gas) + first_part
    );
    assert_eq!(chain.balance(&payee).unwrap(), TON + TON / 2);
}

#[test]
fn a_message_to_an_account_without_code_bounces_and_pays_only_its_way() {
    let (mut chain, wallet) = with_wallet(5 * TON);
    let nobody = stranger(9);
    let cell = message::internal(&nobody, TON, true, None, Cell::default()).unwrap();
    send(&mut chain, &wallet.transfer(0, u32::MAX, &[(WALLET_MODE, cell)]));

    assert_eq!(chain.balance(&nobody).unwrap(), 0);
    let (bounced, _) = last_transaction(&chain, &wallet.address());
    let MsgInfo::Int(info) = bounced.load_in_msg().unwrap().unwrap().info else {
        panic!("not an internal message")
    };
    assert!(info.bounced && !info.bounce);
    let forward = forward_fee(CellTreeStats {
        bit_count: 0,
        cell_count: 0,
    });
    assert_eq!(info.value.tokens.into_inner(), TON - forward);
}

#[test]
fn a_contract_that_throws_bounces_after_paying_for_its_gas() {
    let (mut chain, wallet) = with_wallet(5 * TON);
    // THROWIFNOT 42 on the selector: fails for internal messages, which have selector 0.
    let throwing = deploy(&mut chain, &wallet, 0, contract(&[0xF2, 0xAA]), TON);
    // Deployment itself threw after the code was installed; its value was not bounceable and stays.
    assert_eq!(
        chain.balance(&throwing).unwrap(),
        TON - gas_fee(last_gas(&chain, &throwing))
    );
    let before = chain.balance(&throwing).unwrap();
    let cell = message::internal(&throwing, TON, true, None, Cell::default()).unwrap();
    send(&mut chain, &wallet.transfer(1, u32::MAX, &[(WALLET_MODE, cell)]));

    assert_eq!(chain.balance(&throwing).unwrap(), before);
    let (bounced, _) = last_transaction(&chain, &wallet.address());
    let MsgInfo::Int(info) = bounced.load_in_msg().unwrap().unwrap().info else {
        panic!("not an internal message")
    };
    let forward = forward_fee(CellTreeStats {
        bit_count: 0,
        cell_count: 0,
    });
    assert_eq!(
        info.value.tokens.into_inner(),
        TON - gas_fee(last_gas(&chain, &throwing)) - forward
    );
}

fn last_gas(chain: &crate::chain::Chain, address: &tycho_types::models::StdAddr) -> u64 {
    let (_, info) = last_transaction(chain, address);
    let ComputePhase::Executed(compute) = info.compute_phase else {
        panic!("the contract did not run")
    };
    compute.gas_used.into_inner()
}

#[test]
fn a_year_of_storage_is_charged_when_the_account_next_moves() {
    let (mut chain, wallet) = with_wallet(5 * TON);
    // DROP: keeps whatever arrives.
    let keeper = deploy(&mut chain, &wallet, 0, contract(&[0x30]), TON);
    let account = chain.account(&keeper).unwrap().unwrap();
    let cells = u128::from(account.storage_stat.used.cells.into_inner());
    let before = account.balance.tokens.into_inner();
    assert_eq!(cells, 3, "the account, its code and its data");

    let year = 365 * 24 * 3600;
    block(&mut chain, NOW + year);
    fund(&mut chain, &keeper, TON);
    let (_, info) = last_transaction(&chain, &keeper);
    let storage = shifted(135 * cells * u128::from(year));
    let charged = info.storage_phase.unwrap().storage_fees_collected.into_inner();
    assert_eq!(charged, storage);
    assert_eq!(
        chain.balance(&keeper).unwrap(),
        before + TON - storage - gas_fee(last_gas(&chain, &keeper))
    );
}

#[test]
fn the_faucet_pays_from_a_real_balance_and_bears_the_fees() {
    let mut chain = chain();
    let faucet = chain.faucet().clone();
    let before = chain.balance(&faucet).unwrap();
    fund(&mut chain, &stranger(3), 7 * TON);
    settle(&mut chain);
    assert_eq!(chain.balance(&stranger(3)).unwrap(), 7 * TON);
    let spent = before - chain.balance(&faucet).unwrap();
    assert!(spent > 7 * TON && spent < 7 * TON + TON / 100, "{spent}");
}
