//! Writes what follows from a plan and from what was applied.

use cocoon_api::{
    NanoTon,
    conditions::{self, Complete, Failed, FundsReserved, Observation, Reason as _, Settled},
    crd::{
        InferenceJob, InferenceJobStatus, LocalReference,
        job::{AssignmentState, BillingMode, JobCost, JobPhase, Output, RequestCounts},
    },
    receipt::Sha256Digest,
};
use cocoon_core::job::{
    landing::Landing,
    plan::{self, End, Plan},
    validate::{Billing, Rejection, ValidatedJob},
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    ResourceExt as _,
    runtime::{controller::Action, events::EventType},
};

use super::{
    Jobs, Result, WAITING_INTERVAL,
    apply::Applied,
    deletion::{self, Stopped},
    observe::Seen,
};
use crate::{
    error::{Error, describe},
    events, status,
};

/// Characters of `waitingFor` at most, as its schema says: a longer one would be refused with all of the status. The words
/// come from a scheduler, an agent or an input, and may be any length.
const MAX_WAITING_CHARS: usize = 1024;

/// Whether the job is complete or failed.
pub(super) fn is_ended(job: &InferenceJob) -> bool {
    job.status.as_ref().is_some_and(|status| {
        conditions::is_true(&status.conditions, Complete::TYPE)
            || conditions::is_true(&status.conditions, Failed::TYPE)
    })
}

/// Says why the job is not accepted; a specification that cannot become right fails. A job that runs already, whose input
/// was changed under it, is stopped first: what it delivered is kept and billed.
pub(super) async fn reject(job: &InferenceJob, rejection: &Rejection, jobs: &Jobs) -> Result<Action> {
    let mut next = job.status.clone().unwrap_or_default();
    let generation = job.metadata.generation;
    let message = &rejection.accepted.message;
    next.observed_generation = generation;
    next.waiting_for = Some(waiting_text(message));
    next.phase = Some(JobPhase::Pending);
    conditions::set(
        &mut next.conditions,
        rejection.accepted.clone(),
        generation,
        jobs.ctx.now(),
    );
    if !rejection.is_final {
        status::apply(&jobs.api(job), job, job.status.as_ref(), &next).await?;
        return Ok(Action::requeue(WAITING_INTERVAL));
    }
    let Stopped { landing, settles_at } = deletion::stop(job, jobs).await?;
    let failed = Failed::InvalidInput.condition(message.clone());
    let end = End {
        condition: failed.clone(),
    };
    assignments(&mut next, &Applied::Finished(end, settles_at), &landing);
    landed(&mut next, &job.name_any(), &landing).map_err(|source| Error::Money {
        object: describe(job),
        source,
    })?;
    next.cost.settles_at_nano = settles_at;
    let is_paid = job.spec.billing.mode == BillingMode::Channel;
    finish(&mut next, is_paid, &failed, &landing, generation, jobs.ctx.now());
    next.phase = Some(JobPhase::Failed);
    if status::apply(&jobs.api(job), job, job.status.as_ref(), &next).await? {
        announce(job, &failed, jobs).await;
    }
    Ok(Action::requeue(WAITING_INTERVAL))
}

/// As much of a message as `waitingFor` takes.
fn waiting_text(message: &str) -> String {
    message.chars().take(MAX_WAITING_CHARS).collect()
}

