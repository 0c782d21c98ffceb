//! Jobs that have no agent take turns in asking the API server: what ten thousand of them cost must not keep those
//! waiting that an agent works on. Nor must those of one namespace keep those of another waiting, so that namespaces
//! take turns as well.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    ops::Bound::{Excluded, Unbounded},
    sync::{Mutex, MutexGuard, PoisonError},
};

use cocoon_api::crd::InferenceJob;
use kube::runtime::reflector::ObjectRef;

use crate::watch::Wakes;

/// Turns at once: a quarter of the jobs that are reconciled at once, so that three quarters are there for jobs with an
/// agent.
const TURNS: usize = 4;

/// Who has a turn, and who is next.
#[derive(Default)]
pub(super) struct Turns(Mutex<State>);

#[derive(Default)]
struct State {
    taken: usize,
    /// By namespace, in the order of asking.
    next: BTreeMap<String, VecDeque<ObjectRef<InferenceJob>>>,
    /// Those in `next` that are still there; what is not in it is passed over when it comes to the front.
    asked: HashSet<ObjectRef<InferenceJob>>,
    /// The namespace whose job was woken last.
    last: String,
}

/// A turn; it is over when this is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    wakes: &'a Wakes<InferenceJob>,
}

impl Turns {
    /// A turn for the job. Where none is free, the job is woken as soon as one may be: it comes after those of its
    /// namespace that asked before, and may find that another was faster.
    pub(super) fn take<'a>(&'a self, job: &InferenceJob, wakes: &'a Wakes<InferenceJob>) -> Option<Turn<'a>> {
        let job = ObjectRef::from_obj(job);
        let mut state = self.lock();
        if state.taken < TURNS {
            state.taken += 1;
            return Some(Turn { turns: self, wakes });
        }
        if state.asked.insert(job.clone()) {
            let namespace = job.namespace.clone().unwrap_or_default();
            state.next.entry(namespace).or_default().push_back(job);
        }
        None
    }

    /// The job is gone.
    pub(super) fn forget(&self, job: &InferenceJob) {
        self.lock().asked.remove(&ObjectRef::from_obj(job));
    }

    /// Ends a turn; answers whom to wake: one for each turn that is free, because who is woken may need none
    /// any more.
    fn end(&self) -> Vec<ObjectRef<InferenceJob>> {
        let mut state = self.lock();
        state.taken = state.taken.saturating_sub(1);
        let free = TURNS.saturating_sub(state.taken);
        (0..free).map_while(|_| state.pop()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The first of the namespace that comes after the last one.
    fn pop(&mut self) -> Option<ObjectRef<InferenceJob>> {
        loop {
            let job = self.pop_any()?;
            if self.asked.remove(&job) {
                return Some(job);
            }
        }
    }

    /// Whether it is still there or not.
    fn pop_any(&mut self) -> Option<ObjectRef<InferenceJob>> {
        let mut later = self
            .next
            .range_mut::<str, _>((Excluded(self.last.as_str()), Unbounded));
        let (namespace, jobs) = match later.next() {
            Some(next) => next,
            None => self.next.iter_mut().next()?,
        };
        let namespace = namespace.clone();
        let job = jobs.pop_front();
        if jobs.is_empty() {
            self.next.remove(&namespace);
        }
        self.last = namespace;
        job
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.wakes.wake_all(self.turns.end());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::{FutureExt as _, StreamExt as _};
    use serde_json::json;

    use super::*;

    fn job(namespace: &str, number: usize) -> InferenceJob {
        serde_json::from_value(json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob",
            "metadata": {"name": format!("j{number}"), "namespace": namespace},
            "spec": {"model": "m", "input": {"inline": [{}]}, "billing": {"mode": "Free"}},
        }))
        .unwrap()
    }

    fn all_taken<'a>(turns: &'a Turns, wakes: &'a Wakes<InferenceJob>, namespace: &str) -> Vec<Turn<'a>> {
        let take = |number| turns.take(&job(namespace, number), wakes);
        (0..TURNS)
            .map(|number| take(number).expect("it is free"))
            .collect()
    }

    /// Whom the turns that end wake, in this order.
    fn woken(wakes: &Arc<Wakes<InferenceJob>>) -> Vec<String> {
        let mut stream = Box::pin(wakes.clone().stream());
        let names = std::iter::from_fn(|| stream.next().now_or_never().flatten());
        names.map(|job| job.name).collect()
    }

    #[test]
    fn who_finds_no_turn_free_is_woken_when_one_is_in_the_order_of_asking() {
        let (turns, wakes) = (Turns::default(), Arc::new(Wakes::default()));
        let mut taken = all_taken(&turns, &wakes, "n");
        for number in [10, 11, 10, 12, 13] {
            assert!(turns.take(&job("n", number), &wakes).is_none());
        }
        assert!(woken(&wakes).is_empty());
        drop(taken.pop());
        assert_eq!(woken(&wakes), ["j10"]);
        // Who was woken needs none any more, and another turn ends: two are told, and not who is gone.
        turns.forget(&job("n", 11));
        drop(taken.pop());
        let mut both = woken(&wakes);
        both.sort();
        assert_eq!(both, ["j12", "j13"]);
        drop(taken);
        assert!(woken(&wakes).is_empty());
        let state = turns.lock();
        assert!(state.taken == 0 && state.next.is_empty() && state.asked.is_empty());
    }

    #[test]
    fn a_namespace_with_many_jobs_keeps_no_other_waiting() {
        let (turns, wakes) = (Turns::default(), Arc::new(Wakes::default()));
        let mut taken = all_taken(&turns, &wakes, "crowd");
        for number in 10..100 {
            assert!(turns.take(&job("crowd", number), &wakes).is_none());
        }
        assert!(turns.take(&job("alone", 200), &wakes).is_none());
        let mut order = Vec::new();
        for _ in 0..TURNS {
            drop(taken.pop());
            order.extend(woken(&wakes));
            taken.push(turns.take(&job("crowd", 300), &wakes).expect("it is free"));
        }
        assert_eq!(order, ["j200", "j10", "j11", "j12"]);
    }
}
