//! Submits many small jobs and waits until all of them have ended.

use std::{
    collections::HashSet,
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use cocoon_api::crd::InferenceJob;
use e2e::{
    farm::{Farm, MODEL},
    operator::Figures,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};
use tokio::time::timeout;

/// Jobs of one batch, where the first of the next follows the last of the one before.
const BATCH: usize = 50;
/// Jobs that are created at once: enough that the operator and not the submission is measured.
const SUBMITTED_AT_ONCE: usize = 16;
/// For the agent to be found, and the last jobs to end on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);
/// Jobs a second of which fewer is a failure.
const LEAST_RATE: f64 = 2.0;

/// Requests to the API server that one job of these may cost: its input when its wait is said and when it is
/// dispatched, its status when it waits, when an agent has it and when it has ended, its results and an Event are 7;
/// its place in a queue of a thousand is written again whenever it has fallen to a quarter, which is five times; and
/// one for what is tried again. More is a failure.
const MOST_REQUESTS: f64 = 13.0;

/// How jobs are submitted.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// One batch after the other has ended.
    Batches,
    /// All at once.
    AtOnce,
}

/// Finishes so many free jobs of one token each, and answers what it took.
pub(crate) async fn finish(farm: &Farm<'_>, prefix: &str, jobs: usize, pace: Pace) -> Result<Value> {
    let names: Vec<String> = (0..jobs).map(|number| format!("{prefix}-{number}")).collect();
    let batch = match pace {
        Pace::Batches => BATCH,
        Pace::AtOnce => jobs.max(1),
    };
    // Free jobs have nothing to settle: they are over in the moment in which they are complete.
    let ended = watcher::Config::default().fields("status.phase=Settled");
    let jobs_without_contents: Api<PartialObjectMeta<InferenceJob>> =
        Api::namespaced(farm.stack.client.clone(), &farm.namespace);
    let mut ended = pin!(
        watcher(jobs_without_contents, ended)
            .default_backoff()
            .touched_objects()
    );
    let before = Figures::read(farm.stack).await?;
    let start = Instant::now();
    for names in names.chunks(batch) {
        let mut open: HashSet<&str> = names.iter().map(String::as_str).collect();
        let submit = stream::iter(names).map(|name| submit(farm, name));
        let submit = submit
            .buffer_unordered(SUBMITTED_AT_ONCE)
            .try_collect::<Vec<()>>();
        let wait = async {
            while !open.is_empty() {
                let job = ended.next().await.context("the watch of jobs ended")??;
                open.remove(job.name_any().as_str());
            }
            anyhow::Ok(())
        };
        #[expect(clippy::cast_precision_loss, reason = "a number of jobs")]
        let limit = PATIENCE + Duration::from_secs_f64(names.len() as f64 / LEAST_RATE);
        let done = timeout(limit, async { futures::try_join!(submit, wait) }).await;
        match done {
            Ok(done) => drop(done?),
            Err(_) => bail!(
                "{} of {} jobs did not end within {limit:?}",
                open.len(),
                names.len()
            ),
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let after = Figures::read(farm.stack).await?;
    #[expect(clippy::cast_precision_loss, reason = "a number of jobs")]
    let count = jobs as f64;
    let requests = (after.job_requests - before.job_requests) / count;
    ensure!(
        requests <= MOST_REQUESTS,
        "a job cost {requests} requests to the API server, more than {MOST_REQUESTS}"
    );
    Ok(json!({
        "seconds": seconds,
        "jobsPerSecond": count / seconds,
        "requestsPerJob": requests,
        "requestsOfAllControllersPerJob": (after.requests - before.requests) / count,
        "operatorCpuSeconds": after.cpu_seconds - before.cpu_seconds,
        "operatorBytes": after.resident_bytes,
    }))
}

/// A free job of one token: the operator's work is that of any job, and no settlement waits in between.
async fn submit(farm: &Farm<'_>, name: &str) -> Result<()> {
    farm.create::<InferenceJob>(&json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": name},
        "spec": {"model": MODEL, "endpoint": "/v1/completions", "input": {"inline": [{"prompt": "x"}]},
                 "parameters": {"maxTokens": 1}, "billing": {"mode": "Free"}},
    }))
    .await?;
    Ok(())
}
