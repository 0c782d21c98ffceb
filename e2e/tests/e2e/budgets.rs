//! Budgets on one channel: what jobs hold never exceeds what it covers, whoever comes, waits, rests or goes.

use std::pin::{Pin, pin};

use anyhow::{Context as _, Result, ensure};
use cocoon_api::crd::{
    InferenceJob, PaymentChannel, PaymentChannelStatus,
    job::{AssignmentState, JobPhase},
};
use e2e::{
    Kind,
    farm::{Farm, Offer, prompts, ton},
    wait,
};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt as _,
    api::DeleteParams,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use serde_json::json;
use tokio::{task::JoinHandle, time::timeout};

use super::{
    on_stack,
    receipts::{Delivered, assert_all_paid, assert_redeemed},
};

/// Enough requests that a job is still running when its first results have landed.
const REQUESTS: usize = 45;

async fn submit(farm: &Farm<'_>, name: &str, requests: usize, budget: &str) -> Result<InferenceJob> {
    farm.submit(name, &prompts(requests), ton(budget).nano()).await
}

/// Every change of the objects of a kind in the namespace.
fn watch<K>(farm: &Farm<'_>) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
where
    K: Kind + Send + 'static,
{
    watcher(farm.api::<K>(), watcher::Config::default()).default_backoff()
}

/// Looks at every version of the channel until it is aborted, and ends with the first that promises more than it has.
fn watch_promises(farm: &Farm<'_>) -> JoinHandle<String> {
    let stream = watch::<PaymentChannel>(farm).applied_objects();
    tokio::spawn(async move {
        let mut stream = pin!(stream);
        loop {
            // A watch that fails is started again by the backoff.
            let Some(Ok(channel)) = stream.next().await else {
                continue;
            };
            let status = channel.status.unwrap_or_default();
            let in_contract = status.deposit_nano.checked_add(status.redeemed_nano);
            let covered = in_contract.map_or(status.cap_nano, |held| held.min(status.cap_nano));
            if status.reserved_nano > covered || status.accrued_nano > covered {
                return format!("{status:?}");
            }
        }
    })
}

/// The results of a job that goes: they go with it, and what they were at last tells what was delivered.
struct Results {
    job: String,
    events: Pin<Box<dyn Stream<Item = watcher::Result<Event<Secret>>> + Send>>,
    last: Option<Secret>,
}

impl Results {
    /// As they are now; every change from here on is seen, however late it is asked for.
    async fn of(farm: &Farm<'_>, job: &str) -> Result<Self> {
        let mut results = Self {
            job: job.to_owned(),
            events: watch::<Secret>(farm).boxed(),
            last: None,
        };
        while !matches!(results.next().await?, Event::InitDone) {}
        Ok(results)
    }

    async fn next(&mut self) -> Result<Event<Secret>> {
        let event = self.events.next().await.context("a watch has no end")??;
        if let Event::Apply(secret) | Event::InitApply(secret) = &event
            && secret.name_any() == self.job
        {
            self.last = Some(secret.clone());
        }
        Ok(event)
    }

    /// As they were before they were deleted.
    async fn at_last(&mut self) -> Result<Secret> {
        loop {
            if let Event::Delete(secret) = self.next().await?
                && secret.name_any() == self.job
            {
                return self.last.take().context("the job had results");
            }
        }
    }
}

#[test]
fn two_jobs_never_hold_more_than_the_channel_covers() -> Result<()> {
    on_stack("two-jobs", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.45").await?;
        let promises = watch_promises(&farm);
        // Either fits, both do not. Twenty answers cost less than 0.2 TON, so that the second fits after the first.
        submit(&farm, "one", 20, "0.25").await?;
        submit(&farm, "two", 5, "0.25").await?;
        let one_waits = || async {
            let mut waiting = Vec::new();
            for name in ["one", "two"] {
                let job = farm.api::<InferenceJob>().get(name).await?;
                let conditions = job.status.unwrap_or_default().conditions;
                let funds = cocoon_api::conditions::find(&conditions, "FundsReserved");
                if funds.is_some_and(|funds| {
                    funds.reason == "WaitingForFunds" && funds.message.contains("top up")
                }) {
                    waiting.push(name);
                }
            }
            let [name] = waiting[..] else { return Ok(None) };
            Ok(Some(name))
        };
        let waiting = wait::until("one of the jobs waits for the other's budget", one_waits).await?;
        ensure!(
            !farm.has_begun(waiting).await?,
            "a job without funds has begun: {waiting}"
        );
        let one = farm.wait_for("one", "Settled").await?;
        let two = farm.wait_for("two", "Settled").await?;
        assert_all_paid(&farm, &[(&one, 20), (&two, 5)]).await?;

        // What is left no longer covers a third one, until the payer allows more.
        submit(&farm, "three", 1, "0.4").await?;
        farm.wait_for_reason("three", "FundsReserved", "WaitingForFunds")
            .await?;
        farm.authorize("0.9").await?;
        let three = farm.wait_for("three", "Settled").await?;
        assert_all_paid(&farm, &[(&one, 20), (&two, 5), (&three, 1)]).await?;
        ensure!(!promises.is_finished(), "promised too much: {}", promises.await?);
        promises.abort();
        Ok(())
    })
}

