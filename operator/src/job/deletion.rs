//! A job that ends before its plan does, above all by deletion: stop its work, take what was delivered, meter it, and let
//! go.

use std::time::Duration;

use cocoon_api::{
    NanoTon,
    crd::{InferenceJob, PaymentChannel},
};
use cocoon_core::{
    job::{landing::Landing, plan},
    ledger as channel_ledger,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Api, ResourceExt as _};
use tokio::time::{Instant, sleep};

use super::{Jobs, Result, observe, status};
use crate::{
    dispatch::{JobKey, meter},
    error::{self, Error, describe},
    finalizer, ledger,
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
    if let Err(error) = meter_and_release(job, jobs).await {
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
    let stopped = meter_and_release(job, jobs).await?;
    jobs.dispatcher.forget(&job.uid().unwrap_or_default());
    Ok(stopped)
}

/// Once the job is gone, its channel's controller folds the counters.
async fn meter_and_release(job: &InferenceJob, jobs: &Jobs) -> Result<Stopped> {
    let landing = observe::load(&observe::results(job, jobs)?).await?.landing;
    let Some(channel) = &job.spec.billing.channel_ref else {
        return Ok(Stopped {
            landing,
            settles_at: None,
        });
    };
    let namespace = job.namespace().unwrap_or_default();
    let uid = job.uid().ok_or_else(|| Error::Incomplete {
        object: describe(job),
        field: "metadata.uid",
    })?;
    let key = JobKey {
        namespace: namespace.clone(),
        name: job.name_any(),
        uid: uid.clone(),
    };
    meter(&jobs.ctx.client, &key, &channel.name, &landing).await?;
    let channels: Api<PaymentChannel> = Api::namespaced(jobs.ctx.client.clone(), &namespace);
    let released = ledger::update(&channels, &channel.name, |_, status| {
        channel_ledger::release(status, &uid);
        Ok(true)
    })
    .await?;
    let status = released.and_then(|channel| channel.status);
    Ok(Stopped {
        landing,
        settles_at: status.map(|status| status.accrued_nano),
    })
}

/// Seconds since a point in time, at least zero.
pub(super) fn seconds_since(then: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(then).as_secs().max(0)
}
