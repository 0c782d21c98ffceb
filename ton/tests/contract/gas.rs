//! What each operation burns and costs, on the testbed's prices (those of mainnet in August 2026).
//!
//! The contract asks senders for an upper bound of gas (`contracts/fees.tolk`); these tests keep the bounds honest.
//! `cargo test -p cocoon-ton --test contract gas -- --nocapture` prints the figures.

use cocoon_api::NanoTon;
use cocoon_ton::Voucher;
use cocoon_ton::channel::{self, Claim, exit_code};
use cocoon_ton::message::InternalMessage;
use cocoon_ton::transaction::{Compute, Transaction};
use cocoon_ton::wallet::MAX_MESSAGES;

use crate::world::{CHALLENGE, Who, World, milli, on_channel, ton};

/// The bounds of `contracts/fees.tolk`.
const GAS_REDEEM: u64 = 7_000;
const GAS_REDEEM_APART: u64 = 9_000;
const GAS_CLOSE: u64 = 5_000;
const GAS_SETTLE: u64 = 8_000;
const GAS_LAST_CLAIM: u64 = 12_000;

fn gas(transaction: &Transaction) -> u64 {
    match transaction.outcome.expect("ordinary").compute {
        Compute::Ran { gas_used, .. } => gas_used,
        Compute::Skipped => panic!("the contract did not run"),
    }
}

/// Prints one operation's figures and returns the channel's gas.
fn report(world: &World, name: &str, landed: &[Transaction], spent: NanoTon) -> u64 {
    assert!(landed.iter().all(Transaction::succeeded), "{name}: {landed:#?}");
    let on_channel = gas(on_channel(world, landed));
    let all: Vec<_> = landed.iter().map(gas).collect();
    println!("{name}: gas on the channel {on_channel}, of each leg {all:?}, all fees {spent} nanoTON");
    on_channel
}

/// Everything that left the circle of the wallets and the channel.
fn holdings(world: &World) -> NanoTon {
    let parties = [
        world.payer.address(),
        world.provider.address(),
        world.stranger.address(),
        world.claimer.address(),
        world.channel(),
    ];
    NanoTon::sum(parties.map(|address| world.balance(address))).expect("in range")
}

#[test]
fn no_operation_burns_more_gas_than_the_contract_asks_for() {
    let mut world = World::new();
    let mut figures = Vec::new();
    let mut run = |world: &mut World, name: &'static str, who: Who, message| {
        let before = holdings(world);
        let landed = world.send(who, &[message]);
        let spent = before.checked_sub(holdings(world)).expect("fees");
        figures.push((name, report(world, name, &landed, spent)));
    };
    let address = world.channel();
    let deploy = channel::deploy_and_fund(&world.params(), ton(5), 1).expect("amount");
    run(&mut world, "deploy and fund", Who::Payer, deploy);
    let top_up = channel::top_up(address, ton(1), 1).expect("amount");
    run(&mut world, "top-up", Who::Payer, top_up);
    let voucher = world.voucher(ton(2));
    run(
        &mut world,
        "redeem (deploys the wallet)",
        Who::Provider,
        channel::redeem(&Claim::new(voucher, ton(1)), 1),
    );
    run(
        &mut world,
        "redeem",
        Who::Provider,
        channel::redeem(&Claim::new(voucher, ton(2)), 2),
    );
    let higher = Claim::new(world.voucher(ton(3)), ton(3));
    run(
        &mut world,
        "redeem by the claimer",
        Who::Claimer,
        channel::redeem(&higher, 3),
    );
    run(&mut world, "close", Who::Payer, channel::close(address, 1));
    let reopen = channel::top_up(address, ton(1), 1).expect("amount");
    run(&mut world, "top-up while closing", Who::Payer, reopen);
    run(&mut world, "close", Who::Payer, channel::close(address, 2));
    world.pass(CHALLENGE);
    run(&mut world, "settle", Who::Stranger, channel::settle(address, 1));
    let again = channel::top_up(address, ton(1), 1).expect("amount");
    run(&mut world, "top-up that opens", Who::Payer, again);
    run(
        &mut world,
        "refund",
        Who::Provider,
        channel::refund(address, 1, None, 1),
    );
    let again = channel::top_up(address, ton(1), 1).expect("amount");
    run(&mut world, "top-up that opens", Who::Payer, again);
    let voucher = world.sign_voucher(Voucher {
        epoch: 2,
        ..world.valid_voucher(milli(3_500))
    });
    let last = Claim::new(voucher, milli(3_500));
    run(
        &mut world,
        "refund with the last claim",
        Who::Provider,
        channel::refund(address, 2, Some(&last), 1),
    );

    for (name, gas) in figures {
        let bound = match name {
            "redeem" | "redeem (deploys the wallet)" => GAS_REDEEM,
            "redeem by the claimer" => GAS_REDEEM_APART,
            "refund with the last claim" => GAS_LAST_CLAIM,
            "close" => GAS_CLOSE,
            "settle" | "refund" => GAS_SETTLE,
            _ => continue,
        };
        println!("{name}: {gas} of {bound}");
        assert!(gas <= bound, "{name} burns {gas}, the contract asks for {bound}");
        assert!(
            gas * 3 > bound * 2,
            "{name} burns {gas}, the bound of {bound} is needlessly high"
        );
    }
}

