//! Getters.

use num_bigint::BigInt;

use super::{NOW, TON, block, deploy, send, with_wallet};
use crate::chain::{NO_CODE, StackEntry, TESTBED_GLOBAL_ID, method_id};
use crate::wallet::{contract, stranger};

#[test]
fn a_wallets_seqno_follows_its_transfers() {
    let (mut chain, wallet) = with_wallet(5 * TON);
    send(&mut chain, &wallet.transfer(0, u32::MAX, &[]));
    send(&mut chain, &wallet.transfer(1, u32::MAX, &[]));
    let output = chain
        .run_get_method(&wallet.address(), method_id("seqno"), &[])
        .unwrap();
    assert_eq!(
        (output.exit_code, output.stack),
        (0, vec![StackEntry::Int(BigInt::from(2))])
    );
    assert_eq!(
        method_id("seqno"),
        85_143,
        "the number that TON's documentation gives"
    );
}

#[test]
fn an_account_without_code_and_a_method_that_does_not_exist_answer_as_lite_servers_do() {
    let (mut chain, wallet) = with_wallet(5 * TON);
    send(&mut chain, &wallet.transfer(0, u32::MAX, &[]));
    let absent = chain
        .run_get_method(&stranger(7), method_id("seqno"), &[])
        .unwrap();
    assert_eq!((absent.exit_code, absent.stack), (NO_CODE, vec![]));
    let unknown = chain
        .run_get_method(&wallet.address(), method_id("no_such_method"), &[])
        .unwrap();
    assert_eq!(unknown.exit_code, 11);
}

#[test]
fn a_contract_sees_the_networks_global_id_and_the_newest_blocks_time() {
    let (mut chain, wallet) = with_wallet(5 * TON);
    // DROP, GLOBALID, NOW
    let asking = deploy(
        &mut chain,
        &wallet,
        0,
        contract(&[0x30, 0xF8, 0x35, 0xF8, 0x23]),
        TON,
    );
    block(&mut chain, NOW + 1_000);
    let output = chain.run_get_method(&asking, 1, &[]).unwrap();
    let expected = [BigInt::from(TESTBED_GLOBAL_ID), BigInt::from(NOW + 1_000)].map(StackEntry::Int);
    assert_eq!(output.stack, expected);
}

#[test]
fn arguments_come_back_unchanged_from_a_contract_that_only_drops_the_selector() {
    let (mut chain, wallet) = with_wallet(5 * TON);
    let mirror = deploy(&mut chain, &wallet, 0, contract(&[0x30]), TON);
    let cell = wallet.transfer(0, 0, &[]);
    let arguments = vec![
        StackEntry::Null,
        StackEntry::Int(-(BigInt::from(1) << 256_u32)),
        StackEntry::Cell(cell.clone()),
        StackEntry::Slice(cell.clone()),
        StackEntry::Builder(cell),
        StackEntry::Tuple(vec![StackEntry::Int(5.into()), StackEntry::Tuple(vec![])]),
    ];
    assert_eq!(
        chain.run_get_method(&mirror, 1, &arguments).unwrap().stack,
        arguments
    );
    let too_big = [StackEntry::Int(BigInt::from(1) << 256_u32)];
    assert!(chain.run_get_method(&mirror, 1, &too_big).is_err());
}

#[test]
fn an_endless_getter_runs_out_of_gas() {
    let (mut chain, wallet) = with_wallet(5 * TON);
    // PUSHCONT { } AGAIN, after DROP
    let endless = deploy(&mut chain, &wallet, 0, contract(&[0x30, 0x90, 0xEA]), TON);
    let output = chain.run_get_method(&endless, 1, &[]).unwrap();
    assert_eq!(output.exit_code, -14);
}
