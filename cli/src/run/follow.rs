//! Watches one job until a condition is true.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use cocoon_api::{
    conditions::{self, Failed, Reason as _, Settled},
    crd::InferenceJob,
};
use futures::StreamExt as _;
use kube::{
    Api, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};

use super::progress::Progress;

/// Failed watches in a row after which the API server is given up; with the watcher's backoff about two minutes.
const MAX_WATCH_FAILURES: u32 = 10;

/// Shows the job until `condition` is true, and has `each` of its states seen to. Fails where the job fails or is
/// deleted.
pub(super) async fn until(
    jobs: &Api<InferenceJob>,
    job: &InferenceJob,
    condition: &str,
    each: impl AsyncFn(&InferenceJob) -> Result<()>,
) -> Result<InferenceJob> {
    let name = job.name_any();
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let stream = watcher(jobs.clone(), config).default_backoff();
    futures::pin_mut!(stream);
    let mut progress = Progress::new();
    let mut failures = 0;
    let mut is_there = true;
    while let Some(event) = stream.next().await {
        let seen = match event {
            Ok(Event::Apply(seen) | Event::InitApply(seen)) => seen,
            Ok(Event::Init) => {
                is_there = false;
                continue;
            }
            Ok(Event::InitDone) if is_there => continue,
            Ok(Event::Delete(_) | Event::InitDone) => bail!("job {name} was deleted"),
            Err(error) if failures < MAX_WATCH_FAILURES => {
                failures += 1;
                progress.say(&format!("watching the job fails, trying again: {error}"));
                continue;
            }
            Err(error) => return Err(error).with_context(|| format!("could not watch job {name}")),
        };
        (failures, is_there) = (0, true);
        if seen.metadata.uid != job.metadata.uid {
            bail!("job {name} was deleted and made again");
        }
        progress.show(&seen.status.clone().unwrap_or_default());
        if let Some(why) = failure(&seen) {
            bail!("job {name} failed: {why}: see `kubectl cocoon results {name}` for what was delivered");
        }
        if seen
            .status
            .as_ref()
            .is_some_and(|status| conditions::is_true(&status.conditions, condition))
        {
            return Ok(seen);
        }
        each(&seen).await?;
        if let Some(why) = written_off(&seen).filter(|_| condition == Settled::TYPE) {
            bail!(
                "job {name} is complete and will not be settled: {why}: see `kubectl cocoon results {name}`"
            );
        }
    }
    bail!("the watch of job {name} ended")
}

/// Reason and message of a failed job.
fn failure(job: &InferenceJob) -> Option<String> {
    let conditions = &job.status.as_ref()?.conditions;
    let failed = conditions::find(conditions, Failed::TYPE).filter(|failed| failed.status == "True")?;
    Some(format!("{}: {}", failed.reason, failed.message))
}

/// Why a job's cost will never be paid.
fn written_off(job: &InferenceJob) -> Option<String> {
    let conditions = &job.status.as_ref()?.conditions;
    let settled = conditions::find(conditions, Settled::TYPE)?;
    (settled.reason == Settled::WrittenOff.name()).then(|| settled.message.clone())
}

/// One line about a finished job.
pub(super) fn summary(job: &InferenceJob) -> String {
    let status = job.status.clone().unwrap_or_default();
    let tokens = status
        .usage
        .total()
        .map(|tokens| tokens.to_string())
        .unwrap_or_default();
    let mut text = format!(
        "job {}: {} of {} requests answered, {tokens} tokens, {} TON",
        job.name_any(),
        status.requests.succeeded,
        status.requests.total,
        status.cost.spent_nano.to_ton_string()
    );
    if let Some(transaction) = status
        .settlement
        .iter()
        .find_map(|part| part.transaction.as_ref())
    {
        write!(text, ", paid by transaction {transaction}").expect("a String takes all text");
    }
    text
}
