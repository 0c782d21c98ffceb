//! What a party may try with the messages of the protocol: twice, late, out of order, or with extreme numbers.

use cocoon_api::NanoTon;
use cocoon_ton::channel::{self, Claim, MAX_CHALLENGE, MIN_CHALLENGE, Payout, exit_code};
use cocoon_ton::message::InternalMessage;
use cocoon_ton::transaction::Transaction;
use cocoon_ton::voucher::NO_EXPIRY;
use cocoon_ton::{ChannelStatus, Voucher};

use crate::world::{CHALLENGE, RENT_OF_A_DAY, Who, World, milli, on_channel, ton};

/// A claim on a voucher of the epoch for as much.
fn claim_of(world: &World, epoch: u32, total: NanoTon) -> Claim {
    let voucher = Voucher {
        epoch,
        ..world.valid_voucher(total)
    };
    Claim::new(world.sign_voucher(voucher), total)
}

fn close(world: &mut World, who: Who, query_id: u64) -> Vec<Transaction> {
    let message = channel::close(world.channel(), query_id);
    succeed(world, who, message)
}

fn settle(world: &mut World, who: Who, query_id: u64) -> Vec<Transaction> {
    let message = channel::settle(world.channel(), query_id);
    succeed(world, who, message)
}

/// Redeems on a new voucher.
fn redeem(world: &mut World, who: Who, epoch: u32, total: NanoTon, query_id: u64) -> Vec<Transaction> {
    let message = channel::redeem(&claim_of(world, epoch, total), query_id);
    succeed(world, who, message)
}

fn refund(world: &World, epoch: u32, last: Option<&Claim>) -> InternalMessage {
    channel::refund(world.channel(), epoch, last, 9)
}

fn top_up(world: &World, amount: NanoTon) -> InternalMessage {
    channel::top_up(world.channel(), amount, 5).expect("amount")
}

fn succeed(world: &mut World, who: Who, message: InternalMessage) -> Vec<Transaction> {
    let landed = world.send(who, &[message]);
    assert!(landed.iter().all(Transaction::succeeded), "{landed:#?}");
    landed
}

/// Asserts that the message is refused with `code`, and that status, epoch, counter and deposit stay.
fn refuse(world: &mut World, who: Who, message: InternalMessage, code: i32) {
    let before = world.state();
    let landed = world.send(who, &[message]);
    assert_eq!(on_channel(world, &landed).exit_code(), Some(code));
    let after = world.state();
    assert_eq!(
        (after.status, after.epoch, after.redeemed),
        (before.status, before.epoch, before.redeemed)
    );
    assert!(before.available.saturating_sub(after.available) <= RENT_OF_A_DAY);
}

fn bodies(world: &World, landed: &[Transaction]) -> Vec<Option<Payout>> {
    let messages = on_channel(world, landed).out_messages.iter();
    messages.map(|message| Payout::parse(&message.body)).collect()
}

#[test]
fn the_last_claim_and_the_refund_are_one_message() {
    let mut world = World::with_channel(ton(5));
    let before = world.state().available;
    redeem(&mut world, Who::Provider, 0, ton(1), 1);
    let last = claim_of(&world, 0, milli(2_500));
    let message = refund(&world, 0, Some(&last));

    let landed = succeed(&mut world, Who::Provider, message);

    let payments = on_channel(&world, &landed).payments();
    let rest = before.checked_sub(milli(2_500)).expect("covered");
    assert_eq!(
        (payments[0].destination, payments[0].value),
        (world.payer.address(), rest)
    );
    assert_eq!(payments[1].destination, world.provider.address());
    assert!(payments[1].value >= milli(1_500), "the whole claim arrives");
    assert_eq!(payments.len(), 2);
    let state = world.state();
    assert_eq!((state.status, state.epoch), (ChannelStatus::Closed, 1));
    assert_eq!((state.redeemed, state.available), (milli(2_500), NanoTon::ZERO));
    assert_eq!(world.balance(world.channel()), channel::RENT_RESERVE);
}

