//! The job controller: takes an `InferenceJob` from acceptance to settled.
//!
//! RBAC it needs, each with its reason:
//! - inferencejobs: get, list, watch, patch (finalizers), inferencejobs/status: update — the kind it owns;
//!   delete — `ttlSecondsAfterFinished`;
//! - cocoonproviders, paymentchannels, settlements: get, list, watch — who serves, who pays, what is paid;
//! - paymentchannels/status: update — reservations and counters, by compare-and-swap;
//! - configmaps: get — `input.configMapRef`;
//! - secrets: get, create, update — `input.secretRef`, and the results that it writes;
//! - pods: get, list, watch — agents; delete — fencing an agent that does not answer;
//! - events: create, patch — end states.

mod certificates;
mod latest;
mod queue;

mod context;
mod input;
mod observe;

mod follow;

mod apply;
mod deletion;
mod listen;
mod retention;
mod status;
mod sweep;

mod lost;

use std::{sync::Arc, time::Duration};

use cocoon_api::crd::{FullName, InferenceJob};
use cocoon_core::{
    agents::AgentState,
    job::{
        plan::{self, MAX_JOBS_PER_AGENT, Plan},
        validate,
    },
};
use futures::{StreamExt as _, stream};
use kube::{
    ResourceExt as _,
    runtime::{
        Controller,
        controller::{self, Action},
    },
};
use tokio_util::sync::CancellationToken;

use apply::Applied;
use certificates::Certificates;
use context::{Jobs, WAITING_INTERVAL};
use latest::Latest;
use observe::{Carried, Seen};
use queue::{Queue, Wanted};

use crate::{
    context::Context,
    dispatch::Dispatcher,
    error::{self, Error, Result},
    reconcile::{KUBERNETES_LIMIT, Reconciles},
    watch::Wakes,
};

/// Jobs reconciled at once: each waits for the API server most of the time.
const CONCURRENCY: u16 = 16;
/// Changes of one job within this time are reconciled once: an attempt that ends is told with its last results. Each place of
/// an agent is empty for as long between two jobs.
const DEBOUNCE: Duration = Duration::from_millis(5);
/// Steps of one reconcile at most: a job that is accepted, reserves its budget, loses two places to others, is assigned and
/// followed takes six. What is left goes on after [`NEXT_STEP`].
const MAX_STEPS: usize = 8;
/// Before a job goes on that took all steps of a reconcile, so that others have their turn; and before one is planned again whose
/// status somebody else wrote.
const NEXT_STEP: Duration = Duration::from_millis(50);
/// How long a job waits for a place on a busy agent before its status says so, as long as progress may take to be shown: a place is
/// free within one batch of short answers, and a status that is superseded before anybody reads it costs the API server as much as
/// any other.
const PASSING: Duration = Duration::from_secs(3);
/// How its reconciles are run.
const RECONCILES: Reconciles = Reconciles {
    kind: "InferenceJob",
    limit: KUBERNETES_LIMIT,
};

/// Runs the controller until `stop`.
pub async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let wakes = Arc::new(Wakes::default());
    let store = ctx.watches.jobs.reader();
    let jobs = Arc::new(Jobs {
        ctx,
        certificates: Certificates::default(),
        dispatcher: Dispatcher::new(wakes.clone(), stop.child_token()),
        wakes: wakes.clone(),
        queue: Queue::default(),
        latest: Latest::default(),
        latest_channels: Latest::default(),
    });
    listen::listen(&jobs);
    let sweeps = tokio::spawn(sweep::run(jobs.clone(), stop.child_token()));
    Controller::for_stream(stream::pending(), store)
        .with_config(
            controller::Config::default()
                .concurrency(CONCURRENCY)
                .debounce(DEBOUNCE),
        )
        .reconcile_on(wakes.stream())
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile_within, on_error, jobs)
        // A reconcile's failures are told where they are handled.
        .for_each(|_| std::future::ready(()))
        .await;
    sweeps.abort();
}

