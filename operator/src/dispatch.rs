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
    sync::{Arc, Mutex, PoisonError, Weak, atomic::AtomicU64},
};

use cocoon_api::crd::InferenceJob;
use cocoon_core::job::plan::Following;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use follower::{Shared, Signals};

use crate::watch::Wakes;

pub use client::{AgentClient, ClientError};
pub use follower::{Attempt, Known};
pub use lines::{LineError, Lines};
pub use metering::{JobKey, meter_and_release};
pub use results::{Results, Stored, Unreadable};

/// Attempts that one operator follows at once: its memory is meant for as many that are as large as they may be, see
/// `docs/decisions/0011-memory-of-the-operator.md`. Sixteen reconciles plan at once, so that there may be sixteen more.
pub const MAX_FOLLOWED: usize = 224;
/// Attempts that read or write pages of results at once, each one page: it is in memory several times meanwhile.
const MAX_SECRETS_AT_ONCE: usize = 8;

struct Followed {
    attempt: u32,
    known: watch::Receiver<Known>,
    signals: Signals,
}

/// The tasks of this process, one for each attempt that it follows.
pub struct Dispatcher {
    followed: Mutex<HashMap<String, Followed>>,
    wakes: Arc<Wakes<InferenceJob>>,
    stop: CancellationToken,
    began: Instant,
    secrets: Arc<Semaphore>,
    /// When each agent last computed anything, by the UID of its pod; an entry goes with the last attempt on it.
    agents: Mutex<HashMap<String, Weak<AtomicU64>>>,
}

impl Dispatcher {
    /// An idle dispatcher, which wakes jobs that have news.
    pub fn new(wakes: Arc<Wakes<InferenceJob>>, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            followed: Mutex::default(),
            wakes,
            stop,
            began: Instant::now(),
            secrets: Arc::new(Semaphore::new(MAX_SECRETS_AT_ONCE)),
            agents: Mutex::default(),
        })
    }

    /// What is known of an attempt of the job.
    pub fn known(&self, job_uid: &str, attempt: u32) -> Known {
        let followed = self.lock();
        let known = followed
            .get(job_uid)
            .filter(|followed| followed.attempt == attempt);
        known.map_or_else(Known::nothing, |followed| followed.known.borrow().clone())
    }

    /// Whether one more attempt may be followed.
    pub fn has_room(&self) -> bool {
        let followed = self.lock();
        let running = followed
            .values()
            .filter(|followed| followed.known.borrow().following == Following::Yes);
        running.count() < MAX_FOLLOWED
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
            landing: attempt.stored.as_ref().map(|stored| stored.landing.clone()),
        });
        let signals = Signals {
            cancel: CancellationToken::new(),
            vanished: CancellationToken::new(),
            stop: self.stop.child_token(),
        };
        let entry = Followed {
            attempt: attempt.number,
            known,
            signals: signals.clone(),
        };
        if let Some(previous) = followed.insert(attempt.job.uid.clone(), entry) {
            previous.signals.stop.cancel();
        }
        let shared = Shared {
            began: self.began,
            secrets: self.secrets.clone(),
            agent_progressed: self.agent(&attempt.pod_uid),
        };
        let wakes = self.wakes.clone();
        tokio::spawn(async move {
            let reference = attempt.job.reference();
            let notify = move || wakes.wake(reference.clone());
            attempt.follow(sender, shared, signals, notify).await;
        });
    }

    /// Asks the agent to stop the attempt; what it finished is still taken.
    pub fn cancel(&self, job_uid: &str, attempt: u32) {
        if let Some(followed) = self
            .lock()
            .get(job_uid)
            .filter(|followed| followed.attempt == attempt)
        {
            followed.signals.cancel.cancel();
        }
    }

    /// Lets go of whatever is followed for the job.
    pub fn forget(&self, job_uid: &str) {
        if let Some(followed) = self.lock().remove(job_uid) {
            followed.signals.stop.cancel();
        }
    }

    /// The job is gone: its attempt is stopped, and what it delivered is metered. The task ends by itself.
    pub fn vanished(&self, job_uid: &str) {
        if let Some(followed) = self.lock().remove(job_uid) {
            followed.signals.vanished.cancel();
        }
    }

    /// Of the jobs that are followed, those that are not there any more are gone.
    pub fn keep_only(&self, is_there: impl Fn(&str) -> bool) {
        let followed: Vec<String> = self.lock().keys().cloned().collect();
        for job_uid in followed.iter().filter(|job_uid| !is_there(job_uid)) {
            self.vanished(job_uid);
        }
    }

    fn agent(&self, pod_uid: &str) -> Arc<AtomicU64> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.retain(|_, agent| agent.strong_count() > 0);
        if let Some(agent) = agents.get(pod_uid).and_then(Weak::upgrade) {
            return agent;
        }
        let agent = Arc::new(AtomicU64::new(0));
        agents.insert(pod_uid.to_owned(), Arc::downgrade(&agent));
        agent
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