#[test]
fn a_refund_whose_claim_cannot_be_paid_gives_nothing_back() {
    let mut world = World::with_channel(ton(5));
    redeem(&mut world, Who::Provider, 0, ton(2), 1);
    let cases = [
        (claim_of(&world, 0, ton(1)), exit_code::STEP_TOO_SMALL),
        (claim_of(&world, 0, ton(2)), exit_code::STEP_TOO_SMALL),
        (
            Claim {
                total: ton(4),
                ..claim_of(&world, 0, ton(3))
            },
            exit_code::CLAIM_ABOVE_CAP,
        ),
        (claim_of(&world, 0, ton(50)), exit_code::CANNOT_PAY),
        (claim_of(&world, 1, ton(3)), exit_code::WRONG_EPOCH),
    ];
    for (last, code) in cases {
        let message = refund(&world, 0, Some(&last));
        refuse(&mut world, Who::Provider, message, code);
    }
    let mut forged = claim_of(&world, 0, ton(3));
    forged.voucher = forged
        .voucher
        .voucher
        .sign(&world.provider.key)
        .expect("signature");
    let message = refund(&world, 0, Some(&forged));
    refuse(&mut world, Who::Provider, message, exit_code::BAD_SIGNATURE);
}

#[test]
fn after_the_window_a_refund_pays_no_claim_and_still_gives_the_rest_back() {
    let mut world = World::with_channel(ton(5));
    close(&mut world, Who::Payer, 1);
    world.pass(CHALLENGE);
    let last = claim_of(&world, 0, ton(1));
    let message = refund(&world, 0, Some(&last));
    refuse(&mut world, Who::Provider, message, exit_code::WINDOW_OVER);
    let message = refund(&world, 0, None);
    succeed(&mut world, Who::Provider, message);
    assert_eq!(world.state().status, ChannelStatus::Closed);
}

#[test]
fn nothing_of_an_ended_epoch_works_in_the_next_one() {
    let mut world = World::with_channel(ton(5));
    let unused = claim_of(&world, 0, ton(3));
    let with_claim = refund(&world, 0, Some(&claim_of(&world, 0, ton(1))));
    let plain = refund(&world, 0, None);
    succeed(&mut world, Who::Provider, with_claim.clone());
    let opening = top_up(&world, ton(5));
    succeed(&mut world, Who::Payer, opening);
    assert_eq!(world.state().epoch, 1);

    // The provider's own messages, delayed or sent again.
    refuse(&mut world, Who::Provider, with_claim, exit_code::WRONG_EPOCH);
    refuse(&mut world, Who::Provider, plain, exit_code::WRONG_EPOCH);
    refuse(
        &mut world,
        Who::Provider,
        channel::redeem(&unused, 1),
        exit_code::WRONG_EPOCH,
    );
    // A promise of the ended epoch under the refund of the present one.
    let mixed = refund(&world, 1, Some(&unused));
    refuse(&mut world, Who::Provider, mixed, exit_code::WRONG_EPOCH);
    assert_eq!(world.redeemed(), ton(1));
}

#[test]
fn a_top_up_that_races_with_a_refund_is_never_lost() {
    for top_up_first in [true, false] {
        let mut world = World::with_channel(ton(5));
        let (more, end) = (top_up(&world, ton(2)), refund(&world, 0, None));
        let deposits = if top_up_first {
            succeed(&mut world, Who::Payer, more);
            world.state().available
        } else {
            let first = world.state().available;
            succeed(&mut world, Who::Provider, end.clone());
            succeed(&mut world, Who::Payer, more);
            first
        };
        if top_up_first {
            let landed = succeed(&mut world, Who::Provider, end);
            assert_eq!(on_channel(&world, &landed).payments()[0].value, deposits);
            assert_eq!(world.state().status, ChannelStatus::Closed);
        } else {
            let state = world.state();
            assert_eq!((state.status, state.epoch), (ChannelStatus::Open, 1));
            assert!(state.available >= ton(2), "the payer can close and take it back");
        }
    }
}

