//! External messages: refused at the door, let in, failed later.

use tycho_types::prelude::*;

use super::{NOW, TON, block, chain, deploy, last_transaction, parsed, send, settle, with_wallet};
use crate::chain::{ExternalError, ExternalMessage, MEMPOOL_MESSAGES, message};
use crate::wallet::{WALLET_MODE, Wallet, contract, payment, stranger};

#[test]
fn an_accepted_message_waits_for_the_next_block_and_its_payment_for_the_one_after() {
    let (mut chain, wallet) = with_wallet(5 * TON);
    let message = parsed(&wallet.transfer(0, u32::MAX, &[payment(&stranger(7), TON)]));
    chain.check(&message).unwrap();
    chain.submit(message).unwrap();
    assert_eq!((chain.waiting(), chain.queued()), (1, 0));
    assert_eq!(chain.balance(&wallet.address()).unwrap(), 5 * TON);

    block(&mut chain, NOW + 1);
    assert_eq!((chain.waiting(), chain.queued()), (0, 1));
    assert!(chain.balance(&wallet.address()).unwrap() < 4 * TON);
    assert_eq!(chain.balance(&stranger(7)).unwrap(), 0);

    block(&mut chain, NOW + 2);
    assert_eq!((chain.waiting(), chain.queued()), (0, 0));
    assert_eq!(chain.balance(&stranger(7)).unwrap(), TON);
}

#[test]
fn a_message_that_the_contract_does_not_accept_is_refused_with_its_exit_code() {
    let (mut chain, wallet) = with_wallet(5 * TON);
    send(&mut chain, &wallet.transfer(0, u32::MAX, &[]));
    let refusal = |cell| chain.check(&parsed(&cell)).unwrap_err();
    let exit_code = |error| match error {
        ExternalError::NotAccepted { exit_code, .. } => exit_code,
        other => panic!("{other}"),
    };
    assert_eq!(
        exit_code(refusal(wallet.transfer(7, u32::MAX, &[]))),
        133,
        "a wrong seqno"
    );
    assert_eq!(
        exit_code(refusal(wallet.transfer(1, NOW - 1, &[]))),
        136,
        "expired"
    );
    let mut forged = wallet.transfer(1, u32::MAX, &[]);
    let other_key = Wallet::new(2).transfer(1, u32::MAX, &[]);
    let body = other_key
        .parse::<tycho_types::models::Message<'_>>()
        .unwrap()
        .body;
    forged =
        message::external(&wallet.address(), None, CellBuilder::build_from(body).unwrap()).unwrap_or(forged);
    assert_eq!(exit_code(refusal(forged)), 135, "another key's signature");
}

#[test]
fn a_message_to_an_account_without_code_or_balance_is_refused_before_anything_runs() {
    let chain = chain();
    let wallet = Wallet::new(1);
    let error = chain
        .check(&parsed(&wallet.transfer(0, u32::MAX, &[])))
        .unwrap_err();
    assert_eq!(
        error,
        ExternalError::NotRun {
            address: wallet.address().to_string()
        }
    );
}

#[test]
fn the_same_external_is_refused_once_its_seqno_is_used() {
    let (mut chain, wallet) = with_wallet(5 * TON);
    let transfer = wallet.transfer(0, u32::MAX, &[payment(&stranger(7), TON)]);
    send(&mut chain, &transfer);
    let error = chain.check(&parsed(&transfer)).unwrap_err();
    assert!(
        matches!(error, ExternalError::NotAccepted { exit_code: 133, .. }),
        "{error}"
    );
}

#[test]
fn two_messages_of_one_seqno_both_pass_the_check_and_only_one_is_executed() {
    let (mut chain, wallet) = with_wallet(5 * TON);
    for payee in [stranger(7), stranger(8)] {
        let message = parsed(&wallet.transfer(0, u32::MAX, &[payment(&payee, TON)]));
        chain.check(&message).unwrap();
        chain.submit(message).unwrap();
    }
    settle(&mut chain);
    assert_eq!(chain.balance(&stranger(7)).unwrap(), TON);
    assert_eq!(chain.balance(&stranger(8)).unwrap(), 0);
}

#[test]
fn a_message_that_waits_past_its_validity_is_dropped() {
    let (mut chain, wallet) = with_wallet(5 * TON);
    let message = parsed(&wallet.transfer(0, NOW + 60, &[payment(&stranger(7), TON)]));
    chain.check(&message).unwrap();
    chain.submit(message).unwrap();
    block(&mut chain, NOW + 61);
    settle(&mut chain);
    assert_eq!(chain.balance(&stranger(7)).unwrap(), 0);
    assert_eq!(chain.balance(&wallet.address()).unwrap(), 5 * TON);
}

