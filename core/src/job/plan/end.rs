//! Whether a job has ended, and how.

use cocoon_api::{
    agent::FailureCode,
    conditions::{Complete, Failed, Reason as _},
    crd::job::{AssignmentState, MAX_ASSIGNMENTS},
};

use super::{End, Following, World, deadline::has_run_for, funds::is_channel_gone, remaining};

pub(super) fn ended(world: &World<'_>) -> Option<End> {
    let World { job, landing, .. } = world;
    let total = job.input.total;
    let end = |condition| Some(End { condition });
    if remaining(job, landing).next().is_none() {
        let (succeeded, failed) = (landing.succeeded(), landing.failed());
        let first = landing
            .first_failure()
            .map(|(index, code)| format!("request {index}: {}", code.words()))
            .unwrap_or_default();
        if landing.has_failure(FailureCode::BudgetExceeded) {
            return end(Failed::BudgetExceeded.condition(format!(
                "billing.maxNano covered {succeeded} of {total} requests; the results of these are kept"
            )));
        }
        return end(match (succeeded, failed) {
            (0, _) => Failed::RequestsFailed.condition(format!("all {total} requests failed; {first}")),
            (_, 0) => {
                Complete::RequestsFinished.condition(format!("{succeeded} of {total} requests succeeded"))
            }
            _ => Complete::RequestsFinished.condition(format!(
                "{succeeded} of {total} requests succeeded, {failed} failed; {first}"
            )),
        });
    }
    if world.following == Following::Unstored {
        return end(Failed::ResultsRefused.condition(
            "the API server refuses the Secret of the results: see that it is not immutable and that its quota has room; \
             what was stored is kept",
        ));
    }
    if world.status.active().is_some() {
        return None;
    }
    if is_channel_gone(world) && !world.status.assignments.is_empty() {
        return end(Failed::ChannelGone.condition(
            "the PaymentChannel that held the budget is gone, and another of its name has another ledger: make a new job",
        ));
    }
    if past_deadline(world) {
        return end(
            Failed::DeadlineExceeded.condition("activeDeadlineSeconds passed before all requests had run")
        );
    }
    let spent = world.status.assignments.iter().filter(|assignment| {
        use AssignmentState::{Ended, Lost, Refused};
        matches!(assignment.state, Lost | Ended | Refused)
    });
    let attempts = u32::try_from(spent.count()).unwrap_or(u32::MAX);
    // Each step of payment takes an attempt that nobody has failed in.
    let steps = job
        .step
        .map_or(0, |step| (landing.succeeded() + landing.failed()) / step);
    // One more could not be recorded.
    if world.status.assignments.len() >= MAX_ASSIGNMENTS {
        return end(Failed::BackoffLimitExceeded.condition(format!(
            "{MAX_ASSIGNMENTS} attempts, those included that were stopped by spec.suspend or by evictions, ended before all requests had run"
        )));
    }
    (attempts > job.backoff_limit.saturating_add(steps)).then(|| End {
        condition: Failed::BackoffLimitExceeded
            .condition(format!("{attempts} attempts ended before all requests had run")),
    })
}

pub(super) fn past_deadline(world: &World<'_>) -> bool {
    has_run_for(world.status, world.job.deadline, world.now)
}