pub(super) async fn write(
    job: &InferenceJob,
    valid: &ValidatedJob,
    seen: &Seen,
    plan: &Plan,
    applied: &Applied,
    jobs: &Jobs,
) -> Result<()> {
    let now = jobs.ctx.now();
    let generation = job.metadata.generation;
    let mut next = seen.status.clone();
    next.observed_generation = generation;
    next.provider.clone_from(&plan.provider);
    next.channel_uid.clone_from(&plan.channel_uid);
    next.waiting_for = plan.waiting_for.as_deref().map(waiting_text);
    next.input_sha256 = Some(valid.requests.digest.to_string());
    for condition in &plan.conditions {
        conditions::set(&mut next.conditions, condition.clone(), generation, now);
    }
    assignments(&mut next, applied, &seen.stored.landing);
    figures(&mut next, valid, seen).map_err(|source| Error::Money {
        object: describe(job),
        source,
    })?;
    if matches!(applied, Applied::Assigned(_)) {
        next.start_time.get_or_insert(Time(now));
    }
    if let Applied::Finished(end, settles_at) = applied {
        next.cost.settles_at_nano = *settles_at;
        finish(
            &mut next,
            !matches!(valid.billing, Billing::Free),
            &end.condition,
            &seen.stored.landing,
            generation,
            now,
        );
    }
    next.queue_position =
        (next.waiting_for.is_some() && plan::active(&next).is_none()).then_some(seen.queue_position);
    next.phase = Some(phase(&next, valid));
    let wrote = status::apply(&jobs.api(job), job, job.status.as_ref(), &next).await?;
    if let (true, Applied::Finished(end, _)) = (wrote, applied) {
        announce(job, &end.condition, jobs).await;
    }
    Ok(())
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
        Applied::Nothing | Applied::Reserved | Applied::Refused | Applied::Following | Applied::Acted => {}
    }
    for assignment in &mut next.assignments {
        let receipts = || {
            landing
                .receipts()
                .iter()
                .filter(|receipt| receipt.chain.attempt == assignment.attempt)
        };
        let tokens: u64 = receipts()
            .map(|receipt| receipt.usage.completion_tokens.get())
            .sum();
        assignment.requests = u32::try_from(receipts().count()).unwrap_or(u32::MAX);
        assignment.completion_tokens = i64::try_from(tokens).unwrap_or(i64::MAX);
        assignment.nano = NanoTon::sum(receipts().map(|receipt| receipt.nano)).unwrap_or_default();
    }
}

fn figures(
    next: &mut InferenceJobStatus,
    valid: &ValidatedJob,
    seen: &Seen,
) -> Result<(), cocoon_api::units::UnitError> {
    let landing = &seen.stored.landing;
    let total = u32::try_from(valid.requests.items.len()).unwrap_or(u32::MAX);
    let done = landing.succeeded() + landing.failed();
    let active = plan::active(next).is_some();
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
    next.progress = Some(format!("{done}/{total}"));
    #[expect(clippy::cast_possible_truncation, reason = "a rate for people; saturates")]
    let rate = live.map_or(0, |progress| progress.tokens_per_second as i64);
    next.tokens_per_second = rate;
    landed(next, &valid.name, landing)?;
    let reserved = match (
        &valid.billing,
        conditions::find(&next.conditions, FundsReserved::TYPE),
    ) {
        (Billing::Channel { budget, .. }, Some(condition))
            if condition.reason == FundsReserved::Reserved.name() =>
        {
            *budget
        }
        _ => NanoTon::ZERO,
    };
    next.cost.reserved_nano = reserved;
    Ok(())
}

/// Figures of what was delivered.
fn landed(
    next: &mut InferenceJobStatus,
    name: &str,
    landing: &Landing,
) -> Result<(), cocoon_api::units::UnitError> {
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
        });
    }
    Ok(())
}

fn finish(
    next: &mut InferenceJobStatus,
    is_paid: bool,
    end: &Observation,
    landing: &Landing,
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
    next.receipts_root = Some(landing.root().to_string());
    next.metered = true;
    next.waiting_for = None;
    next.queue_position = None;
    next.requests.in_flight = 0;
    next.tokens_per_second = 0;
    if let Some(output) = &mut next.output {
        output.sha256 = Some(Sha256Digest::of(landing.render().results.as_bytes()).to_string());
    }
}

pub(super) fn phase(status: &InferenceJobStatus, valid: &ValidatedJob) -> JobPhase {
    let is = |type_| conditions::is_true(&status.conditions, type_);
    if is(Failed::TYPE) {
        JobPhase::Failed
    } else if is(Complete::TYPE) {
        if is(Settled::TYPE) {
            JobPhase::Settled
        } else {
            JobPhase::Complete
        }
    } else if plan::active(status).is_some() {
        JobPhase::Running
    } else if valid.suspend {
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
