//! Writes what follows from a plan and from what was applied.

use cocoon_api::{
    NanoTon,
    conditions::{self, Complete, Failed, FundsReserved, Observation, Reason as _, Scheduled, Settled},
    crd::{
        InferenceJob, InferenceJobStatus, LocalReference,
        job::{AssignmentState, BillingMode, JobCost, JobPhase, RequestCounts},
        output::Output,
    },
    units::UnitError,
};
use cocoon_core::job::{
    input::InputSummary,
    landing::Landing,
    plan::{End, Plan},
    validate::Rejection,
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{ResourceExt as _, runtime::events::EventType};

use super::{apply::Applied, context::Jobs, observe::Seen};
use crate::{
    error::{Error, Result, describe},
    events,
    status::Put,
};

/// Characters of `waitingFor` at most, as its schema says: a longer one would be refused with all of the status. The
/// words come from a scheduler or a kubelet, and may be any length.
const MAX_WAITING_CHARS: usize = 1024;

/// Says what a job waits for whose results cannot be read, and that this attempt was stopped for it; everything else
/// stays as it is. Where somebody wrote another status meanwhile, it is said at the next look.
pub(super) async fn wait(
    job: &InferenceJob,
    rejection: &Rejection,
    stopped: Option<u32>,
    jobs: &Jobs,
) -> Result<()> {
    let mut next = job.status.clone().unwrap_or_default();
    let generation = job.metadata.generation;
    next.observed_generation = generation;
    next.waiting_for = Some(waiting_text(&rejection.accepted.message));
    next.phase = Some(JobPhase::Pending);
    let accepted = rejection.accepted.clone();
    conditions::set(&mut next.conditions, accepted, generation, jobs.ctx.now());
    for assignment in &mut next.assignments {
        if stopped == Some(assignment.attempt) {
            assignment.state = AssignmentState::Suspended;
        }
    }
    jobs.put(job, &next).await.map(drop)
}

/// Ends a job whose results cannot be read: its figures stay what they were when they could, but for its cost, which is
/// at least what the ledger counts. `settles_at` is what its channel had metered in all.
pub(super) async fn end_without_results(
    job: &InferenceJob,
    end: &End,
    (metered, settles_at): (NanoTon, Option<NanoTon>),
    jobs: &Jobs,
) -> Result<()> {
    let mut next = job.status.clone().unwrap_or_default();
    let (generation, now) = (job.metadata.generation, jobs.ctx.now());
    next.observed_generation = generation;
    next.cost.spent_nano = next.cost.spent_nano.max(metered);
    next.cost.spent = next.cost.spent_nano.to_ton_string();
    next.cost.settles_at_nano = settles_at;
    let is_paid = job.spec.billing.mode == BillingMode::Channel;
    close(&mut next, is_paid, &end.condition, generation, now);
    next.phase = Some(phase(&next, false));
    if matches!(jobs.put(job, &next).await?, Put::Written(_)) {
        announce(job, &end.condition, jobs).await;
    }
    Ok(())
}

/// As much of a message as `waitingFor` takes.
fn waiting_text(message: &str) -> String {
    message.chars().take(MAX_WAITING_CHARS).collect()
}

/// What follows. `input` is missing where the job is not accepted.
pub(super) fn next(
    job: &InferenceJob,
    input: Option<InputSummary>,
    seen: &Seen,
    plan: &Plan,
    applied: &Applied,
    jobs: &Jobs,
) -> Result<InferenceJobStatus> {
    let now = jobs.ctx.now();
    let generation = job.metadata.generation;
    let mut next = seen.status.clone();
    next.observed_generation = generation;
    next.provider.clone_from(&plan.provider);
    next.channel_uid.clone_from(&plan.channel_uid);
    next.agreed.clone_from(&plan.agreed);
    next.waiting_for = plan.waiting_for.as_deref().map(waiting_text);
    if let Some(input) = input {
        next.input_sha256 = Some(input.digest.to_string());
        next.requests.total = input.total;
    }
    for condition in &plan.conditions {
        conditions::set(&mut next.conditions, condition.clone(), generation, now);
    }
    if matches!(applied, Applied::Unfit) {
        unfit(&mut next, generation, now);
    }
    assignments(&mut next, applied, &seen.landing);
    figures(&mut next, job, seen).map_err(|source| Error::Money {
        object: describe(job),
        source,
    })?;
    if matches!(applied, Applied::Assigned(_)) {
        next.start_time.get_or_insert(Time(now));
    }
    if let Applied::Finished(end, settles_at) = applied {
        next.cost.settles_at_nano = *settles_at;
        let is_paid = job.spec.billing.mode == BillingMode::Channel;
        close(&mut next, is_paid, &end.condition, generation, now);
        next.receipts_root = Some(seen.landing.root().to_string());
        if let Some(output) = &mut next.output {
            output.sha256 = Some(seen.landing.head().page.digest().to_string());
        }
    }
    next.queue_position = (next.waiting_for.is_some() && next.active().is_none())
        .then(|| counted(next.queue_position, seen.queue_position));
    next.phase = Some(phase(&next, job.spec.suspend));
    Ok(next)
}

/// Writes it, and answers the job with it; none where another status was stored meanwhile, so that it is planned again.
pub(super) async fn write(
    job: &InferenceJob,
    next: &InferenceJobStatus,
    applied: &Applied,
    jobs: &Jobs,
) -> Result<Option<InferenceJob>> {
    let written = match jobs.put(job, next).await? {
        Put::Same => return Ok(Some(job.clone())),
        Put::Overtaken(_) => return Ok(None),
        Put::Written(written) => *written,
    };
    if let Applied::Finished(end, _) = applied {
        announce(job, &end.condition, jobs).await;
    }
    Ok(Some(written))
}

/// The position to show: a job that waits is written again no more often than its position falls to a quarter, or it
/// would cost the API server more the more jobs wait.
fn counted(shown: Option<u32>, position: u32) -> u32 {
    shown
        .filter(|shown| (shown / 4 + 1..=*shown).contains(&position))
        .unwrap_or(position)
}

/// The agent that was to take the job serves another file of the model.
fn unfit(next: &mut InferenceJobStatus, generation: Option<i64>, now: Timestamp) {
    let condition = Scheduled::AgentRefused.condition(
        "the agent serves another file of the model than was agreed: the job waits for one that serves it; if the provider \
         has replaced the model, make a new job",
    );
    next.waiting_for = Some(condition.message.clone());
    conditions::set(&mut next.conditions, condition, generation, now);
}

fn assignments(next: &mut InferenceJobStatus, applied: &Applied, landing: &Landing) {
    match applied {
        Applied::Assigned(assignment) => next.assignments.push(assignment.clone()),
        Applied::Closed(attempt, state) => {
            for assignment in next
                .assignments
                .iter_mut()
                .filter(|assignment| assignment.attempt == *attempt)
            {
                assignment.state = *state;
            }
        }
        Applied::Finished(..) => {
            for assignment in next
                .assignments
                .iter_mut()
                .filter(|assignment| assignment.state == AssignmentState::Active)
            {
                assignment.state = AssignmentState::Ended;
            }
        }
        Applied::Nothing
        | Applied::Reserved
        | Applied::Refused
        // It is planned again before anything is written.
        | Applied::Taken
        | Applied::Unfit
        | Applied::Following
        | Applied::Acted => {}
    }
    for assignment in &mut next.assignments {
        let receipts = || {
            landing
                .billed()
                .filter(|entry| entry.attempt == Some(assignment.attempt))
        };
        let tokens: u64 = receipts()
            .map(|receipt| receipt.usage.completion_tokens.get())
            .sum();
        assignment.requests = u32::try_from(receipts().count()).unwrap_or(u32::MAX);
        assignment.completion_tokens = i64::try_from(tokens).unwrap_or(i64::MAX);
        assignment.nano = NanoTon::sum(receipts().map(|receipt| receipt.nano)).unwrap_or_default();
    }
}

fn figures(next: &mut InferenceJobStatus, job: &InferenceJob, seen: &Seen) -> Result<(), UnitError> {
    let landing = &seen.landing;
    let total = next.requests.total;
    let done = landing.succeeded() + landing.failed();
    let active = next.active().is_some();
    let live = seen.known.progress.as_ref().filter(|_| active);
    let lost = next
        .assignments
        .iter()
        .filter(|assignment| assignment.state == AssignmentState::Lost)
        .count();
    next.requests = RequestCounts {
        total,
        in_flight: live
            .map_or(0, |progress| progress.in_flight)
            .min(total - done.min(total)),
        succeeded: landing.succeeded(),
        failed: landing.failed(),
        retried: u32::try_from(lost).unwrap_or(u32::MAX),
    };
    next.progress = (total > 0).then(|| format!("{done}/{total}"));
    #[expect(clippy::cast_possible_truncation, reason = "a rate for people; saturates")]
    let rate = live.map_or(0, |progress| progress.tokens_per_second as i64);
    next.tokens_per_second = rate;
    landed(next, &job.name_any(), landing)?;
    let held = conditions::find(&next.conditions, FundsReserved::TYPE)
        .is_some_and(|condition| condition.reason == FundsReserved::Reserved.name());
    next.cost.reserved_nano = job.spec.billing.max_nano.filter(|_| held).unwrap_or_default();
    Ok(())
}

/// Figures of what was delivered.
fn landed(next: &mut InferenceJobStatus, name: &str, landing: &Landing) -> Result<(), UnitError> {
    next.requests.succeeded = landing.succeeded();
    next.requests.failed = landing.failed();
    next.usage = landing.usage()?;
    let spent = landing.nano()?;
    next.cost = JobCost {
        reserved_nano: NanoTon::ZERO,
        spent_nano: spent,
        settles_at_nano: None,
        spent: spent.to_ton_string(),
    };
    if landing.succeeded() + landing.failed() > 0 {
        next.output = Some(Output {
            secret_ref: LocalReference {
                name: name.to_owned(),
            },
            sha256: None,
            pages: landing.closed().to_vec(),
        });
    }
    Ok(())
}

/// What a job is that has ended.
fn close(
    next: &mut InferenceJobStatus,
    is_paid: bool,
    end: &Observation,
    generation: Option<i64>,
    now: Timestamp,
) {
    conditions::set(&mut next.conditions, end.clone(), generation, now);
    let settled = if is_paid && next.cost.spent_nano > NanoTon::ZERO {
        Settled::Pending.condition("the cost is metered; looking up when the provider settles it")
    } else {
        Settled::NothingDue.condition("the job cost nothing")
    };
    conditions::set(&mut next.conditions, settled, generation, now);
    if is_paid && conditions::find(&next.conditions, FundsReserved::TYPE).is_some() {
        let released =
            FundsReserved::Released.condition("the job has ended; what it did not use is free again");
        conditions::set(&mut next.conditions, released, generation, now);
    }
    next.cost.reserved_nano = NanoTon::ZERO;
    next.completion_time = Some(Time(now));
    next.metered = true;
    next.waiting_for = None;
    next.queue_position = None;
    next.requests.in_flight = 0;
    next.tokens_per_second = 0;
}

fn phase(status: &InferenceJobStatus, is_suspended: bool) -> JobPhase {
    let is = |type_| conditions::is_true(&status.conditions, type_);
    if is(Failed::TYPE) {
        JobPhase::Failed
    } else if is(Complete::TYPE) {
        if is(Settled::TYPE) {
            JobPhase::Settled
        } else {
            JobPhase::Complete
        }
    } else if status.active().is_some() {
        JobPhase::Running
    } else if is_suspended {
        JobPhase::Suspended
    } else {
        JobPhase::Pending
    }
}

/// An Event for the end of a job.
async fn announce(job: &InferenceJob, end: &Observation, jobs: &Jobs) {
    let type_ = if end.type_ == Complete::TYPE {
        EventType::Normal
    } else {
        EventType::Warning
    };
    jobs.ctx
        .metrics
        .jobs_finished
        .with_label_values(&[end.type_])
        .inc();
    tracing::info!(job = %job.name_any(), namespace = %job.namespace().unwrap_or_default(), result = end.type_, reason = end.reason, "job ended");
    events::publish(&jobs.ctx, job, type_, end.reason, "Finish", end.message.clone()).await;
}

#[cfg(test)]
mod tests;
