//! Neither side risks more than the step that was agreed.

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    NanoTon,
    crd::{InferenceJob, PaymentChannel, job::AssignmentState},
};
use e2e::farm::{CHANNEL, Farm, MODEL, Offer, prompts, ton};
use serde_json::{Value, json};

use super::on_stack;

/// What the channel's first voucher allows: next to nothing.
const FIRST_CAP: &str = "0.000001";

async fn cap(farm: &Farm<'_>) -> Result<NanoTon> {
    let channel = farm.api::<PaymentChannel>().get(CHANNEL).await?;
    let voucher = channel.spec.voucher.context("an open channel has a voucher")?;
    Ok(voucher.cap_nano)
}

#[test]
fn a_farm_is_paused_until_the_payer_signs_for_the_next_step() -> Result<()> {
    on_stack("steps-paused", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.1").await?;
        let inline: Vec<Value> = prompts(3)
            .iter()
            .map(|prompt| json!({"prompt": prompt}))
            .collect();
        farm.create::<InferenceJob>(&json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": "steps"},
            "spec": {
                "model": MODEL, "endpoint": "/v1/completions", "input": {"inline": inline},
                "parameters": {"maxTokens": 8, "temperature": 0},
                "billing": {
                    "mode": "Channel", "channelRef": {"name": CHANNEL}, "maxNano": ton("0.3"), "step": 1,
                },
            },
        }))
        .await?;
        // The first step of 0.1 TON is covered; the second is, as far as the first one cost less, only in part.
        let words = farm
            .wait_for_reason("steps", "FundsReserved", "WaitingForFunds")
            .await?;
        ensure!(words.contains("paused after 1 of 3 requests"), "{words}");
        let status = farm.job_status("steps").await?;
        ensure!(
            status.requests.succeeded == 1 && status.active().is_none(),
            "{:?}",
            status.requests
        );
        farm.authorize("0.9").await?;
        let job = farm.wait_for("steps", "Settled").await?;
        let status = job.status.context("a settled job has a status")?;
        ensure!(status.assignments.len() == 3, "{:?}", status.assignments);
        ensure!(
            status
                .assignments
                .iter()
                .all(|assignment| assignment.state == AssignmentState::Ended && assignment.requests == 1),
            "{:?}",
            status.assignments
        );
        Ok(())
    })
}

#[test]
fn a_payer_signs_for_one_step_beyond_what_verified_and_no_more() -> Result<()> {
    on_stack("steps-signed", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", FIRST_CAP).await?;
        let first = cap(&farm).await?;
        let line = format!(
            "run --model {MODEL} --channel {CHANNEL} --max 0.3 --max-tokens 8 --step 1 --name steps --settled --namespace \
             {namespace} one two three"
        );
        let words: Vec<&str> = line.split_whitespace().collect();
        stack.plugin(&words, &farm.payer_key).await?;
        let status = farm.job_status("steps").await?;
        ensure!(
            status.requests.succeeded == 3 && status.assignments.len() == 3,
            "{:?}",
            status.requests
        );
        let spent = status.cost.spent_nano;
        let most = NanoTon::sum([first, spent, ton("0.1")])?;
        let signed = cap(&farm).await?;
        ensure!(
            spent <= signed && signed <= most,
            "{signed} were signed for, {spent} were delivered, {most} is the limit"
        );
        ensure!(farm.contract().await?.redeemed == spent, "it is paid");
        Ok(())
    })
}
