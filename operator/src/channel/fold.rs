//! Folds what settled and deleted jobs used into the total of finished ones, so that a ledger holds no more than the
//! jobs that are not paid yet. Where it fills all the same, because what they cost together is not worth a settlement's
//! fee, jobs that have ended are folded before they are paid: how much must be redeemed for that is in their own
//! status.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::{Duration, Instant},
};

use cocoon_api::{
    conditions::{self, Reason as _, Settled},
    crd::{InferenceJob, PaymentChannel, PaymentChannelStatus},
};
use cocoon_core::ledger;
use futures::{StreamExt as _, stream};
use kube::{Api, ResourceExt as _};

use crate::error::{KubeContext as _, Result, describe};

/// Jobs of one ledger are looked at this often: folding makes room and nothing waits for it, unless the ledger is full.
const INTERVAL: Duration = Duration::from_secs(10);

/// Jobs looked at in one pass: a full ledger of 1,000 takes ten passes, less than two minutes.
const JOBS_PER_PASS: usize = 100;

/// Jobs read at once.
const CONCURRENCY: usize = 8;

/// Where the last pass over each ledger ended, by namespace and name of the channel.
#[derive(Debug, Default)]
pub(super) struct Passes(Mutex<BTreeMap<String, Pass>>);

#[derive(Debug, Clone)]
struct Pass {
    at: Instant,
    /// UID of the last job that was looked at.
    after: String,
}

impl Passes {
    /// UIDs of the jobs to fold: those whose turn it is and that will use no more; none where the last pass was a
    /// moment ago.
    pub(super) async fn done(&self, channel: PaymentChannel, jobs: Api<InferenceJob>) -> Result<Vec<String>> {
        let key = describe(&channel);
        let status = channel.status.unwrap_or_default();
        let Some(turn) = self.turn(&key, &status) else {
            return Ok(Vec::new());
        };
        let fold = if ledger::is_filling(&status) {
            is_metered
        } else {
            is_settled
        };
        let after = turn.last().map(|(uid, _)| uid.clone()).unwrap_or_default();
        let done = done(turn, &jobs, fold).await?;
        self.0
            .lock()
            .expect("no thread panicked while it held the passes")
            .insert(
                key,
                Pass {
                    at: Instant::now(),
                    after,
                },
            );
        Ok(done)
    }

    /// Forgets a channel that is gone.
    pub(super) fn forget(&self, channel: &PaymentChannel) {
        self.0
            .lock()
            .expect("no thread panicked while it held the passes")
            .remove(&describe(channel));
    }

    /// UID and name of the jobs to look at, in the order of their UIDs and going around.
    fn turn(&self, key: &str, status: &PaymentChannelStatus) -> Option<Vec<(String, String)>> {
        let last = self
            .0
            .lock()
            .expect("no thread panicked while it held the passes")
            .get(key)
            .cloned();
        if last.as_ref().is_some_and(|last| last.at.elapsed() < INTERVAL) {
            return None;
        }
        let jobs = named_jobs(status);
        let after = last.map(|last| last.after).unwrap_or_default();
        let (before, rest): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|(uid, _)| *uid <= after);
        Some(rest.into_iter().chain(before).take(JOBS_PER_PASS).collect())
    }
}

/// UID and name of every job in the ledger. Sessions are no objects that could be looked at, whatever their names.
fn named_jobs(status: &PaymentChannelStatus) -> BTreeSet<(String, String)> {
    let counters = status.counters.iter();
    let counted = counters.map(|counter| (counter.subject.bill(), &counter.name));
    let reservations = status.reservations.iter();
    let reserved = reservations.map(|held| (held.bill.clone(), &held.name));
    counted
        .chain(reserved)
        .filter_map(|(bill, name)| Some((bill.job_uid()?.to_owned(), name.clone())))
        .collect()
}

/// UIDs of those jobs that are gone or that `fold` holds for.
///
/// The caller has read the channel before. That order makes folding safe beside an operator that was paused and goes on
/// with what it read long ago: a job that is metered or gone *after* the channel was read adds no usage to it any more,
/// and if usage was added between the two reads, the channel has another version, so that the write with the folded
/// ledger is refused. A job from a cache could be older than the channel, and its last usage would be folded away
/// before it came.
async fn done(
    turn: Vec<(String, String)>,
    jobs: &Api<InferenceJob>,
    fold: fn(&InferenceJob) -> bool,
) -> Result<Vec<String>> {
    let found = stream::iter(turn).map(|(uid, name)| async move {
        let job = jobs.get_opt(&name).await.attempt("read InferenceJob", &name)?;
        Ok((
            uid.clone(),
            job.is_none_or(|job| job.uid().as_ref() != Some(&uid) || fold(&job)),
        ))
    });
    let found: Vec<Result<(String, bool)>> = found.buffered(CONCURRENCY).collect().await;
    let found: Vec<(String, bool)> = found.into_iter().collect::<Result<_>>()?;
    Ok(found
        .into_iter()
        .filter(|(_, done)| *done)
        .map(|(uid, _)| uid)
        .collect())
}

fn is_settled(job: &InferenceJob) -> bool {
    job.status
        .as_ref()
        .is_some_and(|status| conditions::is_true(&status.conditions, Settled::TYPE))
}

/// All that the job used is in the ledger, and its status says what must be redeemed until it is paid.
fn is_metered(job: &InferenceJob) -> bool {
    job.status
        .as_ref()
        .is_some_and(|status| status.metered && status.cost.settles_at_nano.is_some())
        || is_settled(job)
}

#[cfg(test)]
mod tests {
    use cocoon_api::NanoTon;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_ended_job_is_folded_early_only_where_it_knows_when_it_is_paid() {
        let mut job: InferenceJob = serde_json::from_value(json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": "j"},
            "spec": {"model": "m", "input": {"inline": [{}]}, "billing": {"mode": "Free"}},
        }))
        .unwrap();
        assert!(!is_metered(&job));
        let status = job.status.get_or_insert_default();
        status.metered = true;
        assert!(!is_metered(&job));
        let status = job.status.get_or_insert_default();
        status.cost.settles_at_nano = Some(NanoTon::ZERO);
        assert!(is_metered(&job) && !is_settled(&job));
    }
}
