//! Deploying, depositing, and messages that are none of the contract's operations.

use cocoon_api::NanoTon;
use cocoon_ton::channel::{self, exit_code};
use cocoon_ton::message::{ExternalMessage, InternalMessage, MessageInfo};
use cocoon_ton::transaction::Transaction;
use cocoon_ton::{Cell, ChannelStatus, decode_boc};

use crate::world::{CHALLENGE, Who, World, milli, on_channel, ton};

#[test]
fn a_deployed_channel_is_open_and_holds_its_deposit() {
    let world = World::with_channel(ton(5));
    let state = world.state();
    assert_eq!(
        (state.status, state.epoch, state.redeemed),
        (ChannelStatus::Open, 0, NanoTon::ZERO)
    );
    assert_eq!(state.params, world.params());
    assert!(
        state.available >= ton(5),
        "at least the deposit, got {}",
        state.available
    );
    assert!(state.available < ton(5).checked_add(milli(2)).expect("in range"));
}

#[test]
fn deploying_twice_adds_to_the_deposit_and_resets_nothing() {
    let mut world = World::with_channel(ton(5));
    let voucher = world.voucher(ton(2));
    world.redeem(&voucher, ton(1));
    let before = world.state();
    let again = channel::deploy_and_fund(&world.params(), ton(1), 2).expect("amount");
    assert!(
        world
            .send(Who::Payer, &[again])
            .iter()
            .all(Transaction::succeeded)
    );
    let after = world.state();
    assert_eq!((after.redeemed, after.epoch), (ton(1), 0));
    assert!(after.available > before.available.checked_add(ton(1)).expect("in range"));
}

#[test]
fn anyone_may_add_to_an_open_channel() {
    let mut world = World::with_channel(ton(1));
    for who in [Who::Payer, Who::Provider, Who::Stranger, Who::Claimer] {
        let before = world.state().available;
        let top_up = channel::top_up(world.channel(), ton(1), 2).expect("amount");
        assert!(world.send(who, &[top_up]).iter().all(Transaction::succeeded));
        let gained = world.state().available.checked_sub(before).expect("gained");
        assert!(gained >= ton(1), "at least the deposit, got {gained}");
    }
}

#[test]
fn a_top_up_by_the_payer_while_closing_opens_the_channel_in_the_same_epoch() {
    for passed in [0, CHALLENGE - 1, CHALLENGE, 9 * CHALLENGE] {
        let mut world = World::with_channel(ton(1));
        let voucher = world.voucher(ton(2));
        world.send(Who::Payer, &[channel::close(world.channel(), 1)]);
        world.pass(passed);
        let top_up = channel::top_up(world.channel(), ton(1), 2).expect("amount");
        let landed = world.send(Who::Payer, &[top_up]);
        assert!(landed.iter().all(Transaction::succeeded), "{landed:#?}");
        let state = world.state();
        assert_eq!((state.status, state.epoch), (ChannelStatus::Open, 0));
        let landed = world.redeem(&voucher, milli(1_500));
        assert!(
            landed.iter().all(Transaction::succeeded),
            "no promise of the epoch is lost"
        );

        world.send(Who::Payer, &[channel::close(world.channel(), 3)]);
        let deadline = world.now + CHALLENGE;
        assert_eq!(
            world.state().status,
            ChannelStatus::Closing { deadline },
            "the next close gives a whole window"
        );
    }
}

#[test]
fn a_plain_transfer_is_a_deposit() {
    let mut world = World::with_channel(ton(1));
    let before = world.state().available;
    let landed = world.send(
        Who::Stranger,
        &[InternalMessage::transfer(world.channel(), ton(1))],
    );
    assert!(landed.iter().all(Transaction::succeeded), "{landed:#?}");
    assert!(world.state().available > before.checked_add(milli(999)).expect("in range"));
}

#[test]
fn an_unknown_operation_is_refused_and_its_value_comes_back() {
    let mut world = World::with_channel(ton(1));
    let before = world.state();
    let message = InternalMessage {
        body: Some(unknown_operation()),
        ..channel::close(world.channel(), 1)
    };
    let landed = world.send(Who::Payer, &[message]);
    let transaction = on_channel(&world, &landed);
    assert_eq!(transaction.exit_code(), Some(exit_code::WRONG_OP));
    assert_eq!(transaction.payments()[0].destination, world.payer.address());
    assert_eq!(world.state().status, before.status);
}

#[test]
fn external_messages_are_refused() {
    let mut world = World::with_channel(ton(1));
    let message = ExternalMessage {
        destination: world.channel(),
        init: None,
        body: unknown_operation(),
    };
    let refusal = world
        .broadcast(&message.encode().expect("bag of cells"))
        .expect_err("refused");
    assert!(
        refusal.contains("exit code 11"),
        "no handler of external messages: {refusal}"
    );
}

#[test]
fn nothing_that_the_contract_pays_can_bounce_back() {
    let mut world = World::with_channel(ton(5));
    let voucher = world.voucher(ton(2));
    let mut landed = world.redeem(&voucher, ton(1));
    landed.extend(world.send(Who::Payer, &[channel::close(world.channel(), 1)]));
    landed.extend(world.send(
        Who::Provider,
        &[channel::refund(world.channel(), world.state().epoch, None, 1)],
    ));
    let channel = world.channel().account;
    let sent: Vec<_> = landed
        .iter()
        .filter(|transaction| transaction.account == channel)
        .collect();
    assert_eq!(sent.len(), 3);
    for message in sent.iter().flat_map(|transaction| &transaction.out_messages) {
        assert!(
            matches!(message.info, MessageInfo::Internal { bounce: false, .. }),
            "{message:?}"
        );
    }
}

/// A body of 32 bits, `0x0000002a`.
fn unknown_operation() -> Cell {
    decode_boc(&hex::decode("b5ee9c720101010100060000080000002a").expect("hex")).expect("bag of cells")
}