#[test]
fn a_strangers_top_up_after_a_refund_comes_back() {
    let mut world = World::with_channel(ton(5));
    let end = refund(&world, 0, None);
    succeed(&mut world, Who::Provider, end);
    let message = top_up(&world, ton(2));
    let landed = world.send(Who::Stranger, &[message]);
    let transaction = on_channel(&world, &landed);
    assert_eq!(transaction.exit_code(), Some(exit_code::NOT_PAYER));
    assert!(transaction.payments()[0].value > milli(1_990));
}

/// The rule: only the payer's own top-up ends a closing. Whatever the others send, and however often, the deadline
/// stays and the deposit goes back.
#[test]
fn nobody_but_the_payer_can_keep_a_closing_channel_from_being_settled() {
    let mut world = World::with_channel(ton(5));
    close(&mut world, Who::Payer, 1);
    let closing = world.state().status;
    let dust = |world: &mut World| {
        for who in [Who::Provider, Who::Claimer, Who::Stranger] {
            for message in [
                top_up(world, NanoTon::ZERO),
                InternalMessage::transfer(world.channel(), milli(1)),
                channel::deploy_and_fund(&world.params(), NanoTon::ZERO, 1).expect("amount"),
            ] {
                succeed(world, who, message);
                assert_eq!(world.state().status, closing, "{who:?}");
            }
        }
    };
    dust(&mut world);
    world.pass(CHALLENGE - 1);
    dust(&mut world);
    world.pass(1);
    dust(&mut world);
    let available = world.state().available;
    let landed = settle(&mut world, Who::Payer, 1);
    let returned = &on_channel(&world, &landed).payments()[0];
    assert_eq!(
        (returned.destination, returned.value),
        (world.payer.address(), available)
    );
}

#[test]
fn the_payers_plain_transfer_does_not_end_a_closing() {
    let mut world = World::with_channel(ton(5));
    close(&mut world, Who::Payer, 1);
    let before = world.state().status;
    let message = InternalMessage::transfer(world.channel(), milli(10));
    succeed(&mut world, Who::Payer, message);
    assert_eq!(world.state().status, before);
}

#[test]
fn a_challenge_period_of_any_length_gives_a_window_within_the_bounds() {
    for (period, window) in [
        (0, MIN_CHALLENGE),
        (MIN_CHALLENGE - 1, MIN_CHALLENGE),
        (MIN_CHALLENGE, MIN_CHALLENGE),
        (CHALLENGE, CHALLENGE),
        (MAX_CHALLENGE, MAX_CHALLENGE),
        (MAX_CHALLENGE + 1, MAX_CHALLENGE),
        (u32::MAX, MAX_CHALLENGE),
    ] {
        let mut world = World::new();
        world.challenge_period = period;
        let mut world = world.with_deposit(ton(5));
        assert_eq!(world.params().challenge_window(), window);
        close(&mut world, Who::Payer, 1);
        let deadline = world.now + window;
        assert_eq!(
            world.state().status,
            ChannelStatus::Closing { deadline },
            "{period}"
        );

        world.pass(window - 1);
        let voucher = world.sign_voucher(Voucher {
            valid_until: NO_EXPIRY,
            ..world.valid_voucher(ton(1))
        });
        let message = channel::redeem(&Claim::new(voucher, ton(1)), 1);
        succeed(&mut world, Who::Provider, message);
        world.pass(1);
        settle(&mut world, Who::Payer, 1);
    }
}

#[test]
fn a_claimer_moves_money_to_the_provider_only() {
    let mut world = World::with_channel(ton(5));
    // The first messages deploy the wallets.
    redeem(&mut world, Who::Provider, 0, milli(100), 1);
    let message = channel::redeem(&claim_of(&world, 0, milli(500)), 1);
    succeed(&mut world, Who::Claimer, message);
    let deposit = world.state().available;
    let (provider, claimer) = (
        world.balance(world.provider.address()),
        world.balance(world.claimer.address()),
    );
    let message = channel::redeem(&claim_of(&world, 0, ton(2)), 1);

    let landed = succeed(&mut world, Who::Claimer, message);

    let payments = on_channel(&world, &landed).payments();
    assert_eq!(
        (payments[0].destination, payments[0].value),
        (world.provider.address(), milli(1_500)),
        "exactly the step"
    );
    assert_eq!(payments[1].destination, world.claimer.address());
    assert_eq!(deposit.checked_sub(world.state().available), Ok(milli(1_500)));
    let gained = world.balance(world.provider.address()).saturating_sub(provider);
    assert!(gained > milli(1_499) && gained <= milli(1_500), "{gained}");
    let spent = claimer.saturating_sub(world.balance(world.claimer.address()));
    assert!(spent > NanoTon::ZERO && spent < milli(2), "{spent}");
}

