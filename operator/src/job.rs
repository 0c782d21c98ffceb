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
mod turns;

mod agents;
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
        plan::{self, MAX_JOBS_PER_AGENT, Plan, Step},
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
use observe::{Carried, Prospect, Seen};
use queue::{Queue, Wanted};
use turns::{Turn, Turns};

use crate::{
    context::Context,
    dispatch::Dispatcher,
    error::{self, Error, Result},
    reconcile::{KUBERNETES_LIMIT, Reconciles},
    watch::Wakes,
};

/// Jobs reconciled at once: each waits for the API server most of the time.
const CONCURRENCY: u16 = 16;
/// Changes of one job within this time are reconciled once: an attempt that ends is told with its last results. Each
/// place of an agent is empty for as long between two jobs.
const DEBOUNCE: Duration = Duration::from_millis(5);
/// Steps of one reconcile at most: a job that is accepted, reserves its budget, loses two places to others, is assigned
/// and followed takes six. What is left goes on after [`NEXT_STEP`].
const MAX_STEPS: usize = 8;
/// Before a job goes on that took all steps of a reconcile, so that others have their turn; and before one is planned
/// again whose status somebody else wrote.
const NEXT_STEP: Duration = Duration::from_millis(50);
/// How long a job waits for a place on a busy agent before its status says so, as long as progress may take to be
/// shown: a place is free within one batch of short answers, and a status that is superseded before anybody reads it
/// costs the API server as much as any other.
const PASSING: Duration = Duration::from_secs(3);
/// What is added for each job that comes before, to that and to [`WAITING_INTERVAL`]: of many that wait, fifty a second
/// are said to, however many there are. A job of short answers comes and goes as fast, and then need not say that it
/// waited.
const PASSING_EACH: Duration = Duration::from_millis(20);
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
        turns: Turns::default(),
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
    let mut turn = match turn(&job, jobs) {
        Ok(turn) => turn,
        Err(later) => return Ok(Action::requeue(later)),
    };
    let Some(mut job) = deletion::live(&job, jobs).await? else {
        return Ok(Action::await_change());
    };
    let mut carried = Carried {
        inline: job.spec.input.inline.take(),
        ..Carried::default()
    };
    for _ in 0..MAX_STEPS {
        if job.is_ended() {
            jobs.queue.forget(&job.uid().unwrap_or_default());
            return retention::keep_or_delete(&job, jobs).await;
        }
        let step = match step(&job, carried, &mut turn, jobs).await {
            Err(Error::Results { source }) => {
                pass_on(&job, None, jobs);
                return lost::handle(&job, &source, jobs).await;
            }
            done => done?,
        };
        let (applied, seen, written) = match step {
            Done::Written(done) => *done,
            Done::Overtaken => return Ok(Action::requeue(NEXT_STEP)),
            Done::NoTurn => return Ok(Action::requeue(WAITING_INTERVAL)),
        };
        if !applied.is_progress() {
            let status = written.status.as_ref();
            let before = status
                .and_then(|status| status.queue_position)
                .unwrap_or_default();
            return Ok(Action::requeue(WAITING_INTERVAL + PASSING_EACH * before));
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

/// The turn of a job of which nothing was said yet and that gets no agent now: its input and its results are looked at
/// when it has one. None for a job that needs none; how long it is left alone, where it has to wait.
fn turn<'a>(job: &InferenceJob, jobs: &'a Jobs) -> Result<Option<Turn<'a>>, Duration> {
    let is_told = job
        .status
        .as_ref()
        .is_some_and(|status| !status.conditions.is_empty());
    if is_told || job.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    match observe::prospect(job, jobs) {
        Prospect::Next => return Ok(None),
        Prospect::Behind { wanted, before } => {
            let passing = PASSING + PASSING_EACH * u32::try_from(before).unwrap_or(u32::MAX);
            let left = passing.saturating_sub(jobs.queue.wait(job, wanted));
            if left > Duration::ZERO {
                return Err(left);
            }
        }
        Prospect::Unknown => {}
    }
    match jobs.turns.take(job, &jobs.wakes) {
        Some(turn) => Ok(Some(turn)),
        None => Err(WAITING_INTERVAL),
    }
}

/// What became of a step.
enum Done {
    /// It was applied, and the job's status says so.
    Written(Box<(Applied, Seen, InferenceJob)>),
    /// Somebody else wrote the status meanwhile.
    Overtaken,
    /// The job waits, and says so when it has a turn.
    NoTurn,
}

/// Observe, validate, plan, apply, status.
async fn step<'a>(
    job: &InferenceJob,
    carried: Carried,
    turn: &mut Option<Turn<'a>>,
    jobs: &'a Jobs,
) -> Result<Done> {
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
    // Of a place that was taken nothing came true, and a reservation stands in the ledger: the next step says it with
    // its own.
    if matches!(applied, Applied::Taken | Applied::Reserved) {
        return Ok(Done::Written(Box::new((applied, seen, job.clone()))));
    }
    let input = valid.map(|valid| valid.input);
    let next = status::next(job, input, &seen, &plan, &applied, jobs)?;
    if plan.step == Step::Wait && turn.is_none() && job.status.as_ref() != Some(&next) {
        *turn = jobs.turns.take(job, &jobs.wakes);
        if turn.is_none() {
            return Ok(Done::NoTurn);
        }
    }
    Ok(match status::write(job, &next, &applied, jobs).await? {
        Some(written) => Done::Written(Box::new((applied, seen, written))),
        None => Done::Overtaken,
    })
}

/// Notes whether the job waits for an agent, and wakes as many of those that do as there are places for.
fn queue_up(job: &InferenceJob, plan: &Plan, jobs: &Jobs) {
    let wanted = plan.provider.as_ref().map(|provider| Wanted {
        provider: FullName::parse(provider, &job.namespace().unwrap_or_default()),
        model: job.spec.model.clone(),
    });
    match wanted {
        Some(wanted) if plan.waits_for_agent() => drop(jobs.queue.wait(job, wanted)),
        wanted => pass_on(job, wanted, jobs),
    }
}

/// The job does not wait for an agent: of those that wait for what it waited for, or was `planned` for, as many are
/// woken as there are places for.
fn pass_on(job: &InferenceJob, planned: Option<Wanted>, jobs: &Jobs) {
    let left = jobs.queue.leave(&job.uid().unwrap_or_default());
    let left = left.filter(|left| planned.as_ref() != Some(left));
    for wanted in left.into_iter().chain(planned) {
        let agents = agents::agents(&wanted, jobs);
        let ready = agents
            .iter()
            .filter(|agent| matches!(agent.pod.state, AgentState::Ready(_)));
        let free = ready.map(|agent| MAX_JOBS_PER_AGENT.saturating_sub(agent.active));
        jobs.wakes.wake_all(jobs.queue.next(&wanted, free.sum()));
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that the controller calls"
)]
fn on_error(job: Arc<InferenceJob>, error: &Error, jobs: Arc<Jobs>) -> Action {
    // Nobody waits behind a job that gets no further.
    pass_on(&job, None, &jobs);
    RECONCILES.failed(&jobs.ctx.metrics, job.as_ref(), error)
}
