//! The settlement sender on a real TVM behind a bad endpoint: whatever is dropped, repeated, delayed or killed, every
//! claim is paid exactly once, and nothing counts as paid before the channel shows it.

mod world;

use cocoon_api::{conditions::SettlementFailed, crd::SettlementSpec};
use cocoon_core::settlement::{LEAST_SWEEP, MAX_REDEEMS, Next, REDEEM_FEE, Waiting};
use cocoon_operator::chain::ChainError;
use cocoon_ton::prices::{ClaimedBy, MAX_REDEEM_FEE};
use testbed_chain::faults::FaultChange;
use testbed_chain::testing::{LocalNetwork, Options};
use world::{CLAIM, DEPOSIT, FEES, Keep, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_paid_once_and_confirmed_by_getter_and_transaction() {
    let world = World::start().await;
    let spec = world.sign(CLAIM).await.unwrap();
    let landed = world.drive(&spec, Keep::Memory).await.unwrap();
    assert_eq!(landed.messages, 1);
    world.assert_paid(CLAIM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_costs_the_wallet_no_more_than_the_fee_that_decisions_count_with() {
    // The prices of 2026, and those before.
    for price_factor in [1, 6] {
        let world = World::start_at(price_factor).await;
        // The first message deploys the wallet as well.
        world
            .drive(&world.sign(CLAIM).await.unwrap(), Keep::Memory)
            .await
            .unwrap();
        world.blocks(4).await;
        let before = world.balance();
        assert_eq!(
            world.chain.last_redeem_fee(ClaimedBy::Payee),
            REDEEM_FEE,
            "no prices were read yet"
        );
        let spec = world.sign(2 * CLAIM).await.unwrap();
        world.drive(&spec, Keep::Memory).await.unwrap();
        let cost = before + CLAIM - world.balance();
        let fee = assert_reckoned(&world, &spec, ClaimedBy::Payee, cost, price_factor).await;
        assert_eq!(
            world.chain.last_redeem_fee(ClaimedBy::Payee).nano(),
            fee,
            "departures count with it too"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_claim_costs_more_than_goes_along_with_it_none_is_worth_making() {
    let world = World::start().await;
    let dear = tokio::task::block_in_place(|| {
        LocalNetwork::start(Options {
            price_factor: 60,
            ..Options::default()
        })
    });
    let dear = dear.unwrap();
    let chain = world::chain(-217, &[dear.base_url()]);
    assert_eq!(chain.redeem_fee(ClaimedBy::Payee).await.unwrap(), None);
    assert_eq!(
        chain.last_redeem_fee(ClaimedBy::Payee),
        MAX_REDEEM_FEE,
        "what is worth more is waited for"
    );
    assert!(world.chain.redeem_fee(ClaimedBy::Payee).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_claims_as_one_message_takes_are_all_paid() {
    let count = u32::try_from(MAX_REDEEMS).unwrap();
    let world = World::start_with(2 * DEPOSIT).await;
    let before = world.balance();
    let spec = world.sign_many(count, CLAIM / 2, CLAIM / 10).await;
    assert!(
        spec.message.len() <= 65_536,
        "{} bytes are stored",
        spec.message.len()
    );
    let landed = world.drive(&spec, Keep::Memory).await.unwrap();
    assert_eq!(landed.messages, MAX_REDEEMS);
    let cost = before + u64::from(count) * (CLAIM / 10) - world.balance();
    assert!(
        cost <= u64::from(count) * REDEEM_FEE.nano(),
        "{count} claims cost {cost} nanoTON"
    );
    assert_eq!(
        world.fee(&spec).await,
        cost,
        "the fee is all that the wallet lost"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_killed_after_every_step_goes_on_from_the_stored_bytes() {
    let world = World::start().await;
    let spec = world.sign(CLAIM).await.unwrap();
    world.drive(&spec, Keep::Nothing).await.unwrap();
    world.assert_paid(CLAIM).await;
    // Once more from the beginning, as an operator would whose last writes were lost.
    world.drive(&spec, Keep::Nothing).await.unwrap();
    world.assert_paid(CLAIM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_sends_are_sent_again() {
    let world = World::start().await;
    world.network.change_faults(FaultChange {
        drop_sends: Some(3),
        ..FaultChange::default()
    });
    let spec = world.sign(CLAIM).await.unwrap();
    world.drive(&spec, Keep::Nothing).await.unwrap();
    world.assert_paid(CLAIM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicated_sends_and_lost_replies_pay_once() {
    let world = World::start().await;
    world.network.change_faults(FaultChange {
        duplicate_sends: Some(2),
        lost_replies: Some(2),
        ..FaultChange::default()
    });
    let spec = world.sign(CLAIM).await.unwrap();
    world.drive(&spec, Keep::Nothing).await.unwrap();
    world.assert_paid(CLAIM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_blocks_stand_still_nothing_is_paid_or_given_up() {
    let world = World::start().await;
    let spec = world.sign(CLAIM).await.unwrap();
    world.network.pause(true);
    for _ in 0..3 {
        assert!(matches!(world.step(&spec).await.unwrap(), Next::Send(_)));
    }
    let clock = i64::from(world.network.status().unwrap().utime) + 61;
    assert!(matches!(
        world.step_at(&spec, clock).await.unwrap(),
        Next::Wait(_, Waiting::Lag)
    ));
    world.network.pause(false);
    world.drive(&spec, Keep::Nothing).await.unwrap();
    world.assert_paid(CLAIM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_message_is_replaced_and_can_never_pay_later() {
    let world = World::start().await;
    world.network.change_faults(FaultChange {
        drop_sends: Some(1),
        ..FaultChange::default()
    });
    let lost = world.sign(CLAIM).await.unwrap();
    assert!(matches!(world.step(&lost).await.unwrap(), Next::Send(_)));
    world.network.advance(120).unwrap();
    let failed = world.drive(&lost, Keep::Memory).await.unwrap_err();
    assert_eq!(failed, SettlementFailed::Expired);
    let again = world.sign(CLAIM).await.unwrap();
    assert_eq!(again.seqno, lost.seqno, "the number was not used");
    world.drive(&again, Keep::Memory).await.unwrap();
    world.send(&lost).await.unwrap_err();
    world.assert_paid(CLAIM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_messages_with_one_number_one_takes_effect() {
    let world = World::start().await;
    let first = world.sign(CLAIM).await.unwrap();
    let second = world.sign(2 * CLAIM).await.unwrap();
    assert_eq!(first.seqno, second.seqno);
    world.drive(&second, Keep::Memory).await.unwrap();
    assert!(matches!(
        world.step(&first).await.unwrap(),
        Next::Wait(_, Waiting::Transaction)
    ));
    world.network.advance(200).unwrap();
    assert_eq!(
        world.drive(&first, Keep::Memory).await.unwrap_err(),
        SettlementFailed::Superseded
    );
    world.assert_paid(2 * CLAIM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_wallet_took_without_sending_is_not_paid() {
    let world = World::start_with(6_000_000).await;
    let spec = world.sign(CLAIM).await.unwrap();
    let failed = world.drive(&spec, Keep::Memory).await.unwrap_err();
    assert_eq!(failed, SettlementFailed::NotRedeemed);
    world.assert_paid(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_shows_an_old_state_leads_to_no_wrong_end() {
    let world = World::start().await;
    let spec = world.sign(CLAIM).await.unwrap();
    world.network.change_faults(FaultChange {
        stale_reads: Some(true),
        ..FaultChange::default()
    });
    world.send(&spec).await.unwrap();
    world.blocks(5).await;
    assert!(matches!(
        world.step(&spec).await.unwrap(),
        Next::Send(_) | Next::Wait(..)
    ));
    world.network.change_faults(FaultChange {
        stale_reads: Some(false),
        ..FaultChange::default()
    });
    world.drive(&spec, Keep::Nothing).await.unwrap();
    world.assert_paid(CLAIM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_down_is_waited_for() {
    let world = World::start().await;
    let spec = world.sign(CLAIM).await.unwrap();
    world.network.change_faults(FaultChange {
        unavailable: Some(1_000),
        ..FaultChange::default()
    });
    assert!(matches!(world.step(&spec).await, Err(ChainError::Unavailable(_))));
    world.network.change_faults(FaultChange {
        unavailable: Some(0),
        ..FaultChange::default()
    });
    world.drive(&spec, Keep::Nothing).await.unwrap();
    world.assert_paid(CLAIM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_beyond_voucher_or_deposit_are_not_signed() {
    let world = World::start().await;
    assert!(
        world.sign(DEPOSIT + 1).await.unwrap_err().contains("cap"),
        "the cap is the deposit's"
    );
    let mut forged = world.channel();
    forged.status.as_mut().unwrap().vouchers[0].cap_nano =
        cocoon_api::NanoTon::from_nano(2 * DEPOSIT).unwrap();
    assert!(
        world
            .sign_for(&forged, CLAIM)
            .await
            .unwrap_err()
            .contains("signature")
    );
    let generous = world.channel_with_cap(2 * DEPOSIT);
    assert!(
        world
            .sign_for(&generous, DEPOSIT + DEPOSIT / 10)
            .await
            .unwrap_err()
            .contains("deposit")
    );
    world.assert_paid(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voucher_of_another_network_or_contract_is_not_signed() {
    let world = World::start().await;
    let mut elsewhere = world.channel_on(&cocoon_ton::Network::TESTNET);
    assert!(
        world
            .sign_for(&elsewhere, CLAIM)
            .await
            .unwrap_err()
            .contains("signature")
    );
    elsewhere.spec.contract_address = format!("0:{}", "11".repeat(32));
    assert!(
        world
            .sign_for(&elsewhere, CLAIM)
            .await
            .unwrap_err()
            .contains("no payment channel")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_network_behind_the_endpoint_is_noticed_before_anything_is_signed() {
    let world = World::start().await;
    let mainnet = world::chain(-239, &[world.network.base_url()]);
    assert!(matches!(mainnet.time().await, Err(ChainError::WrongNetwork(_))));
    assert!(matches!(
        mainnet.wallet(&world.claimer()).await,
        Err(ChainError::WrongNetwork(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_disagree_are_not_acted_on() {
    let (world, other) = (World::start().await, World::start_with(1_000_000_000).await);
    let both = world::chain(-217, &[world.network.base_url(), other.network.base_url()]);
    let spec = world.sign(CLAIM).await.unwrap();
    world.drive(&spec, Keep::Memory).await.unwrap();
    for error in [
        both.wallet(&world.claimer()).await.unwrap_err(),
        both.channel(&world.address()).await.unwrap_err(),
    ] {
        assert!(error.to_string().starts_with("no 2 of 2 endpoints"), "{error}");
        assert!(matches!(error, ChainError::Unavailable(_)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_that_lies_lags_or_is_gone_is_named_and_every_claim_is_paid_all_the_same() {
    let faults = [
        FaultChange {
            lies: Some(true),
            ..FaultChange::default()
        },
        FaultChange {
            stale_reads: Some(true),
            ..FaultChange::default()
        },
        FaultChange {
            unavailable: Some(u32::MAX),
            ..FaultChange::default()
        },
    ];
    for fault in faults {
        let mut world = World::start().await;
        let bad = world.network.open_endpoint().unwrap();
        let good = world.network.open_endpoint().unwrap();
        bad.change_faults(fault);
        let urls = [bad.base_url(), good.base_url(), world.network.base_url()];
        world.chain = world::chain(-217, &urls);
        world.blocks(4).await;
        let spec = world.sign(CLAIM).await.unwrap();
        let landed = world.drive(&spec, Keep::Memory).await.unwrap();
        assert_eq!(landed.messages, 1);
        world.assert_paid(CLAIM).await;
        let troubled = world.chain.troubled().expect("the bad one is named");
        assert!(
            bad.base_url().contains(troubled.split(' ').next().unwrap()),
            "{troubled}"
        );
    }
}

/// A claim's fee by the chain's prices, of which it cost a wallet at least four fifths, and no more; it is all that the
/// wallet lost. At today's prices it is also within what counts where none were read.
async fn assert_reckoned(
    world: &World,
    spec: &SettlementSpec,
    by: ClaimedBy,
    cost: u64,
    price_factor: u32,
) -> u64 {
    let fee = world.chain.redeem_fee(by).await.unwrap();
    let fee = fee.expect("affordable").nano();
    assert!(
        cost <= fee && fee < cost + cost / 4,
        "a claim cost {cost} nanoTON of {fee}"
    );
    if price_factor == 1 {
        assert!(cost <= REDEEM_FEE.nano(), "{cost} nanoTON");
    }
    assert_eq!(world.fee(spec).await, cost);
    fee
}

/// What one address is paid arrives in its balance, less what the chain takes for a day's storage of it: next to
/// nothing.
fn assert_arrived(paid_out: u64, expected: u64) {
    assert!(
        (expected - 1_000_000..=expected).contains(&paid_out),
        "{paid_out} of {expected}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_apart_claims_for_the_payout_address_and_loses_the_fees_alone() {
    // The prices of 2026, and those before.
    for price_factor in [1, 6] {
        let world = World::start_apart(price_factor).await;
        // The first message deploys the wallet as well.
        let first = world.sign(CLAIM).await.unwrap();
        world.drive(&first, Keep::Nothing).await.unwrap();
        world.blocks(4).await;
        let before = world.balance();
        let spec = world.sign(3 * CLAIM).await.unwrap();
        world.drive(&spec, Keep::Memory).await.unwrap();
        world.assert_paid(3 * CLAIM).await;
        assert_arrived(world.paid_out(), 3 * CLAIM);
        let cost = before - world.balance();
        assert_reckoned(&world, &spec, ClaimedBy::Claimer, cost, price_factor).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_moves_its_amount_once_whatever_is_dropped_or_killed() {
    let world = World::start_apart(1).await;
    world.network.change_faults(FaultChange {
        drop_sends: Some(3),
        ..FaultChange::default()
    });
    let spec = world.sweep(FEES / 2).await;
    let landed = world.drive(&spec, Keep::Nothing).await.unwrap();
    assert!(landed.swept);
    // Once more from the beginning, as an operator would whose last writes were lost.
    world.drive(&spec, Keep::Nothing).await.unwrap();
    world.blocks(4).await;
    assert_arrived(world.paid_out(), FEES / 2);
    // The message deployed the wallet as well.
    let fee = FEES / 2 - world.balance();
    assert!(fee < REDEEM_FEE.nano(), "a sweep cost {fee} nanoTON");
    assert!(
        LEAST_SWEEP.nano() > 50 * fee,
        "and takes little of the least that is swept"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_of_more_than_the_wallet_holds_failed_and_moved_nothing() {
    let world = World::start_apart(1).await;
    let spec = world.sweep(2 * FEES).await;
    let failed = world.drive(&spec, Keep::Memory).await.unwrap_err();
    assert_eq!(failed, SettlementFailed::NotSwept);
    world.blocks(4).await;
    assert_eq!(world.paid_out(), 0);
}
