//! Dispatch: hands attempts to agents, takes their results, and lands these with their receipts.
//!
//! One task follows each active attempt. It holds nothing that cannot be read again: after a restart the new
//! process attaches to the agent by the job's UID and the attempt, reads the results from the start, verifies
//! the chain of receipts and lands what is missing.

mod client;
mod follower;
mod lines;
mod metering;
mod results;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use cocoon_api::{agent::AttemptProgress, crd::InferenceJob};
use cocoon_core::job::plan::Following;
use futures::channel::mpsc;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use client::{AgentClient, ClientError};
pub use follower::Attempt;
pub use lines::{LineError, Lines};
pub use metering::{JobKey, meter_and_release};
pub use results::{ResultsSecret, Stored, Unreadable};

/// Jobs whose news wait to be reconciled at most; more are dropped, since every job is also reconciled from time
/// to time.
const NEWS_CAPACITY: usize = 4096;

/// What is known of an attempt that is followed.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Where it stands.
    pub following: Following,
    /// The agent's last word.
    pub progress: Option<AttemptProgress>,
}

struct Followed {
    attempt: u32,
    known: watch::Receiver<Known>,
    cancel: CancellationToken,
    stop: CancellationToken,
}

/// The tasks of this process, one for each attempt that it follows.
pub struct Dispatcher {
    followed: Mutex<HashMap<String, Followed>>,
    news: mpsc::Sender<ObjectRef<InferenceJob>>,
    stop: CancellationToken,
}

impl Dispatcher {
    /// An idle dispatcher, and the stream of jobs that have news.
    pub fn new(stop: CancellationToken) -> (Arc<Self>, mpsc::Receiver<ObjectRef<InferenceJob>>) {
        let (news, receiver) = mpsc::channel(NEWS_CAPACITY);
        (
            Arc::new(Self {
                followed: Mutex::default(),
                news,
                stop,
            }),
            receiver,
        )
    }

    /// What is known of an attempt of the job.
    pub fn known(&self, job_uid: &str, attempt: u32) -> Known {
        let followed = self.lock();
        let known = followed
            .get(job_uid)
            .filter(|followed| followed.attempt == attempt);
        known.map_or(
            Known {
                following: Following::No,
                progress: None,
            },
            |followed| followed.known.borrow().clone(),
        )
    }

    /// Follows the attempt, unless it is followed already. Another attempt of the same job is let go.
    pub fn follow(&self, attempt: Attempt) {
        let mut followed = self.lock();
        if followed
            .get(&attempt.job.uid)
            .is_some_and(|followed| followed.attempt == attempt.number)
        {
            return;
        }
        let (sender, known) = watch::channel(Known {
            following: Following::Yes,
            progress: None,
        });
        let (cancel, stop) = (CancellationToken::new(), self.stop.child_token());
        let entry = Followed {
            attempt: attempt.number,
            known,
            cancel: cancel.clone(),
            stop: stop.clone(),
        };
        if let Some(previous) = followed.insert(attempt.job.uid.clone(), entry) {
            previous.stop.cancel();
        }
        let mut news = self.news.clone();
        tokio::spawn(async move {
            let reference = attempt.job.reference();
            // A full queue is no loss: see `NEWS_CAPACITY`.
            let notify = move || drop(news.try_send(reference.clone()));
            attempt.follow(sender, cancel, stop, notify).await;
        });
    }

    /// Asks the agent to stop the attempt; what it finished is still taken.
    pub fn cancel(&self, job_uid: &str, attempt: u32) {
        if let Some(followed) = self
            .lock()
            .get(job_uid)
            .filter(|followed| followed.attempt == attempt)
        {
            followed.cancel.cancel();
        }
    }

    /// Lets go of whatever is followed for the job.
    pub fn forget(&self, job_uid: &str) {
        if let Some(followed) = self.lock().remove(job_uid) {
            followed.stop.cancel();
        }
    }

    /// Attempts that are followed.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is followed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
