//! What landed of a job becomes counters of its channel.

use cocoon_api::{
    Bill, NanoTon,
    conditions::{self, Reason as _, Settled},
    crd::{InferenceJob, PaymentChannel, PaymentChannelStatus},
    names::is_object_name,
};
use cocoon_core::{funds, job::landing::Landing, ledger as channel_ledger};
use kube::{Api, Client, ResourceExt as _, runtime::reflector::ObjectRef};

use crate::{
    error::{Error, KubeContext as _, Result, describe},
    ledger,
};

/// The job whose attempt is followed.
#[derive(Debug, Clone)]
pub struct JobKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

impl JobKey {
    /// Of a stored job.
    pub fn of(job: &InferenceJob) -> Result<Self> {
        Ok(Self {
            namespace: job.namespace().unwrap_or_default(),
            name: job.name_any(),
            uid: job.uid().ok_or_else(|| Error::Incomplete {
                object: describe(job),
                field: "metadata.uid",
            })?,
        })
    }

    /// What its work is billed with.
    fn bill(&self) -> Bill {
        Bill::job(&self.uid)
    }

    /// For the controller's queue.
    pub fn reference(&self) -> ObjectRef<InferenceJob> {
        ObjectRef::new(&self.name).within(&self.namespace)
    }
}

/// Merges what landed of a job into its channel's counters. A job whose status says that all of it was merged, or that
/// is gone and of which the ledger holds nothing any more, has left the ledger: its usage is in `finishedNano`, and
/// merging it again would count it twice.
pub async fn meter(client: &Client, job: &JobKey, channel: &str, landing: &Landing) -> Result<()> {
    merge(client, job, channel, landing, |_| false).await.map(drop)
}

/// Like [`meter`], and in the same write gives back what is left of the job's budget. Answers what was metered on the
/// channel in all by then; none where the channel is gone.
pub async fn meter_and_release(
    client: &Client,
    job: &JobKey,
    channel: &str,
    landing: &Landing,
) -> Result<Option<NanoTon>> {
    let release = |status: &mut PaymentChannelStatus| {
        channel_ledger::release(status, &job.bill());
        true
    };
    let written = merge(client, job, channel, landing, release).await?;
    let bound = metering(client, job).await?;
    Ok(written
        .filter(|channel| bound.is_on(channel))
        .and_then(|channel| channel.status)
        .map(|status| status.accrued_nano))
}

/// Merges, and lets `also` change the status with it; it answers whether it may have.
///
/// The job is read after the channel: if it left the ledger before the channel was read, this reading shows it;
/// if it leaves afterwards, the write is refused.
async fn merge(
    client: &Client,
    job: &JobKey,
    channel: &str,
    landing: &Landing,
    also: impl Fn(&mut PaymentChannelStatus) -> bool,
) -> Result<Option<PaymentChannel>> {
    let channels: Api<PaymentChannel> = Api::namespaced(client.clone(), &job.namespace);
    let object = || format!("job {}/{}", job.namespace, job.name);
    let counters = landing.counters(&job.name).map_err(|source| Error::Money {
        object: object(),
        source,
    })?;
    let change = |channel: &PaymentChannel, status: &mut PaymentChannelStatus, metering: Metering| {
        // Another object of the name has another ledger: nothing of this job is entered there, nor waited for.
        if !metering.is_on(channel) {
            return Ok(false);
        }
        let is_metering = metering.standing.adds_usage(status, &job.bill());
        if is_metering && funds::is_behind(status) {
            return Err(Error::LedgerBehind {
                object: describe(channel),
            });
        }
        let mut changed = false;
        for counter in counters.iter().filter(|_| is_metering) {
            changed |= channel_ledger::merge(status, counter.clone()).map_err(|full| Error::Ledger {
                object: object(),
                source: full,
            })?;
        }
        changed |= also(status);
        Ok(changed)
    };
    if !is_object_name(channel) {
        return Ok(None);
    }
    ledger::update_with(&channels, channel, |_| metering(client, job), change).await
}

