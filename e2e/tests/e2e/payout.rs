//! A farm whose key in the cluster only claims: it is paid at an address of which the cluster has no key.

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    NanoTon,
    conditions::{self, Confirmed, Reason as _},
    crd::{CocoonProvider, Settlement},
};
use e2e::{
    farm::{Farm, Offer, PROVIDER},
    wait,
};
use kube::api::ListParams;
use serde_json::json;

use super::on_stack;

/// What a claim or a sweep costs its wallet at most, 0.0015 TON, and the wallet's deployment with the first one as much
/// again.
const FEES: u64 = 3_000_000;
/// What the chain takes of a balance for its storage in a test's time: next to nothing.
const RENT: u64 = 1_000_000;

/// Whether an amount is there, but for the storage of the account that holds it.
fn is_there(found: NanoTon, expected: NanoTon) -> bool {
    (expected.nano().saturating_sub(RENT)..=expected.nano()).contains(&found.nano())
}

#[test]
fn what_is_earned_goes_to_the_payout_address_and_the_key_in_the_cluster_pays_fees_alone() -> Result<()> {
    on_stack("paid-apart", |stack, namespace| async move {
        let offer = Offer {
            paid_apart: true,
            ..Offer::of(&stack)
        };
        let farm = Farm::start(&stack, &namespace, &offer).await?;
        farm.open_channel("1", "0.5").await?;
        let parties = farm.contract().await?.params;
        ensure!(
            (parties.provider, parties.claimer) == (farm.payout, farm.wallet),
            "the channel pays {} and lets {} claim",
            parties.provider,
            parties.claimer
        );

        let before = stack.balance(&farm.wallet).await?;
        farm.submit("paid", &["Once upon a time"], 20_000_000).await?;
        let job = farm.wait_for("paid", "Settled").await?;
        let earned = job.status.context("it has a status")?.cost.spent_nano;
        ensure!(earned > NanoTon::ZERO, "the job cost something");
        let paid = farm.contract().await?.redeemed;
        ensure!(paid == earned, "{paid} of {earned} was claimed");
        wait::until("the payout address has what was claimed", || async {
            Ok(is_there(stack.balance(&farm.payout).await?, earned).then_some(()))
        })
        .await?;
        // The wallet was deployed with the claim as well.
        let spent = before.saturating_sub(stack.balance(&farm.wallet).await?);
        ensure!(
            spent.nano() <= FEES,
            "the wallet lost {spent} nanoTON, which is more than fees"
        );
        Ok(())
    })
}

#[test]
fn what_the_claiming_wallet_holds_above_its_reserve_is_swept_to_the_payout_address() -> Result<()> {
    on_stack("sweep", |stack, namespace| async move {
        let offer = Offer {
            paid_apart: true,
            ..Offer::of(&stack)
        };
        let farm = Farm::start(&stack, &namespace, &offer).await?;
        let keep = json!({"spec": {"payout": {"feeReserveNano": 500_000_000}}});
        let provider: CocoonProvider = farm.patch(PROVIDER, &keep).await?;
        let reserve = provider.spec.payout.fee_reserve_nano;
        let surplus = stack.balance(&farm.wallet).await?.saturating_sub(reserve);
        let settlement = wait::until("the surplus is swept", || async {
            let found = farm.api::<Settlement>().list(&ListParams::default()).await?;
            let is_confirmed = |settlement: &Settlement| {
                let status = settlement.status.as_ref();
                status.is_some_and(|status| conditions::is_true(&status.conditions, Confirmed::TYPE))
            };
            Ok(found.items.into_iter().find(is_confirmed))
        })
        .await?;
        let sweep = settlement.spec.sweep.context("it sweeps")?;
        ensure!(
            is_there(sweep.nano, surplus) && settlement.spec.redeems.is_empty(),
            "{} of {surplus} nanoTON is swept",
            sweep.nano
        );
        wait::until("the payout address has what was swept", || async {
            Ok(is_there(stack.balance(&farm.payout).await?, sweep.nano).then_some(()))
        })
        .await?;
        let left = stack.balance(&farm.wallet).await?;
        ensure!(
            left <= reserve && reserve.saturating_sub(left).nano() <= FEES,
            "the wallet keeps {left} of {reserve} nanoTON for fees"
        );
        Ok(())
    })
}
