//! Redeeming: what is paid, and every reason for which nothing is.

use cocoon_api::NanoTon;
use cocoon_ton::channel::{self, Claim, MIN_STEP, exit_code};
use cocoon_ton::message::InternalMessage;
use cocoon_ton::transaction::Transaction;
use cocoon_ton::{ChannelState, Network, SignedVoucher, Signer, Voucher};

use crate::world::{CHALLENGE, RENT_OF_A_DAY, VALID_UNTIL, Who, World, milli, on_channel, ton};

/// Asserts that a redeem was refused with `code`, that nothing moved, and that the attached value came back.
fn assert_refused(world: &World, before: ChannelState, landed: &[Transaction], code: i32) {
    let transaction = on_channel(world, landed);
    assert_eq!(
        transaction.exit_code(),
        Some(code),
        "{}",
        exit_code::describe(code)
    );
    let after = world.state();
    assert_eq!(
        (after.redeemed, after.epoch, after.status),
        (before.redeemed, before.epoch, before.status)
    );
    let lost = before.available.saturating_sub(after.available);
    assert!(
        lost <= RENT_OF_A_DAY,
        "the deposit paid {lost} nanoTON for the refusal"
    );
    let back: Vec<_> = transaction.payments();
    assert_eq!(back.len(), 1, "one bounce and nothing else");
    assert!(
        back[0].value >= milli(8),
        "the attached value came back less fees, got {}",
        back[0].value
    );
}

fn refuse(world: &mut World, voucher: &SignedVoucher, claim: NanoTon, code: i32) {
    let before = world.state();
    let landed = world.redeem(voucher, claim);
    assert_refused(world, before, &landed, code);
}

fn refuse_voucher(world: &mut World, voucher: Voucher, code: i32) {
    let voucher = world.sign_voucher(voucher);
    refuse(world, &voucher, milli(500), code);
}

#[test]
fn a_claim_is_paid_to_the_provider_in_full() {
    let mut world = World::with_channel(ton(5));
    let voucher = world.voucher(ton(2));
    let before = world.balance(world.provider.address());

    let landed = world.redeem(&voucher, milli(1_500));

    assert!(landed.iter().all(Transaction::succeeded), "{landed:#?}");
    let gained = world
        .balance(world.provider.address())
        .checked_sub(before)
        .expect("gained");
    let costs = milli(1_500).checked_sub(gained).expect("costs something");
    assert!(
        costs < milli(2),
        "the claim less under 0.002 TON of fees, got {gained}"
    );
    assert_eq!(world.state().redeemed, milli(1_500));
    assert_eq!(world.redeemed(), milli(1_500));
}

#[test]
fn the_deposit_pays_the_claim_and_no_fee() {
    let mut world = World::with_channel(ton(5));
    let voucher = world.voucher(ton(2));
    let before = world.state().available;
    world.redeem(&voucher, milli(700));
    assert_eq!(before.checked_sub(world.state().available), Ok(milli(700)));
}

#[test]
fn claims_are_cumulative_over_vouchers() {
    let mut world = World::with_channel(ton(5));
    let before = world.state().available;
    for (cap, claim) in [(ton(1), milli(400)), (ton(1), ton(1)), (ton(3), milli(1_250))] {
        let voucher = world.voucher(cap);
        assert!(world.redeem(&voucher, claim).iter().all(Transaction::succeeded));
        assert_eq!(world.state().redeemed, claim);
    }
    assert_eq!(before.checked_sub(world.state().available), Ok(milli(1_250)));
}

#[test]
fn redeeming_the_same_claim_twice_pays_once() {
    let mut world = World::with_channel(ton(5));
    let voucher = world.voucher(ton(2));
    world.redeem(&voucher, ton(1));
    refuse(&mut world, &voucher, ton(1), exit_code::STEP_TOO_SMALL);
    assert_eq!(world.redeemed(), ton(1));
}

#[test]
fn a_claim_below_an_earlier_one_is_refused() {
    let mut world = World::with_channel(ton(5));
    let voucher = world.voucher(ton(2));
    world.redeem(&voucher, ton(1));
    refuse(&mut world, &voucher, milli(900), exit_code::STEP_TOO_SMALL);
}

