//! Which agent works on which job, and which jobs wait for one: in memory, because this process alone assigns.
//!
//! Whoever waits longest is next. Of the jobs that wait, no more are woken than places are free, so that what a
//! thousand waiting jobs cost does not grow with how often one of them ends.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cocoon_api::crd::{FullName, InferenceJob};
use k8s_openapi::jiff::Timestamp;
use kube::{ResourceExt as _, runtime::reflector::ObjectRef};
use tokio::time::Instant;

/// What jobs wait for: a provider's model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Wanted {
    pub(super) provider: FullName,
    pub(super) model: String,
}

/// A job's place: older ones come first. Of one second, the UID decides.
type Place = (Option<Timestamp>, String);

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// UIDs of the jobs that each agent works on, by the UID of its pod.
    busy: HashMap<String, BTreeSet<String>>,
    /// UID of the pod whose agent works on each job.
    agents: HashMap<String, String>,
    waiting: BTreeMap<Wanted, BTreeMap<Place, FullName>>,
    /// What each waiting job wants, by its UID.
    wanted: HashMap<String, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    wanted: Wanted,
    place: Place,
    since: Instant,
}

impl Queue {
    /// Jobs that an agent works on.
    pub(super) fn busy(&self, pod: &str) -> usize {
        self.lock().busy.get(pod).map_or(0, BTreeSet::len)
    }

    /// Takes a place on an agent, if fewer than `most` are taken; answers whether the job has one.
    pub(super) fn take(&self, job: &str, pod: &str, most: usize) -> bool {
        let mut state = self.lock();
        if state.agents.get(job).is_some_and(|agent| agent == pod) {
            return true;
        }
        if state.busy.get(pod).map_or(0, BTreeSet::len) >= most {
            return false;
        }
        state.place(job, pod);
        true
    }

    /// Notes that an agent works on the job, as its status says.
    pub(super) fn hold(&self, job: &str, pod: &str) {
        self.lock().place(job, pod);
    }

    /// The job has no agent any more.
    pub(super) fn release(&self, job: &str) {
        self.lock().release(job);
    }

    /// The job waits for an agent. Answers for how long it has, as far as this process saw.
    pub(super) fn wait(&self, job: &InferenceJob, wanted: Wanted) -> Duration {
        let (uid, place) = (job.uid().unwrap_or_default(), place(job));
        let mut state = self.lock();
        let since = state.leave(&uid).map_or_else(Instant::now, |left| left.since);
        state
            .waiting
            .entry(wanted.clone())
            .or_default()
            .insert(place.clone(), FullName::of(job));
        state.wanted.insert(uid, Waiting { wanted, place, since });
        since.elapsed()
    }

    /// The job does not wait for an agent. Answers what it waited for, if it did.
    pub(super) fn leave(&self, job: &str) -> Option<Wanted> {
        Some(self.lock().leave(job)?.wanted)
    }

    /// The job is gone. Answers what it waited for, if it did.
    pub(super) fn forget(&self, job: &str) -> Option<Wanted> {
        let mut state = self.lock();
        state.release(job);
        Some(state.leave(job)?.wanted)
    }

    /// Of all jobs, those that are not there any more are gone.
    pub(super) fn keep_only(&self, is_there: impl Fn(&str) -> bool) {
        let mut state = self.lock();
        let known = state.agents.keys().chain(state.wanted.keys());
        let gone: Vec<String> = known.filter(|job| !is_there(job)).cloned().collect();
        for job in gone {
            state.leave(&job);
            state.release(&job);
        }
    }

    /// Jobs that wait for the same and come before this one.
    pub(super) fn before(&self, job: &InferenceJob, wanted: &Wanted) -> usize {
        let place = place(job);
        let state = self.lock();
        let waiting = state.waiting.get(wanted);
        waiting.map_or(0, |waiting| waiting.range(..place).count())
    }

    /// The first jobs that wait, as many as places are free.
    pub(super) fn next(&self, wanted: &Wanted, free: usize) -> Vec<ObjectRef<InferenceJob>> {
        let state = self.lock();
        let waiting = state.waiting.get(wanted).into_iter().flat_map(BTreeMap::values);
        waiting
            .take(free)
            .map(|job| ObjectRef::new(&job.name).within(&job.namespace))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn place(&mut self, job: &str, pod: &str) {
        self.release(job);
        self.busy
            .entry(pod.to_owned())
            .or_default()
            .insert(job.to_owned());
        self.agents.insert(job.to_owned(), pod.to_owned());
    }

    fn release(&mut self, job: &str) {
        let Some(pod) = self.agents.remove(job) else {
            return;
        };
        if let Some(jobs) = self.busy.get_mut(&pod) {
            jobs.remove(job);
            if jobs.is_empty() {
                self.busy.remove(&pod);
            }
        }
    }

    /// Answers how it waited, where it did.
    fn leave(&mut self, job: &str) -> Option<Waiting> {
        let left = self.wanted.remove(job)?;
        if let Some(waiting) = self.waiting.get_mut(&left.wanted) {
            waiting.remove(&left.place);
            if waiting.is_empty() {
                self.waiting.remove(&left.wanted);
            }
        }
        Some(left)
    }
}

fn place(job: &InferenceJob) -> Place {
    let created = job.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (created, job.uid().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(second: u8) -> InferenceJob {
        serde_json::from_value(json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob",
            "metadata": {"name": format!("j{second}"), "namespace": "n", "uid": format!("u{second}"),
                         "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")},
            "spec": {"model": "m", "input": {"inline": [{}]}, "billing": {"mode": "Free"}},
        }))
        .unwrap()
    }

    fn wanted() -> Wanted {
        Wanted {
            provider: FullName::new("farm", "p"),
            model: "m".into(),
        }
    }

    fn names(queue: &Queue, free: usize) -> Vec<String> {
        let next = queue.next(&wanted(), free);
        next.into_iter()
            .map(|object| {
                assert_eq!(
                    object.namespace.as_deref(),
                    Some("n"),
                    "the job's, not the provider's"
                );
                object.name
            })
            .collect()
    }

    #[test]
    fn who_waits_longest_is_next_and_no_more_than_places_are_free() {
        let queue = Queue::default();
        for second in [3, 1, 2] {
            queue.wait(&job(second), wanted());
        }
        assert_eq!(names(&queue, 2), ["j1", "j2"]);
        assert_eq!(queue.before(&job(3), &wanted()), 2);
        assert_eq!(queue.before(&job(1), &wanted()), 0);
        queue.leave("u1");
        assert_eq!(names(&queue, 9), ["j2", "j3"]);
        assert_eq!(queue.before(&job(9), &wanted()), 2, "a newcomer comes last");
        queue.wait(&job(2), wanted());
        assert_eq!(names(&queue, 9), ["j2", "j3"], "waiting again changes nothing");
        queue.forget("u2");
        queue.forget("u3");
        assert!(queue.lock().waiting.is_empty() && queue.lock().wanted.is_empty());
    }

    #[test]
    fn an_agent_takes_no_more_jobs_than_it_has_places() {
        let queue = Queue::default();
        assert!(queue.take("a", "pod", 2) && queue.take("b", "pod", 2));
        assert!(!queue.take("c", "pod", 2));
        assert!(queue.take("a", "pod", 2), "it has its place already");
        queue.release("a");
        assert!(queue.take("c", "pod", 2));
        queue.hold("c", "other");
        assert_eq!((queue.busy("pod"), queue.busy("other")), (1, 1));
        queue.forget("b");
        queue.forget("c");
        assert!(queue.lock().busy.is_empty() && queue.lock().agents.is_empty());
    }
}
