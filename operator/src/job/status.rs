//! Writes what follows from a plan and from what was applied.

use cocoon_api::{
    conditions::{self, Complete, Failed, FundsReserved, Observation, Reason as _, Settled},
    crd::{
        InferenceJob, InferenceJobStatus, LocalReference,
        job::{AssignmentState, JobCost, JobPhase, Output, RequestCounts},
    },
    receipt::Sha256Digest,
};
use cocoon_core::job::{
    landing::Landing,
    plan::{self, Plan},
    validate::{Billing, Rejection, ValidatedJob},
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    ResourceExt as _,
    runtime::{controller::Action, events::EventType},
};

use super::{Jobs, Result, WAITING_INTERVAL, apply::Applied, observe::Seen};
use crate::{
    error::{Error, describe},
    events, status,
};

/// Whether the job is complete or failed.
pub(super) fn is_ended(job: &InferenceJob) -> bool {
    job.status.as_ref().is_some_and(|status| {
        conditions::is_true(&status.conditions, Complete::TYPE)
            || conditions::is_true(&status.conditions, Failed::TYPE)
    })
}

/// Says why the job is not accepted; a specification that cannot become right fails.
pub(super) async fn reject(job: &InferenceJob, rejection: &Rejection, jobs: &Jobs) -> Result<Action> {
    let now = jobs.ctx.now();
    let mut next = job.status.clone().unwrap_or_default();
    let generation = job.metadata.generation;
    next.observed_generation = generation;
    next.waiting_for = Some(rejection.accepted.message.clone());
    next.phase = Some(JobPhase::Pending);
    conditions::set(&mut next.conditions, rejection.accepted.clone(), generation, now);
    if rejection.is_final {
        let failed = Failed::InvalidInput.condition(rejection.accepted.message.clone());
        conditions::set(&mut next.conditions, failed.clone(), generation, now);
        next.phase = Some(JobPhase::Failed);
        next.completion_time = Some(Time(now));
        next.metered = true;
        announce(job, &failed, jobs).await;
    }
    status::apply(&jobs.api(job), job, job.status.as_ref(), &next).await?;
    Ok(Action::requeue(WAITING_INTERVAL))
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
    next.waiting_for.clone_from(&plan.waiting_for);
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
    if let Applied::Finished(end) = applied {
        finish(
            &mut next,
            valid,
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
    if let (true, Applied::Finished(end)) = (wrote, applied) {
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
        Applied::Finished(_) => {
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
        assignment.nano =
            cocoon_api::NanoTon::sum(receipts().map(|receipt| receipt.nano)).unwrap_or_default();
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
    next.usage = landing.usage()?;
    let spent = landing.nano()?;
    let reserved = match (
        &valid.billing,
        conditions::find(&next.conditions, FundsReserved::TYPE),
    ) {
        (Billing::Channel { budget, .. }, Some(condition))
            if condition.reason == FundsReserved::Reserved.name() =>
        {
            *budget
        }
        _ => cocoon_api::NanoTon::ZERO,
    };
    next.cost = JobCost {
        reserved_nano: reserved,
        spent_nano: spent,
        spent: spent.to_ton_string(),
    };
    if done > 0 {
        let name = valid.name.clone();
        next.output = Some(Output {
            secret_ref: LocalReference { name },
            sha256: None,
        });
    }
    Ok(())
}

fn finish(
    next: &mut InferenceJobStatus,
    valid: &ValidatedJob,
    end: &Observation,
    landing: &Landing,
    generation: Option<i64>,
    now: Timestamp,
) {
    conditions::set(&mut next.conditions, end.clone(), generation, now);
    let due = !matches!(valid.billing, Billing::Free) && next.cost.spent_nano > cocoon_api::NanoTon::ZERO;
    let settled = if due {
        Settled::Pending.condition("the cost is metered and waits for the provider's next settlement")
    } else {
        Settled::NothingDue.condition("the job cost nothing")
    };
    conditions::set(&mut next.conditions, settled, generation, now);
    if let Billing::Channel { .. } = valid.billing {
        let released =
            FundsReserved::Released.condition("the job has ended; what it did not use is free again");
        conditions::set(&mut next.conditions, released, generation, now);
    }
    next.cost.reserved_nano = cocoon_api::NanoTon::ZERO;
    next.completion_time = Some(Time(now));
    next.receipts_root = Some(landing.root().to_string());
    next.metered = true;
    next.waiting_for = None;
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