#[test]
fn a_step_below_the_minimum_is_refused_and_the_minimum_is_paid() {
    let mut world = World::with_channel(ton(5));
    let voucher = world.voucher(ton(2));
    let below = NanoTon::from_nano(MIN_STEP.nano() - 1).expect("in range");
    refuse(&mut world, &voucher, below, exit_code::STEP_TOO_SMALL);
    assert!(
        world
            .redeem(&voucher, MIN_STEP)
            .iter()
            .all(Transaction::succeeded)
    );
    assert_eq!(world.redeemed(), MIN_STEP);
}

#[test]
fn only_the_provider_and_its_claimer_may_redeem() {
    let mut world = World::with_channel(ton(5));
    let voucher = world.voucher(ton(2));
    for who in [Who::Payer, Who::Stranger] {
        let before = world.state();
        let landed = world.send(who, &[channel::redeem(&Claim::new(voucher, ton(1)), 1)]);
        assert_refused(&world, before, &landed, exit_code::NOT_PROVIDER);
    }
}

#[test]
fn a_voucher_signed_by_another_key_is_refused() {
    let mut world = World::with_channel(ton(5));
    let voucher = world.valid_voucher(ton(2));
    for key in [&world.stranger.key, &world.provider.key] {
        let forged = voucher.sign(key).expect("signature");
        assert!(forged.verify(&world.payer.key.public_key()).is_err());
    }
    let forged = voucher.sign(&world.provider.key).expect("signature");
    refuse(&mut world, &forged, ton(1), exit_code::BAD_SIGNATURE);
}

#[test]
fn a_voucher_with_a_raised_cap_or_validity_is_refused() {
    let mut world = World::with_channel(ton(5));
    let signed = world.voucher(ton(2));
    let raised = Voucher {
        cap: ton(3),
        ..signed.voucher
    };
    refuse(
        &mut world,
        &SignedVoucher {
            voucher: raised,
            ..signed
        },
        ton(1),
        exit_code::BAD_SIGNATURE,
    );
    let longer = Voucher {
        valid_until: VALID_UNTIL + 1,
        ..signed.voucher
    };
    refuse(
        &mut world,
        &SignedVoucher {
            voucher: longer,
            ..signed
        },
        ton(1),
        exit_code::BAD_SIGNATURE,
    );
}

#[test]
fn a_voucher_for_another_network_is_refused() {
    let mut world = World::with_channel(ton(5));
    let voucher = world.valid_voucher(ton(2));
    for network in [Network::MAINNET, Network::TESTNET] {
        refuse_voucher(
            &mut world,
            Voucher {
                global_id: network.global_id(),
                ..voucher
            },
            exit_code::BAD_SIGNATURE,
        );
    }
}

#[test]
fn every_network_accepts_its_own_vouchers_only() {
    let mut world = World::on(Network::MAINNET).with_deposit(ton(5));
    let voucher = world.valid_voucher(ton(2));
    refuse_voucher(
        &mut world,
        Voucher {
            global_id: Network::TESTBED.global_id(),
            ..voucher
        },
        exit_code::BAD_SIGNATURE,
    );
    let own = world.sign_voucher(voucher);
    assert!(world.redeem(&own, ton(1)).iter().all(Transaction::succeeded));
}

#[test]
fn a_voucher_for_another_channel_of_the_same_pair_is_refused() {
    let mut world = World::with_channel(ton(5));
    let mut other = world.params();
    other.salt += 1;
    let voucher = world.sign_voucher(Voucher {
        channel: other.address(),
        ..world.valid_voucher(ton(2))
    });
    let message = InternalMessage {
        destination: world.channel(),
        ..channel::redeem(&Claim::new(voucher, ton(1)), 1)
    };
    let before = world.state();
    let landed = world.send(Who::Provider, &[message]);
    assert_refused(&world, before, &landed, exit_code::BAD_SIGNATURE);
}

