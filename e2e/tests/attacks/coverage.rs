//! What runs is covered by what can be claimed in time.

use anyhow::{Context as _, Result, ensure};
use cocoon_api::NanoTon;
use e2e::{
    farm::{CHANNEL, Farm, Offer, PROVIDER, prompts},
    wait,
};

use super::on_stack;

/// The challenge window of the channel, in seconds: the shortest that the farm takes.
const WINDOW: u32 = 300;
/// Work ends this long before claims do (`CLAIM_SECONDS` in `cocoon-core`).
const CLAIM_SECONDS: u32 = 180;

#[test]
fn a_channel_that_closes_under_a_job_stops_it_and_pays_what_was_delivered() -> Result<()> {
    on_stack("closes", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        let window = format!("{WINDOW}s");
        let open = [
            "channel",
            "open",
            CHANNEL,
            "--namespace",
            &namespace,
            "--provider",
            PROVIDER,
            "--deposit",
            "3",
            "--cap",
            "2.9",
            "--challenge",
            &window,
        ];
        stack.plugin(&open, &farm.payer_key).await?;
        farm.submit("runs", &prompts(200), 2_500_000_000).await?;
        farm.wait_for_the_middle_of("runs").await?;
        let close = ["channel", "close", CHANNEL, "--namespace", &namespace];
        stack.plugin(&close, &farm.payer_key).await?;
        farm.wait_for_channel("the operator has seen the close", |status| {
            status.challenge_ends_at.is_some()
        })
        .await?;
        stack.advance_time(WINDOW - CLAIM_SECONDS).await?;
        farm.wait_for_reason("runs", "FundsReserved", "NotCovered")
            .await?;
        let stopped = wait::object(
            &farm.api(),
            "runs",
            "its attempt has ended",
            |job: &cocoon_api::crd::InferenceJob| {
                job.status.as_ref().is_some_and(|status| {
                    status
                        .assignments
                        .iter()
                        .all(|attempt| attempt.state != cocoon_api::crd::job::AssignmentState::Active)
                })
            },
        )
        .await?;
        let status = stopped.status.context("a job that ran has a status")?;
        ensure!(
            status.requests.succeeded < status.requests.total,
            "it was stopped: {:?}",
            status.requests
        );
        let delivered = status.cost.spent_nano;
        ensure!(delivered > NanoTon::ZERO, "something was delivered");
        wait::within(
            wait::LIMIT,
            "everything that was delivered is redeemed",
            || async { Ok((farm.contract().await?.redeemed == delivered).then_some(())) },
        )
        .await
    })
}

#[test]
fn nothing_is_dispatched_on_a_channel_that_is_closing() -> Result<()> {
    on_stack("closing", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.9").await?;
        let close = ["channel", "close", CHANNEL, "--namespace", &namespace];
        stack.plugin(&close, &farm.payer_key).await?;
        farm.wait_for_channel("the operator has seen the close", |status| {
            status.challenge_ends_at.is_some()
        })
        .await?;
        farm.submit("late", &["Once upon a time"], 300_000_000).await?;
        farm.wait_for_reason("late", "FundsReserved", "ChannelNotReady")
            .await?;
        ensure!(!farm.has_begun("late").await?, "it has begun");
        Ok(())
    })
}