#[test]
fn the_smallest_value_that_a_redeem_accepts_covers_its_fees() {
    // Gas of 7,000 units and one forward fee at these prices: 6,667 + ⌈6,900 × 4,369,067 / 65,536⌉ + 66,667.
    let smallest = NanoTon::from_nano(533_335).expect("in range");
    let mut world = World::with_channel(ton(5));
    let voucher = world.voucher(ton(2));
    let message = InternalMessage {
        value: smallest,
        ..channel::redeem(&Claim::new(voucher, ton(1)), 1)
    };
    let landed = world.send(Who::Provider, &[message]);
    assert!(landed.iter().all(Transaction::succeeded), "{landed:#?}");
    assert!(
        on_channel(&world, &landed).payments()[0].value >= ton(1),
        "the claim arrives whole"
    );

    let less = NanoTon::from_nano(smallest.nano() - 1).expect("in range");
    let message = InternalMessage {
        value: less,
        ..channel::redeem(&Claim::new(voucher, ton(2)), 2)
    };
    let landed = world.send(Who::Provider, &[message]);
    assert_eq!(
        on_channel(&world, &landed).exit_code(),
        Some(exit_code::VALUE_TOO_SMALL)
    );
}

#[test]
fn one_wallet_message_redeems_255_times() {
    let mut world = World::with_channel(ton(5));
    let voucher = world.voucher(ton(5));
    let claims = (1..=MAX_MESSAGES as u64).map(|n| NanoTon::from_nano(n * 1_000_000).expect("in range"));
    let redeems: Vec<_> = claims
        .map(|claim| channel::redeem(&Claim::new(voucher, claim), 1))
        .collect();
    let signed = world.sign(Who::Provider, &redeems);
    println!("255 redeems: a message of {} bytes", signed.boc.len());
    let before = holdings(&world);
    let landed = world
        .broadcast(&signed.boc)
        .expect("within the limits of external messages");
    assert!(landed.iter().all(Transaction::succeeded));
    assert_eq!(world.redeemed().nano(), 255_000_000);
    let spent = before.checked_sub(holdings(&world)).expect("fees");
    println!(
        "255 redeems: all fees {spent} nanoTON, {} each",
        spent.nano() / 255
    );
}

#[test]
fn a_redeem_in_window_burns_within_the_bound() {
    let mut world = World::with_channel(ton(5));
    let voucher = world.voucher(ton(2));
    world.send(Who::Payer, &[channel::close(world.channel(), 1)]);
    let landed = world.redeem(&voucher, ton(1));
    assert!(gas(on_channel(&world, &landed)) <= GAS_REDEEM);
}

#[test]
fn a_year_of_rent_costs_less_than_a_tenth_of_the_reserve() {
    let mut world = World::with_channel(ton(1));
    let before = world.state().available;
    world.pass(365 * 86_400);
    world.send(Who::Payer, &[channel::close(world.channel(), 1)]);
    let rent = before.saturating_sub(world.state().available);
    println!("rent of one year: {rent} nanoTON");
    assert!(rent.nano() * 10 < channel::RENT_RESERVE.nano(), "rent {rent}");
}
