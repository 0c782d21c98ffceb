//! What becomes of a job that has worked and whose results can be read no more: a page is gone, or is not as it was
//! written.
//!
//! Nothing can be delivered then, nor told what was. So its agent is not held, and the job ends in a bounded time. What
//! was metered stays metered, once: of the pages that are left nothing is counted anew, since a part of a chain of
//! receipts may cost less than what the ledger counted of it.

use cocoon_api::{
    conditions::{self, Accepted, Failed, Reason as _},
    crd::{
        InferenceJob,
        job::{Assignment, InferenceJobStatus},
    },
};

use super::{deadline::has_run_for, step::End};
use crate::job::validate::{accepted_input, validate};

/// Seconds for which a job whose results cannot be read waits for them: enough to put a page back that was deleted by
/// mistake, from a backup. An outage of the API server is none of these: it says nothing of a page.
pub const LOST_RESULTS_SECONDS: i64 = 600;

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Lost {
    /// It has not worked, or may still get its results back.
    Wait,
    /// Its agent computes what nobody can take: it is stopped. What it had not delivered may run again.
    Stop(Assignment),
    /// It ends. What was metered is owed.
    End(End),
}

/// Decides for a job whose results are not what they were. `now` is in Unix seconds.
pub fn lost(job: &InferenceJob, status: &InferenceJobStatus, now: i64) -> Lost {
    if let Some(active) = status.active() {
        return Lost::Stop(active.clone());
    }
    if status.assignments.is_empty() {
        return Lost::Wait;
    }
    let since = conditions::find(&status.conditions, Accepted::TYPE)
        .filter(|accepted| accepted.status == "False")
        .map(|accepted| accepted.last_transition_time.0.as_second());
    let has_waited = since.is_some_and(|since| now.saturating_sub(since) >= LOST_RESULTS_SECONDS);
    if has_waited || is_past_deadline(job, status, now) {
        return Lost::End(End {
            condition: Failed::ResultsLost.condition(
                "its results are not as the operator wrote them, which the condition Accepted says of which Secret: nothing more \
                 can be delivered; what is left is kept, and what was metered is owed",
            ),
        });
    }
    Lost::Wait
}

fn is_past_deadline(job: &InferenceJob, status: &InferenceJobStatus, now: i64) -> bool {
    let deadline = accepted_input(status)
        .and_then(|input| validate(job, &Ok(input)).ok())
        .and_then(|valid| valid.deadline);
    has_run_for(status, deadline, now)
}