#[test]
fn a_voucher_is_accepted_in_its_last_second_and_refused_after_it() {
    let mut world = World::with_channel(ton(5));
    let voucher = world.voucher(ton(2));
    world.pass(VALID_UNTIL - world.now);
    assert!(world.redeem(&voucher, ton(1)).iter().all(Transaction::succeeded));
    world.pass(1);
    refuse(&mut world, &voucher, milli(1_500), exit_code::VOUCHER_EXPIRED);
}

#[test]
fn a_voucher_for_another_epoch_is_refused() {
    let mut world = World::with_channel(ton(5));
    let voucher = world.valid_voucher(ton(2));
    refuse_voucher(
        &mut world,
        Voucher { epoch: 1, ..voucher },
        exit_code::WRONG_EPOCH,
    );
}

#[test]
fn a_claim_above_the_cap_is_refused() {
    let mut world = World::with_channel(ton(5));
    let voucher = world.voucher(ton(2));
    let above = ton(2)
        .checked_add(NanoTon::from_nano(1).expect("in range"))
        .expect("in range");
    refuse(&mut world, &voucher, above, exit_code::CLAIM_ABOVE_CAP);
    assert!(world.redeem(&voucher, ton(2)).iter().all(Transaction::succeeded));
}

#[test]
fn the_counter_does_not_move_when_the_deposit_cannot_pay() {
    let mut world = World::with_channel(ton(1));
    let voucher = world.voucher(ton(50));
    let available = world.state().available;
    let above = available
        .checked_add(NanoTon::from_nano(1).expect("in range"))
        .expect("in range");
    refuse(&mut world, &voucher, above, exit_code::CANNOT_PAY);
    assert_eq!(world.redeemed(), NanoTon::ZERO);
}

#[test]
fn the_whole_deposit_can_be_claimed_and_the_rent_reserve_stays() {
    let mut world = World::with_channel(ton(1));
    let voucher = world.voucher(ton(50));
    let available = world.state().available;
    let landed = world.redeem(&voucher, available);
    assert!(landed.iter().all(Transaction::succeeded), "{landed:#?}");
    assert_eq!(world.state().available, NanoTon::ZERO);
    assert_eq!(world.balance(world.channel()), channel::RENT_RESERVE);
}

#[test]
fn a_top_up_lets_a_claim_through_that_could_not_be_paid() {
    let mut world = World::with_channel(ton(1));
    let voucher = world.voucher(ton(50));
    refuse(&mut world, &voucher, ton(3), exit_code::CANNOT_PAY);
    let top_up = channel::top_up(world.channel(), ton(2), 2).expect("amount");
    world.send(Who::Payer, &[top_up]);
    assert!(world.redeem(&voucher, ton(3)).iter().all(Transaction::succeeded));
    assert_eq!(world.redeemed(), ton(3));
}

#[test]
fn a_redeem_that_attaches_too_little_is_refused_and_pays_nobody() {
    let mut world = World::with_channel(ton(5));
    let voucher = world.voucher(ton(2));
    let too_little = NanoTon::from_nano(500_000).expect("in range");
    let message = InternalMessage {
        value: too_little,
        ..channel::redeem(&Claim::new(voucher, ton(1)), 1)
    };
    let before = world.state();
    let landed = world.send(Who::Provider, &[message]);
    assert_eq!(
        on_channel(&world, &landed).exit_code(),
        Some(exit_code::VALUE_TOO_SMALL)
    );
    assert_eq!(world.state().redeemed, before.redeemed);
    assert!(world.state().available >= before.available);
}

#[test]
fn a_claim_survives_in_the_challenge_window_until_its_last_second() {
    let mut world = World::with_channel(ton(5));
    let voucher = world.voucher(ton(2));
    world.send(Who::Payer, &[channel::close(world.channel(), 1)]);
    world.pass(CHALLENGE - 1);
    assert!(world.redeem(&voucher, ton(1)).iter().all(Transaction::succeeded));
    world.pass(1);
    refuse(&mut world, &voucher, ton(2), exit_code::WINDOW_OVER);
}
