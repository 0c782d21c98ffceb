//! Closing, settling, refunding and opening again.

use cocoon_api::NanoTon;
use cocoon_ton::channel::{self, exit_code};
use cocoon_ton::message::InternalMessage;
use cocoon_ton::transaction::Transaction;
use cocoon_ton::{ChannelStatus, Voucher};

use crate::world::{CHALLENGE, RENT_OF_A_DAY, Who, World, milli, on_channel, ton};

fn close(world: &mut World) {
    let landed = world.send(Who::Payer, &[channel::close(world.channel(), 1)]);
    assert!(landed.iter().all(Transaction::succeeded), "{landed:#?}");
}

fn settle(world: &mut World, who: Who) -> Vec<Transaction> {
    world.send(who, &[channel::settle(world.channel(), 1)])
}

fn exit_of(world: &World, landed: &[Transaction]) -> Option<i32> {
    on_channel(world, landed).exit_code()
}

/// A channel of 5 TON, settled with 1 TON redeemed.
fn settled() -> World {
    let mut world = World::with_channel(ton(5));
    let voucher = world.voucher(ton(2));
    world.redeem(&voucher, ton(1));
    close(&mut world);
    world.pass(CHALLENGE);
    settle(&mut world, Who::Payer);
    world
}

#[test]
fn closing_starts_the_challenge_window_and_moves_no_money() {
    let mut world = World::with_channel(ton(5));
    let before = world.state();
    close(&mut world);
    let after = world.state();
    assert_eq!(
        after.status,
        ChannelStatus::Closing {
            deadline: world.now + CHALLENGE
        }
    );
    assert_eq!((after.available, after.epoch), (before.available, 0));
}

#[test]
fn only_the_payer_may_close() {
    let mut world = World::with_channel(ton(5));
    for who in [Who::Provider, Who::Stranger, Who::Claimer] {
        let landed = world.send(who, &[channel::close(world.channel(), 1)]);
        assert_eq!(exit_of(&world, &landed), Some(exit_code::NOT_PAYER));
        assert_eq!(world.state().status, ChannelStatus::Open);
    }
}

#[test]
fn closing_again_does_not_move_the_deadline() {
    let mut world = World::with_channel(ton(5));
    close(&mut world);
    let before = world.state();
    world.pass(100);
    let landed = world.send(Who::Payer, &[channel::close(world.channel(), 2)]);
    assert_eq!(exit_of(&world, &landed), Some(exit_code::NOT_OPEN));
    assert_eq!(world.state().status, before.status);
}

#[test]
fn settling_needs_a_close_and_the_end_of_the_window() {
    let mut world = World::with_channel(ton(5));
    let landed = settle(&mut world, Who::Payer);
    assert_eq!(exit_of(&world, &landed), Some(exit_code::NOT_CLOSING));
    close(&mut world);
    world.pass(CHALLENGE - 1);
    let landed = settle(&mut world, Who::Payer);
    assert_eq!(exit_of(&world, &landed), Some(exit_code::WINDOW_RUNNING));
    world.pass(1);
    assert!(settle(&mut world, Who::Payer).iter().all(Transaction::succeeded));
    assert_eq!(world.state().status, ChannelStatus::Closed);
}

#[test]
fn settling_pays_the_remainder_to_the_payer_whoever_sends_it() {
    for who in [Who::Payer, Who::Provider, Who::Stranger] {
        let mut world = World::with_channel(ton(5));
        let voucher = world.voucher(ton(2));
        world.redeem(&voucher, ton(2));
        close(&mut world);
        world.pass(CHALLENGE);
        let remainder = world.state().available;

        let landed = settle(&mut world, who);

        assert!(landed.iter().all(Transaction::succeeded), "{landed:#?}");
        let payments = on_channel(&world, &landed).payments();
        assert_eq!(payments[0].destination, world.payer.address());
        let rent = remainder
            .checked_sub(payments[0].value)
            .expect("no more than there was");
        assert!(
            rent <= RENT_OF_A_DAY,
            "fees come out of what the sender attached, and {rent} is missing"
        );
        assert!(
            payments[1].value > milli(9),
            "the sender's excess, got {}",
            payments[1].value
        );
        let state = world.state();
        assert_eq!(
            (state.status, state.epoch, state.redeemed),
            (ChannelStatus::Closed, 1, ton(2))
        );
        assert_eq!(state.available, NanoTon::ZERO);
        assert_eq!(world.balance(world.channel()), channel::RENT_RESERVE);
    }
}

#[test]
fn settling_twice_pays_once() {
    let mut world = settled();
    let before = world.state();
    let landed = settle(&mut world, Who::Payer);
    assert_eq!(exit_of(&world, &landed), Some(exit_code::NOT_CLOSING));
    assert_eq!(world.state().epoch, before.epoch);
}

#[test]
fn close_settle_and_refund_with_too_little_value_change_nothing() {
    let too_little = NanoTon::from_nano(300_000).expect("in range");
    let with_too_little = |message: InternalMessage| InternalMessage {
        value: too_little,
        ..message
    };
    let mut world = World::with_channel(ton(5));
    let channel = world.channel();
    let refused = |world: &mut World, who: Who, message: InternalMessage| {
        let before = world.state();
        let landed = world.send(who, &[with_too_little(message)]);
        assert_eq!(exit_of(world, &landed), Some(exit_code::VALUE_TOO_SMALL));
        assert_eq!(
            (world.state().status, world.state().epoch),
            (before.status, before.epoch)
        );
    };
    refused(&mut world, Who::Payer, channel::close(channel, 1));
    refused(&mut world, Who::Provider, channel::refund(channel, 0, None, 1));
    close(&mut world);
    world.pass(CHALLENGE);
    refused(&mut world, Who::Stranger, channel::settle(channel, 1));
}

