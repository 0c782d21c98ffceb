//! A job that ends before its plan does, above all by deletion: stop its work, take what was delivered, meter it, and let
//! go.

use std::time::Duration;

use cocoon_api::{NanoTon, crd::InferenceJob};
use cocoon_core::job::{landing::Landing, plan};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use tokio::time::{Instant, sleep};

use super::{Jobs, Result, observe, status};
use crate::{
    dispatch::{JobKey, meter_and_release},
    error::{self, describe},
    finalizer,
};

/// How long a deleted job waits for its agent to hand over what is finished.
const DRAIN_LIMIT: Duration = Duration::from_secs(8);
/// Between two looks at the attempt.
const DRAIN_INTERVAL: Duration = Duration::from_millis(100);
/// After this time the job goes although its usage could not be metered: deletion never hangs.
const METER_LIMIT: SignedDuration = SignedDuration::from_secs(20);

/// The job with its finalizer, or `None` where it is going or gone.
pub(super) async fn live(job: &InferenceJob, jobs: &Jobs) -> Result<Option<InferenceJob>> {
    let api = jobs.api(job);
    let Some(deleted_at) = &job.metadata.deletion_timestamp else {
        return finalizer::ensure(&api, job).await;
    };
    if job.finalizers().is_empty() {
        return Ok(None);
    }
    drain(job, jobs).await;
    if let Err(error) = take_stock(job, jobs).await {
        if jobs.ctx.now().duration_since(deleted_at.0) < METER_LIMIT {
            return Err(error);
        }
        tracing::warn!(
            job = describe(job),
            error = error::chain(&error),
            "usage was not metered before the job went"
        );
    }
    jobs.dispatcher.forget(&job.uid().unwrap_or_default());
    finalizer::remove(&api, job).await?;
    Ok(None)
}

/// Asks the agent to stop and waits until what it finished has landed, or it does not answer.
async fn drain(job: &InferenceJob, jobs: &Jobs) {
    let uid = job.uid().unwrap_or_default();
    let Some(attempt) = job
        .status
        .as_ref()
        .and_then(plan::active)
        .map(|active| active.attempt)
    else {
        return;
    };
    if status::is_ended(job) {
        return;
    }
    jobs.dispatcher.cancel(&uid, attempt);
    let deadline = Instant::now() + DRAIN_LIMIT;
    while jobs.dispatcher.known(&uid, attempt).following == plan::Following::Yes && Instant::now() < deadline
    {
        sleep(DRAIN_INTERVAL).await;
    }
}

/// What a stopped job leaves behind.
pub(super) struct Stopped {
    /// What has landed.
    pub(super) landing: Landing,
    /// What was metered on its channel in all by then; none for a free job, or where the channel is gone.
    pub(super) settles_at: Option<NanoTon>,
}

/// Stops a job that ends before its plan does: what its agent finished is taken and metered, its budget given back.
pub(super) async fn stop(job: &InferenceJob, jobs: &Jobs) -> Result<Stopped> {
    drain(job, jobs).await;
    let stopped = take_stock(job, jobs).await?;
    jobs.dispatcher.forget(&job.uid().unwrap_or_default());
    Ok(stopped)
}

/// Once the job is gone, its channel's controller folds the counters.
async fn take_stock(job: &InferenceJob, jobs: &Jobs) -> Result<Stopped> {
    let landing = observe::load(&observe::results(job, jobs)?).await?.landing;
    let settles_at = match &job.spec.billing.channel_ref {
        Some(channel) => {
            meter_and_release(&jobs.ctx.client, &JobKey::of(job)?, &channel.name, &landing).await?
        }
        None => None,
    };
    Ok(Stopped { landing, settles_at })
}

/// Seconds since a point in time, at least zero.
pub(super) fn seconds_since(then: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(then).as_secs().max(0)
}
