//! A job that is deleted: stop its work, take what was delivered, meter it, and let go.

use std::time::Duration;

use cocoon_api::{
    crd::{InferenceJob, job::BillingMode},
    names::SETTLEMENT_FINALIZER,
};
use cocoon_core::job::plan::Following;
use k8s_openapi::jiff::SignedDuration;
use kube::ResourceExt as _;
use tokio::time::{Instant, sleep};

use super::{context::Jobs, observe};
use crate::{
    dispatch::{JobKey, meter_and_release},
    error::{self, Error, KubeContext as _, Result, describe},
    finalizer,
    watch::prune::OTHER_FINALIZERS,
};

/// How long a deleted job waits for its agent to hand over what is finished.
const DRAIN_LIMIT: Duration = Duration::from_secs(8);
/// Between two looks at the attempt.
const DRAIN_INTERVAL: Duration = Duration::from_millis(100);
/// After this time the job goes although its usage could not be metered: deletion never hangs.
const METER_LIMIT: SignedDuration = SignedDuration::from_secs(20);

/// The job, held by the finalizer where it is paid for, or `None` where it is going or gone. One that is free stands
/// for nothing that must be in order before it goes: its attempt is stopped, and its results go with it.
pub(super) async fn live(job: &InferenceJob, jobs: &Jobs) -> Result<Option<InferenceJob>> {
    let is_held = job.finalizers().iter().any(|name| name == SETTLEMENT_FINALIZER);
    let Some(deleted_at) = &job.metadata.deletion_timestamp else {
        if is_held || job.spec.billing.mode == BillingMode::Free {
            return Ok(Some(job.clone()));
        }
        return held(job, jobs).await;
    };
    if !is_held {
        // Others may hold it still; nothing is computed for it any more.
        let uid = job.uid().unwrap_or_default();
        jobs.dispatcher.vanished(&uid);
        jobs.queue.forget(&uid);
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
    let uid = job.uid().unwrap_or_default();
    jobs.dispatcher.forget(&uid);
    jobs.queue.forget(&uid);
    if let Some(job) = stored(job, jobs).await? {
        finalizer::remove(&jobs.api(&job), &job).await?;
    }
    Ok(None)
}

/// The job with its finalizer, and with its input, since it was just written; none where it is gone.
async fn held(job: &InferenceJob, jobs: &Jobs) -> Result<Option<InferenceJob>> {
    let has_others = job.finalizers().iter().any(|name| name == OTHER_FINALIZERS);
    if !has_others {
        // What is in memory may be old by now; then the job is read and asked again.
        match finalizer::ensure(&jobs.api(job), job).await {
            Err(Error::Kube { source, .. }) if is_conflict(&source) => {}
            done => return done,
        }
    }
    match stored(job, jobs).await? {
        Some(job) => finalizer::ensure(&jobs.api(&job), &job).await,
        None => Ok(None),
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// The job as it is stored. The one in memory lacks others' finalizers, which must stay where they are.
async fn stored(job: &InferenceJob, jobs: &Jobs) -> Result<Option<InferenceJob>> {
    let name = job.name_any();
    let found = jobs
        .api(job)
        .get_opt(&name)
        .await
        .attempt("read InferenceJob", &name)?;
    Ok(found.filter(|found| found.metadata.uid == job.metadata.uid))
}

/// Asks the agent to stop and waits until what it finished has landed, or it does not answer.
async fn drain(job: &InferenceJob, jobs: &Jobs) {
    let uid = job.uid().unwrap_or_default();
    let Some(attempt) = job
        .status
        .as_ref()
        .and_then(|status| status.active())
        .map(|active| active.attempt)
    else {
        return;
    };
    if job.is_ended() {
        return;
    }
    jobs.dispatcher.cancel(&uid, attempt);
    let deadline = Instant::now() + DRAIN_LIMIT;
    while jobs.dispatcher.known(&uid, attempt).following == Following::Yes && Instant::now() < deadline {
        sleep(DRAIN_INTERVAL).await;
    }
}

/// Once the job is gone, its channel's controller folds the counters.
async fn take_stock(job: &InferenceJob, jobs: &Jobs) -> Result<()> {
    let landing = observe::load(&observe::results(job, jobs)?).await?.landing;
    if let Some(channel) = &job.spec.billing.channel_ref {
        meter_and_release(&jobs.ctx.client, &JobKey::of(job)?, &channel.name, &landing).await?;
    }
    Ok(())
}
