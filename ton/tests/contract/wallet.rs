//! Wallet v5r1 on a real TVM: what it accepts, what it refuses, and that acceptance is not payment.

use cocoon_api::NanoTon;
use cocoon_ton::SignedMessage;
use cocoon_ton::message::InternalMessage;
use cocoon_ton::wallet::{EXIT_EXPIRED, EXIT_WRONG_SEQNO, MAX_MESSAGES, SendMode};

use crate::world::{FUNDS, Who, World, milli, ton};

fn refused_with(refusal: &str, code: i32) -> bool {
    refusal.contains(&format!("exit code {code}"))
}

#[test]
fn the_first_message_deploys_the_wallet_and_the_receiver_gets_the_exact_value() {
    let mut world = World::new();
    let stranger = world.stranger.address();
    let landed = world.send(Who::Payer, &[InternalMessage::transfer(stranger, milli(1_234))]);
    assert!(landed[0].succeeded());
    assert_eq!(landed[0].payments()[0].value, milli(1_234));
    let landed = world.send(Who::Payer, &[InternalMessage::transfer(stranger, milli(1))]);
    assert!(landed[0].succeeded(), "seqno 1 needs no state init");
}

#[test]
fn a_transactions_fees_are_all_that_its_account_lost_apart_from_the_value() {
    let mut world = World::new();
    let landed = world.send(
        Who::Payer,
        &[InternalMessage::transfer(world.stranger.address(), ton(1))],
    );
    let lost = FUNDS
        .checked_sub(world.balance(world.payer.address()))
        .expect("spent");
    assert_eq!(lost.checked_sub(ton(1)), landed[0].fees());
}

#[test]
fn a_message_is_found_by_its_normalised_hash() {
    let mut world = World::new();
    let signed = world.sign(
        Who::Payer,
        &[InternalMessage::transfer(world.stranger.address(), ton(1))],
    );
    let landed = world.broadcast(&signed.boc).expect("accepted");
    assert_eq!(landed[0].external_message_hash(), Some(signed.hash));
    assert_eq!(SignedMessage::decode(&signed.boc).expect("own bytes"), signed);
}

#[test]
fn the_same_bytes_are_accepted_once() {
    let mut world = World::new();
    let signed = world.sign(
        Who::Payer,
        &[InternalMessage::transfer(world.stranger.address(), ton(1))],
    );
    world.broadcast(&signed.boc).expect("accepted");
    let refusal = world.broadcast(&signed.boc).expect_err("replayed");
    assert!(refused_with(&refusal, EXIT_WRONG_SEQNO), "{refusal}");
}

#[test]
fn an_expired_message_is_refused() {
    let mut world = World::new();
    let signed = world.sign(
        Who::Payer,
        &[InternalMessage::transfer(world.stranger.address(), ton(1))],
    );
    world.pass(signed.valid_until - world.now);
    let refusal = world.broadcast(&signed.boc).expect_err("expired");
    assert!(refused_with(&refusal, EXIT_EXPIRED), "{refusal}");
}

#[test]
fn a_wallet_that_is_too_poor_accepts_raises_its_seqno_and_pays_nobody() {
    let mut world = World::new();
    let landed = world.send(
        Who::Payer,
        &[InternalMessage::transfer(world.stranger.address(), ton(1_000))],
    );
    let transaction = &landed[0];
    assert_eq!(transaction.exit_code(), Some(0), "the wallet reports success");
    assert_eq!(transaction.payments(), [], "and nothing left");
    assert!(!transaction.succeeded(), "which the skipped action betrays");
    assert_eq!(
        transaction
            .outcome
            .and_then(|outcome| outcome.action)
            .map(|action| action.skipped),
        Some(1)
    );
    let landed = world.send(
        Who::Payer,
        &[InternalMessage::transfer(world.stranger.address(), ton(1))],
    );
    assert!(landed[0].succeeded(), "the next seqno is in use");
}

#[test]
fn one_transfer_carries_255_messages_in_order() {
    let mut world = World::new();
    let amounts: Vec<_> = (1..=MAX_MESSAGES as u64)
        .map(|n| NanoTon::from_nano(1_000_000 + n).expect("in range"))
        .collect();
    let stranger = world.stranger.address();
    let messages: Vec<_> = amounts
        .iter()
        .map(|amount| InternalMessage::transfer(stranger, *amount))
        .collect();
    let landed = world.send(Who::Payer, &messages);
    assert!(landed[0].succeeded());
    let values: Vec<_> = landed[0].payments().iter().map(|payment| payment.value).collect();
    assert_eq!(values, amounts);
}

#[test]
fn a_whole_balance_transfer_leaves_nothing() {
    let mut world = World::new();
    let to = world.stranger.address();
    let unsigned = world
        .payer
        .wallet
        .transfer(
            0,
            world.now + 60,
            &[(
                SendMode::WholeBalance,
                InternalMessage::transfer(to, NanoTon::ZERO),
            )],
        )
        .expect("transfer");
    let signed = unsigned.sign(&world.payer.key).expect("signature");
    let landed = world.broadcast(&signed.boc).expect("accepted");
    assert!(landed[0].succeeded());
    assert_eq!(world.balance(world.payer.address()), NanoTon::ZERO);
    assert!(landed[0].payments()[0].value > FUNDS.checked_sub(milli(2)).expect("in range"));
}