/// What a job may still enter into a ledger, and into which.
struct Metering {
    standing: Standing,
    /// UID of the channel's object that holds its budget; none where it was never noted, or the job is gone.
    channel_uid: Option<String>,
}

impl Metering {
    fn is_on(&self, channel: &PaymentChannel) -> bool {
        self.channel_uid.is_none() || self.channel_uid == channel.metadata.uid
    }
}

/// What the job may still enter, as it is stored now.
async fn metering(client: &Client, job: &JobKey) -> Result<Metering> {
    let jobs: Api<InferenceJob> = Api::namespaced(client.clone(), &job.namespace);
    let current = jobs.get_opt(&job.name).await.attempt("read job", &job.name)?;
    let standing = Standing::of(current.as_ref(), &job.uid);
    let bound = current.filter(|_| standing != Standing::Gone);
    Ok(Metering {
        standing,
        channel_uid: bound.and_then(|current| current.status?.channel_uid),
    })
}

/// Where the job stands toward its channel's ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is there, and not all of its usage is in the ledger.
    Counting,
    /// All of its usage is in the ledger.
    Metered,
    /// It is gone; another of its name may be there.
    Gone,
}

impl Standing {
    fn of(current: Option<&InferenceJob>, uid: &str) -> Self {
        let Some(current) = current.filter(|current| current.metadata.uid.as_deref() == Some(uid)) else {
            return Self::Gone;
        };
        let is_over = current
            .status
            .as_ref()
            .is_some_and(|status| status.metered || conditions::is_true(&status.conditions, Settled::TYPE));
        if is_over { Self::Metered } else { Self::Counting }
    }

    /// Whether usage may be added to this ledger. A job that is gone is folded sooner or later, with everything that
    /// the ledger holds of it; as long as it holds anything, it was not.
    fn adds_usage(self, status: &PaymentChannelStatus, bill: &Bill) -> bool {
        match self {
            Self::Counting => true,
            Self::Metered => false,
            Self::Gone => channel_ledger::holds(status, bill),
        }
    }
}

#[cfg(test)]
mod tests {
    use cocoon_api::crd::channel::Reservation;
    use serde_json::json;

    use super::*;

    fn job(status: &serde_json::Value) -> InferenceJob {
        serde_json::from_value(json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": "j", "uid": "u"},
            "spec": {"model": "m", "input": {"inline": [{}]}, "billing": {"mode": "Free"}}, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_job_adds_usage_until_its_status_says_that_all_of_it_is_metered() {
        let standing = |status| Standing::of(Some(&job(&status)), "u");
        assert_eq!(standing(json!({})), Standing::Counting);
        assert_eq!(standing(json!({"metered": true})), Standing::Metered);
        let settled = json!({"conditions": [{"type": "Settled", "status": "True", "reason": "Paid", "message": "",
                                             "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        assert_eq!(standing(settled), Standing::Metered);
    }

    #[test]
    fn what_a_job_delivered_before_it_vanished_is_metered_until_it_is_folded() {
        assert_eq!(Standing::of(None, "u"), Standing::Gone);
        assert_eq!(
            Standing::of(Some(&job(&json!({}))), "another job of that name"),
            Standing::Gone
        );
        let (mut status, bill) = (PaymentChannelStatus::default(), Bill::job("u"));
        assert!(
            !Standing::Gone.adds_usage(&status, &bill),
            "nothing of it is there: it was folded"
        );
        status.reservations.push(Reservation {
            bill: bill.clone(),
            name: "j".into(),
            nano: NanoTon::ZERO,
        });
        assert!(Standing::Gone.adds_usage(&status, &bill));
        channel_ledger::fold(&mut status, &bill).unwrap();
        assert!(!Standing::Gone.adds_usage(&status, &bill));
        assert!(
            !Standing::Metered.adds_usage(&status, &bill) && Standing::Counting.adds_usage(&status, &bill)
        );
    }
}