#[test]
fn a_receipts_root_moves_no_money() {
    let run = |receipts_root: [u8; 32]| {
        let mut world = World::with_channel(ton(5));
        let first = Claim {
            receipts_root,
            ..claim_of(&world, 0, ton(1))
        };
        succeed(&mut world, Who::Provider, channel::redeem(&first, 1));
        let again = channel::redeem(&first, 2);
        refuse(&mut world, Who::Provider, again, exit_code::STEP_TOO_SMALL);
        let last = Claim {
            receipts_root,
            ..claim_of(&world, 0, ton(2))
        };
        let end = refund(&world, 0, Some(&last));
        succeed(&mut world, Who::Provider, end);
        let holders = [world.payer.address(), world.provider.address(), world.channel()];
        (world.state(), holders.map(|address| world.balance(address)))
    };
    let without = run(channel::NO_RECEIPTS);
    assert_eq!(run([0xFF; 32]), without);
    assert_eq!(run([0xA5; 32]), without);
}

#[test]
fn payouts_say_what_they_are_for() {
    let mut world = World::with_channel(ton(5));
    let landed = redeem(&mut world, Who::Provider, 0, ton(1), 7);
    let paid = |query_id, epoch, redeemed| {
        Some(Payout::ClaimPaid {
            query_id,
            epoch,
            redeemed,
        })
    };
    assert_eq!(bodies(&world, &landed), [paid(7, 0, ton(1))]);
    let landed = redeem(&mut world, Who::Claimer, 0, ton(2), 8);
    let excesses = |query_id| Some(Payout::Excesses { query_id });
    assert_eq!(bodies(&world, &landed), [paid(8, 0, ton(2)), excesses(8)]);
    let landed = close(&mut world, Who::Payer, 3);
    assert_eq!(bodies(&world, &landed), [excesses(3)]);
    world.pass(CHALLENGE);
    let landed = settle(&mut world, Who::Stranger, 4);
    let returned = |query_id, epoch, redeemed| {
        Some(Payout::DepositReturned {
            query_id,
            epoch,
            redeemed,
        })
    };
    assert_eq!(bodies(&world, &landed), [returned(4, 0, ton(2)), excesses(4)]);

    let opening = top_up(&world, ton(3));
    succeed(&mut world, Who::Payer, opening);
    let end = refund(&world, 1, Some(&claim_of(&world, 1, ton(3))));
    let landed = succeed(&mut world, Who::Provider, end);
    assert_eq!(
        bodies(&world, &landed),
        [returned(9, 1, ton(3)), paid(9, 1, ton(3))]
    );
}

#[test]
fn a_voucher_without_expiry_lasts_as_long_as_its_epoch() {
    let mut world = World::with_channel(ton(5));
    let voucher = world.sign_voucher(Voucher {
        valid_until: NO_EXPIRY,
        ..world.valid_voucher(ton(2))
    });
    world.pass(70 * 365 * 86_400);
    assert!(world.redeem(&voucher, ton(1)).iter().all(Transaction::succeeded));
    let end = refund(&world, 0, None);
    succeed(&mut world, Who::Provider, end);
    let opening = top_up(&world, ton(2));
    succeed(&mut world, Who::Payer, opening);
    let message = channel::redeem(&Claim::new(voucher, ton(2)), 1);
    refuse(&mut world, Who::Provider, message, exit_code::WRONG_EPOCH);
}