#[test]
fn an_empty_channel_can_be_settled() {
    let mut world = World::with_channel(ton(1));
    let voucher = world.voucher(ton(50));
    let available = world.state().available;
    world.redeem(&voucher, available);
    close(&mut world);
    world.pass(CHALLENGE);
    let landed = settle(&mut world, Who::Stranger);
    assert!(landed.iter().all(Transaction::succeeded), "{landed:#?}");
    assert_eq!(world.state().status, ChannelStatus::Closed);
}

#[test]
fn a_channel_whose_rent_ate_into_the_reserve_can_be_settled() {
    let mut world = World::with_channel(NanoTon::ZERO);
    close(&mut world);
    world.pass(40 * 365 * 86_400);
    let landed = settle(&mut world, Who::Payer);
    assert!(landed.iter().all(Transaction::succeeded), "{landed:#?}");
    assert_eq!(world.state().status, ChannelStatus::Closed);
    assert!(world.balance(world.channel()) < channel::RENT_RESERVE);
}

#[test]
fn a_closed_channel_redeems_nothing() {
    let mut world = settled();
    let voucher = world.voucher(ton(2));
    let landed = world.redeem(&voucher, ton(2));
    assert_eq!(exit_of(&world, &landed), Some(exit_code::CLOSED));
    assert_eq!(world.redeemed(), ton(1));
}

#[test]
fn a_top_up_by_the_payer_opens_a_closed_channel_in_the_next_epoch() {
    let mut world = settled();
    let top_up = channel::top_up(world.channel(), ton(3), 2).expect("amount");
    assert!(
        world
            .send(Who::Payer, &[top_up])
            .iter()
            .all(Transaction::succeeded)
    );
    let state = world.state();
    assert_eq!(
        (state.status, state.epoch, state.redeemed),
        (ChannelStatus::Open, 1, ton(1))
    );

    let dead = world.voucher(ton(2));
    let landed = world.redeem(&dead, ton(2));
    assert_eq!(
        exit_of(&world, &landed),
        Some(exit_code::WRONG_EPOCH),
        "vouchers of the epoch before are dead"
    );

    let alive = world.sign_voucher(Voucher {
        epoch: 1,
        ..world.valid_voucher(ton(2))
    });
    assert!(world.redeem(&alive, ton(2)).iter().all(Transaction::succeeded));
    assert_eq!(world.redeemed(), ton(2), "the total counts on over epochs");
}

#[test]
fn nobody_but_the_payer_opens_a_closed_channel() {
    let mut world = settled();
    for who in [Who::Provider, Who::Stranger, Who::Claimer] {
        let top_up = channel::top_up(world.channel(), ton(3), 2).expect("amount");
        let landed = world.send(who, &[top_up]);
        let transaction = on_channel(&world, &landed);
        assert_eq!(transaction.exit_code(), Some(exit_code::NOT_PAYER));
        assert!(
            transaction.payments()[0].value > milli(2_990),
            "the deposit came back"
        );
        assert_eq!(world.state().status, ChannelStatus::Closed);
    }
}

#[test]
fn sending_the_deployment_again_opens_a_closed_channel_without_resetting_it() {
    let mut world = settled();
    let again = channel::deploy_and_fund(&world.params(), ton(1), 3).expect("amount");
    assert!(
        world
            .send(Who::Payer, &[again])
            .iter()
            .all(Transaction::succeeded)
    );
    let state = world.state();
    assert_eq!(
        (state.status, state.epoch, state.redeemed),
        (ChannelStatus::Open, 1, ton(1))
    );
}

#[test]
fn the_provider_may_give_the_remainder_back_at_once() {
    let mut world = World::with_channel(ton(5));
    let remainder = world.state().available;
    let landed = world.send(
        Who::Provider,
        &[channel::refund(world.channel(), world.state().epoch, None, 1)],
    );
    assert!(landed.iter().all(Transaction::succeeded), "{landed:#?}");
    let payment = &on_channel(&world, &landed).payments()[0];
    assert_eq!(
        (payment.destination, payment.value),
        (world.payer.address(), remainder)
    );
    let state = world.state();
    assert_eq!((state.status, state.epoch), (ChannelStatus::Closed, 1));
}

#[test]
fn nobody_but_the_provider_may_refund() {
    let mut world = World::with_channel(ton(5));
    for who in [Who::Payer, Who::Stranger, Who::Claimer] {
        let landed = world.send(
            who,
            &[channel::refund(world.channel(), world.state().epoch, None, 1)],
        );
        assert_eq!(exit_of(&world, &landed), Some(exit_code::NOT_PROVIDER));
        assert_eq!(world.state().status, ChannelStatus::Open);
    }
}

#[test]
fn a_refund_after_the_settlement_pays_nothing() {
    let mut world = settled();
    let landed = world.send(
        Who::Provider,
        &[channel::refund(world.channel(), world.state().epoch, None, 1)],
    );
    assert_eq!(exit_of(&world, &landed), Some(exit_code::CLOSED));
    assert_eq!(world.state().epoch, 1);
}
