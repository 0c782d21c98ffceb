//! Runs every reconcile of every controller: within a limit, timed, and tried again where it fails.
//!
//! A reconcile that runs out of time is dropped where it waits. That is as if the process had been killed at that
//! moment, for which every controller is made anyway:
//! - a write that was under way took effect or did not, and the next reconcile reads which. Statuses are applied whole;
//!   ledgers and results are replaced only in the version that was read, and reserving, releasing, merging and
//!   crediting again change nothing;
//! - a settlement's bytes are stored before they are first sent, under a name made of the wallet's number. Dropped
//!   before that, nothing was signed as far as anybody knows; after it, whoever reconciles next sends the same bytes;
//! - what is kept in memory is only a hint (when bytes were last sent, which wallet is in use, what was applied), is
//!   given back when its holder is dropped or grows old, and its locks are never held across a wait: the compiler
//!   refuses that, because reconciles move between threads;
//! - an Event or a log line may be lost.

use std::time::Duration;

use kube::{Resource, runtime::controller::Action};
use tokio::time::timeout;
use tracing::warn;

use crate::{
    error::{self, Error, Result},
    metrics::Metrics,
};

/// For what asks the Kubernetes API and agents alone. The API server gives up on a call after 60 s (its
/// `--request-timeout`); one call that takes all of it, a deleted job's 8 s of draining, an agent's 5 s and the other
/// calls, which take milliseconds, are over by then.
pub const KUBERNETES_LIMIT: Duration = Duration::from_secs(90);

/// For what also asks the chain. The longest legitimate look is at a message with a hundred claims through a public
/// endpoint that grants one request a second: 2 for the newest block, 2 for the wallet, 65 for the wallet's history and
/// 200 for the channels, 269 s; one more request that fails three times after 12 s each, with its pauses, 39 s; and
/// [`KUBERNETES_LIMIT`]. Together 398 s, rounded up to whole minutes.
pub const CHAIN_LIMIT: Duration = Duration::from_mins(7);

/// After a failed reconcile: the API server, an agent or an endpoint needs a moment, and a person may wait.
const RETRY_INTERVAL: Duration = Duration::from_secs(3);

/// How one controller's reconciles are run.
#[derive(Debug, Clone, Copy)]
pub struct Reconciles {
    /// The kind whose controller it is, as metrics and logs name it.
    pub kind: &'static str,
    /// A reconcile takes no longer.
    pub limit: Duration,
}

impl Reconciles {
    /// Runs one reconcile and times it. Past the limit it is dropped and counts as failed.
    pub async fn run(
        self,
        metrics: &Metrics,
        reconcile: impl Future<Output = Result<Action>>,
    ) -> Result<Action> {
        let timer = metrics
            .reconcile_seconds
            .with_label_values(&[self.kind])
            .start_timer();
        let action = within(self.limit, "reconcile", reconcile).await;
        timer.observe_duration();
        action
    }

    /// Counts and logs a failed reconcile, the one place that does, and has it tried again.
    pub fn failed<K>(self, metrics: &Metrics, object: &K, error: &Error) -> Action
    where
        K: Resource<DynamicType = ()>,
    {
        metrics.reconcile_failures.with_label_values(&[self.kind]).inc();
        warn!(
            controller = self.kind,
            object = error::describe(object),
            error = error::chain(error),
            "reconcile failed; it is tried again"
        );
        Action::requeue(RETRY_INTERVAL)
    }
}

/// Waits for `work` no longer than `limit`; past it, `work` is dropped where it waits.
pub async fn within<T>(
    limit: Duration,
    action: &'static str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    timeout(limit, work)
        .await
        .unwrap_or(Err(Error::TimedOut { action, limit }))
}

#[cfg(test)]
mod tests;
