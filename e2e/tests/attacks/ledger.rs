//! Money is booked on the ledger that metered it, and on no other.

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    NanoTon, conditions,
    crd::{CocoonProvider, InferenceJob, PaymentChannel},
};
use e2e::{
    farm::{CHANNEL, Farm, Offer, PROVIDER, prompts},
    wait,
};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::on_stack;

#[test]
fn a_channel_that_is_made_again_during_a_job_charges_nothing_twice() -> Result<()> {
    on_stack("made-again", |stack, namespace| async move {
        const BUDGET: u64 = 1_250_000_000;
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("4", "3.9").await?;
        farm.submit("job", &prompts(120), BUDGET).await?;
        farm.wait_for_the_middle_of("job").await?;
        let channels = farm.api::<PaymentChannel>();
        let spec = serde_json::to_value(&channels.get(CHANNEL).await?.spec)?;
        channels.delete(CHANNEL, &DeleteParams::default()).await?;
        wait::gone(&channels, CHANNEL, wait::LIMIT).await?;
        farm.create::<PaymentChannel>(&json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "PaymentChannel", "metadata": {"name": CHANNEL}, "spec": spec,
        }))
        .await?;
        // The job ends: its budget was on the object that is gone.
        let job = wait::object(&farm.api(), "job", "the job has failed", |job: &InferenceJob| {
            let list = job.status.as_ref().map_or(&[][..], |status| &status.conditions);
            conditions::find(list, "Failed").is_some_and(|failed| failed.reason == "ChannelGone")
        })
        .await?;
        let spent = job.status.context("a failed job has a status")?.cost.spent_nano;
        farm.wait_for_channel("the new object's ledger is in order", |status| {
            conditions::is_true(&status.conditions, "Ready")
        })
        .await?;
        let redeemed = farm.contract().await?.redeemed;
        ensure!(
            redeemed <= spent && redeemed.nano() <= BUDGET,
            "{redeemed} were redeemed, {spent} delivered"
        );
        let ledger = farm.channel_status().await?;
        ensure!(ledger.counters.is_empty(), "{:?}", ledger.counters);
        Ok(())
    })
}

/// Sets the ledger back as a backup of etcd has it that is older than the claim.
async fn set_back(farm: &Farm<'_>) -> Result<PaymentChannel> {
    let stored = json!({"status": {
        "claimedNano": 0, "redeemedNano": 0, "finishedNano": 0, "earlierNano": 0, "counters": [],
    }});
    farm.api::<PaymentChannel>()
        .patch_status(CHANNEL, &PatchParams::default(), &Patch::Merge(stored))
        .await?;
    farm.wait_for_channel("the ledger is behind", |status| {
        conditions::find(&status.conditions, "LedgerCurrent")
            .is_some_and(|found| found.reason == "LedgerBehind")
    })
    .await
}

#[test]
fn a_ledger_that_was_restored_from_a_backup_stands_still_until_the_farm_acknowledges() -> Result<()> {
    on_stack("restored", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("2", "1.9").await?;
        farm.submit("before", &prompts(2), 300_000_000).await?;
        farm.wait_for("before", "Settled").await?;
        let paid = farm.contract().await?.redeemed;
        let behind = set_back(&farm).await?;
        farm.submit("waits", &prompts(1), 300_000_000).await?;
        farm.wait_for_reason("waits", "FundsReserved", "ChannelNotReady")
            .await?;
        ensure!(!farm.has_begun("waits").await?, "it has begun");

        let ruling = json!({"spec": {"payout": {"rulings": [
            {"uid": behind.metadata.uid, "acknowledgedNano": paid},
        ]}}});
        farm.patch::<CocoonProvider>(PROVIDER, &ruling).await?;
        let job = farm.wait_for("waits", "Settled").await?;
        let both = paid.checked_add(job.status.unwrap_or_default().cost.spent_nano)?;
        let redeemed = farm.contract().await?.redeemed;
        ensure!(
            redeemed == both && paid > NanoTon::ZERO,
            "{redeemed} were redeemed, both jobs cost {both}"
        );
        Ok(())
    })
}

#[test]
fn a_ledger_that_was_restored_is_rebuilt_from_receipts_and_the_payer_owes_nothing_twice() -> Result<()> {
    on_stack("rebuilt", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("2", "1.9").await?;
        farm.submit("before", &prompts(2), 300_000_000).await?;
        farm.wait_for("before", "Settled").await?;
        let paid = farm.contract().await?.redeemed;
        set_back(&farm).await?;

        let rebuild = |dry_run: bool| {
            let mut arguments = vec!["channel", "rebuild", CHANNEL, "--namespace", &namespace];
            arguments.extend(dry_run.then_some("--dry-run"));
            arguments
        };
        let proof = stack.plugin(&rebuild(true), "").await?;
        ensure!(
            proof.contains("before") && proof.contains(&paid.to_ton_string()),
            "{proof}"
        );
        ensure!(
            farm.channel_status().await?.unexplained_nano == Some(paid),
            "a dry run changes nothing"
        );
        stack.plugin(&rebuild(false), "").await?;
        farm.wait_for_channel("the ledger goes on", |status| {
            conditions::is_true(&status.conditions, "Ready") && status.accrued_nano == paid
        })
        .await?;
        farm.submit("after", &prompts(1), 300_000_000).await?;
        let job = farm.wait_for("after", "Settled").await?;
        let both = paid.checked_add(job.status.unwrap_or_default().cost.spent_nano)?;
        let redeemed = farm.contract().await?.redeemed;
        ensure!(
            redeemed == both,
            "{redeemed} were redeemed, both jobs cost {both}"
        );
        Ok(())
    })
}
