//! How long a job may run.

use std::time::Duration;

use cocoon_api::crd::job::InferenceJobStatus;

/// Whether a job that has begun has run for as long as it may.
pub(super) fn has_run_for(status: &InferenceJobStatus, deadline: Option<Duration>, now: i64) -> bool {
    let started = status.start_time.as_ref().map(|time| time.0.as_second());
    started.zip(deadline).is_some_and(|(started, deadline)| {
        u64::try_from(now - started).is_ok_and(|running| running >= deadline.as_secs())
    })
}
