//! What a claim commits to: the receipts behind everything that a ledger has metered.
//!
//! A counter names the head of its chain of receipts, and each receipt the one before, so that a counter stands for all
//! of its receipts. The tree's leaves are the counters; the first one stands for jobs and sessions that have left them.

use cocoon_api::{
    Bill, Subject,
    crd::{PaymentChannelStatus, channel::Counter},
    receipt::{Sha256Digest, merkle_root},
};
use sha2::{Digest as _, Sha256};

/// The tags keep the leaves of jobs and of sessions apart.
const JOB_COUNTER_TAG: &[u8] = b"cocoon.farm/counter/v1";
const SESSION_COUNTER_TAG: &[u8] = b"cocoon.farm/session-counter/v1";
const FINISHED_TAG: &[u8] = b"cocoon.farm/finished-jobs/v1";

/// Root of the Merkle tree over the finished jobs' digest and the counters, in the order of subject and agent.
pub fn receipts_root(status: &PaymentChannelStatus) -> Sha256Digest {
    merkle_root(std::iter::once(finished(status)).chain(status.counters.iter().map(leaf)))
}

/// Takes the counters of a bill that leaves the ledger into the digest of finished ones.
pub(super) fn fold(status: &mut PaymentChannelStatus, bill: &Bill) {
    let mut counters = status
        .counters
        .iter()
        .filter(|counter| bill.holds(&counter.subject))
        .peekable();
    if counters.peek().is_none() {
        return;
    }
    let root = merkle_root(counters.map(leaf));
    let before = finished(status);
    let digest = hash(&[FINISHED_TAG, &before.0, &root.0]);
    status.finished_root = Some(digest.to_string());
}

/// Zeros before the first job has left. What cannot be read is no digest of this ledger, and counts as its text.
fn finished(status: &PaymentChannelStatus) -> Sha256Digest {
    match &status.finished_root {
        None => Sha256Digest([0; 32]),
        Some(text) => text.parse().unwrap_or_else(|_| Sha256Digest::of(text.as_bytes())),
    }
}

fn leaf(counter: &Counter) -> Sha256Digest {
    let Counter {
        agent,
        subject,
        name: _,
        count,
        usage: _,
        nano,
        head,
    } = counter;
    let (count, nano) = (count.to_be_bytes(), nano.nano().to_be_bytes());
    let (agent, head) = (agent.as_bytes(), head.as_bytes());
    match subject {
        Subject::Job { uid, attempt } => {
            let attempt = attempt.to_be_bytes();
            hash(&[
                JOB_COUNTER_TAG,
                agent,
                uid.as_bytes(),
                &attempt,
                &count,
                &nano,
                head,
            ])
        }
        Subject::Session { id } => hash(&[SESSION_COUNTER_TAG, agent, id.as_bytes(), &count, &nano, head]),
    }
}

/// SHA-256 over the parts, each after its length in eight bytes, big-endian.
fn hash(parts: &[&[u8]]) -> Sha256Digest {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    Sha256Digest(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use cocoon_api::{NanoTon, Usage};

    use super::*;
    use crate::ledger;

    fn counter(job: &str, attempt: u32, head: &str) -> Counter {
        Counter {
            agent: "a".into(),
            subject: Subject::job(job, attempt),
            name: job.into(),
            count: 1,
            usage: Usage::default(),
            nano: NanoTon::from_nano(5).unwrap(),
            head: head.into(),
        }
    }

    fn metered(counters: &[Counter]) -> PaymentChannelStatus {
        let mut status = PaymentChannelStatus::default();
        for counter in counters {
            ledger::merge(&mut status, counter.clone()).unwrap();
        }
        status
    }

    #[test]
    fn a_claim_commits_to_every_receipt_and_to_no_order_in_which_they_came() {
        let (one, two) = (counter("j", 1, "aa"), counter("j", 2, "bb"));
        let root = |counters: &[Counter]| receipts_root(&metered(counters));
        assert_eq!(
            root(&[one.clone(), two.clone()]),
            root(&[two.clone(), one.clone()])
        );
        for other in [
            counter("j", 2, "cc"),
            counter("k", 2, "bb"),
            counter("j", 3, "bb"),
            Counter {
                subject: Subject::session("j"),
                ..two.clone()
            },
            Counter {
                count: 2,
                ..two.clone()
            },
        ] {
            assert_ne!(
                root(&[one.clone(), other.clone()]),
                root(&[one.clone(), two.clone()]),
                "{other:?}"
            );
        }
        assert_ne!(root(std::slice::from_ref(&one)), root(&[one.clone(), two]));
    }

    #[test]
    fn jobs_that_left_the_ledger_stay_behind_its_claims() {
        let mut status = metered(&[counter("j", 1, "aa"), counter("k", 1, "bb")]);
        let before = receipts_root(&status);
        ledger::fold(&mut status, &Bill::job("j")).unwrap();
        let folded = receipts_root(&status);
        assert_ne!(folded, before);
        assert_ne!(
            folded,
            receipts_root(&metered(&[counter("k", 1, "bb")])),
            "they are not forgotten"
        );
        ledger::fold(&mut status, &Bill::job("j")).unwrap();
        assert_eq!(receipts_root(&status), folded, "a job leaves once");
        ledger::fold(&mut status, &Bill::job("k")).unwrap();
        let mut other = metered(&[counter("j", 1, "aa"), counter("k", 1, "cc")]);
        ledger::fold(&mut other, &Bill::job("j")).unwrap();
        ledger::fold(&mut other, &Bill::job("k")).unwrap();
        assert_ne!(receipts_root(&status), receipts_root(&other));
    }
}