async fn reconcile_within(job: Arc<InferenceJob>, jobs: Arc<Jobs>) -> Result<Action> {
    RECONCILES
        .run(&jobs.ctx.metrics, Box::pin(reconcile(&job, &jobs)))
        .await
}

/// Goes on with a job until it waits for something.
async fn reconcile(job: &Arc<InferenceJob>, jobs: &Jobs) -> Result<Action> {
    let job = jobs.latest.of(job);
    let Some(mut job) = deletion::live(&job, jobs).await? else {
        return Ok(Action::await_change());
    };
    if let Some(wanted) = observe::queued(&job, jobs)
        && jobs.queue.wait(&job, wanted) < PASSING
    {
        return Ok(Action::requeue(PASSING));
    }
    let mut carried = Carried {
        inline: job.spec.input.inline.take(),
        ..Carried::default()
    };
    for _ in 0..MAX_STEPS {
        if job.is_ended() {
            jobs.queue.forget(&job.uid().unwrap_or_default());
            return retention::keep_or_delete(&job, jobs).await;
        }
        let step = match step(&job, carried, jobs).await {
            Err(Error::Results { source }) => return lost::handle(&job, &source, jobs).await,
            done => done?,
        };
        let Some((applied, seen, written)) = step else {
            return Ok(Action::requeue(NEXT_STEP));
        };
        if !applied.is_progress() {
            return Ok(Action::requeue(WAITING_INTERVAL));
        }
        carried = Carried {
            inline: None,
            requests: seen.requests,
            stored: seen.stored,
        };
        job = written;
    }
    Ok(Action::requeue(NEXT_STEP))
}

/// Observe, validate, plan, apply, status. None where the status was overtaken.
async fn step(
    job: &InferenceJob,
    carried: Carried,
    jobs: &Jobs,
) -> Result<Option<(Applied, Seen, InferenceJob)>> {
    let mut seen = observe::observe(job, carried, jobs).await?;
    let valid = validate::validate(job, &seen.input);
    let plan = match &valid {
        Ok(valid) => plan::plan(&seen.world(valid)).map_err(|source| Error::Money {
            object: error::describe(job),
            source,
        })?,
        Err(rejection) => plan::reject(rejection, &seen.status, seen.known.following),
    };
    let valid = valid.ok();
    let applied = apply::apply(job, valid.as_ref(), &mut seen, &plan, jobs).await;
    queue_up(job, &plan, jobs);
    let applied = applied?;
    // Of a place that was taken nothing came true, and a reservation stands in the ledger: the next step says it with its own.
    if matches!(applied, Applied::Taken | Applied::Reserved) {
        return Ok(Some((applied, seen, job.clone())));
    }
    let input = valid.map(|valid| valid.input);
    let written = status::write(job, input, &seen, &plan, &applied, jobs).await?;
    Ok(written.map(|written| (applied, seen, written)))
}

/// Notes whether the job waits for an agent, and wakes as many of those that do as there are places for.
fn queue_up(job: &InferenceJob, plan: &Plan, jobs: &Jobs) {
    let wanted = plan.provider.as_ref().map(|provider| Wanted {
        provider: FullName::parse(provider, &job.namespace().unwrap_or_default()),
        model: job.spec.model.clone(),
    });
    match &wanted {
        Some(wanted) if plan.waits_for_agent() => {
            jobs.queue.wait(job, wanted.clone());
            return;
        }
        _ => jobs.queue.leave(&job.uid().unwrap_or_default()),
    }
    if let Some(wanted) = &wanted {
        let agents = observe::agents(wanted, jobs);
        let ready = agents
            .iter()
            .filter(|agent| matches!(agent.pod.state, AgentState::Ready(_)));
        let free = ready.map(|agent| MAX_JOBS_PER_AGENT.saturating_sub(agent.active));
        jobs.wakes.wake_all(jobs.queue.next(wanted, free.sum()));
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that the controller calls"
)]
fn on_error(job: Arc<InferenceJob>, error: &Error, jobs: Arc<Jobs>) -> Action {
    RECONCILES.failed(&jobs.ctx.metrics, job.as_ref(), error)
}