#[test]
fn a_wallet_too_poor_to_pay_accepts_and_pays_nothing() {
    let (mut chain, wallet) = with_wallet(TON);
    let (_, cell) = payment(&stranger(7), 3 * TON);
    send(&mut chain, &wallet.transfer(0, u32::MAX, &[(WALLET_MODE, cell)]));
    let (transaction, info) = last_transaction(&chain, &wallet.address());
    assert!(!info.aborted && info.action_phase.unwrap().success);
    assert_eq!(u16::from(transaction.out_msg_count), 0);
    assert_eq!(chain.balance(&stranger(7)).unwrap(), 0);
}

#[test]
fn the_same_bytes_wait_only_once_unless_two_nodes_hold_them() {
    let (mut chain, wallet) = with_wallet(5 * TON);
    let message = parsed(&wallet.transfer(0, u32::MAX, &[payment(&stranger(7), TON)]));
    chain.submit(message.clone()).unwrap();
    chain.submit(message.clone()).unwrap();
    assert_eq!(chain.waiting(), 1);
    chain.submit_twice(message).unwrap();
    assert_eq!(chain.waiting(), 2);
    settle(&mut chain);
    assert_eq!(chain.balance(&stranger(7)).unwrap(), TON);
}

#[test]
fn the_mempool_is_bounded() {
    let mut chain = chain();
    for nonce in 0..u64::try_from(MEMPOOL_MESSAGES).unwrap() {
        let request = chain.faucet_request(&stranger(7), 1, nonce).unwrap();
        chain.submit(request).unwrap();
    }
    let one_more = chain.faucet_request(&stranger(7), 1, u64::MAX).unwrap();
    assert_eq!(chain.submit(one_more), Err(ExternalError::MempoolFull));
}

#[test]
fn what_is_no_inbound_external_message_is_refused() {
    let parse = |cell: &Cell| ExternalMessage::parse(&Boc::encode(cell));
    let (_, internal) = payment(&stranger(7), 1);
    assert!(matches!(parse(&internal), Err(ExternalError::NotExternal(_))));
    assert!(matches!(
        parse(&Cell::default()),
        Err(ExternalError::NotExternal(_))
    ));
    assert!(matches!(
        ExternalMessage::parse(b"not a bag"),
        Err(ExternalError::NotBagOfCells(_))
    ));
    assert!(matches!(
        ExternalMessage::parse(&vec![0; 65_536]),
        Err(ExternalError::TooLarge { size: 65_536, .. })
    ));
    let mut elsewhere = stranger(7);
    elsewhere.workchain = 5;
    let elsewhere = message::external(&elsewhere, None, Cell::default()).unwrap();
    assert_eq!(parse(&elsewhere), Err(ExternalError::Workchain(5)));
    let deep = (0..600).fold(Cell::default(), |child, _| {
        CellBuilder::build_from(child).unwrap()
    });
    let deep = message::external(&stranger(7), None, deep).unwrap();
    assert!(matches!(
        parse(&deep),
        Err(ExternalError::TooDeep { limit: 512, .. })
    ));
}

#[test]
fn the_normalized_hash_does_not_depend_on_the_state_init() {
    let wallet = Wallet::new(1);
    let with_code = wallet.transfer(0, u32::MAX, &[]);
    let body = with_code
        .parse::<tycho_types::models::Message<'_>>()
        .unwrap()
        .body;
    let without = message::external(&wallet.address(), None, CellBuilder::build_from(body).unwrap()).unwrap();
    assert_ne!(with_code.repr_hash(), without.repr_hash());
    assert_eq!(
        parsed(&with_code).normalized_hash().unwrap(),
        parsed(&without).normalized_hash().unwrap()
    );
}

#[test]
fn a_contract_that_never_accepts_takes_no_external_message() {
    let (mut chain, wallet) = with_wallet(5 * TON);
    let silent = deploy(&mut chain, &wallet, 0, contract(&[0x30]), TON);
    let error = chain
        .check(&parsed(
            &message::external(&silent, None, Cell::default()).unwrap(),
        ))
        .unwrap_err();
    assert!(
        matches!(error, ExternalError::NotAccepted { exit_code: 0, .. }),
        "{error}"
    );
}