#[test]
fn a_suspended_job_keeps_what_it_delivered_frees_its_budget_and_goes_on_when_resumed() -> Result<()> {
    on_stack("suspend", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("2", "1.5").await?;
        submit(&farm, "long", REQUESTS, "1").await?;
        farm.wait_for_the_middle_of("long").await?;

        farm.patch::<InferenceJob>("long", &json!({"spec": {"suspend": true}}))
            .await?;
        let job = farm
            .wait_for("long", "Suspended")
            .await?
            .status
            .context("the job has a status")?;
        ensure!(job.phase == Some(JobPhase::Suspended), "{:?}", job.phase);
        let kept = job.requests.succeeded;
        ensure!(
            (1..job.requests.total).contains(&kept),
            "it was stopped in the middle: {:?}",
            job.requests
        );
        let freed = |status: &PaymentChannelStatus| status.reservations.is_empty();
        let channel = farm.wait_for_channel("the budget is free again", freed).await?;
        let accrued = channel.status.unwrap_or_default().accrued_nano;
        let billed = Delivered::of(&farm, "long").await?.check()?;
        ensure!(accrued == billed, "accrued is {accrued}, receipts say {billed}");
        // The budget that was freed carries another job meanwhile.
        submit(&farm, "between", 1, "0.5").await?;
        let between = farm.wait_for("between", "Complete").await?;

        farm.patch::<InferenceJob>("long", &json!({"spec": {"suspend": false}}))
            .await?;
        let long = farm.wait_for("long", "Settled").await?;
        let states: Vec<_> = long
            .status
            .iter()
            .flat_map(|status| status.assignments.iter().map(|assignment| assignment.state))
            .collect();
        ensure!(
            states == [AssignmentState::Suspended, AssignmentState::Ended],
            "{states:?}"
        );
        let between = farm
            .wait_for(&between.metadata.name.unwrap_or_default(), "Settled")
            .await?;
        assert_all_paid(&farm, &[(&long, REQUESTS), (&between, 1)]).await
    })
}

#[test]
fn a_job_deleted_in_the_middle_pays_for_what_was_delivered_and_for_nothing_else() -> Result<()> {
    on_stack("cancel", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("2", "1.9").await?;
        submit(&farm, "long", REQUESTS, "1").await?;
        farm.wait_for_the_middle_of("long").await?;
        let mut results = Results::of(&farm, "long").await?;
        let jobs = farm.api::<InferenceJob>();
        jobs.delete("long", &DeleteParams::default()).await?;
        wait::gone(&jobs, "long", wait::LIMIT).await?;
        let last = timeout(wait::LIMIT, results.at_last())
            .await
            .context("the results go with the job")??;
        let delivered = Delivered::in_secret(last)?;
        let billed = delivered.check()?;
        let count = delivered.receipts.len();
        ensure!(
            (1..REQUESTS).contains(&count),
            "{count} of {REQUESTS} requests were delivered"
        );
        let settled =
            |status: &PaymentChannelStatus| status.reservations.is_empty() && status.redeemed_nano == billed;
        farm.wait_for_channel("what was delivered is paid", settled)
            .await?;
        assert_redeemed(&farm, billed).await?;

        // What it did not use is there for the next one.
        submit(&farm, "next", 1, "0.9").await?;
        let next = farm.wait_for("next", "Settled").await?;
        let spent = next.status.unwrap_or_default().cost.spent_nano;
        assert_redeemed(&farm, billed.checked_add(spent)?).await
    })
}
