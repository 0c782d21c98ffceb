//! Jobs that have no agent take turns in asking the API server: what ten thousand of them cost must not keep those waiting
//! that an agent works on.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use cocoon_api::crd::InferenceJob;
use kube::runtime::reflector::ObjectRef;

use crate::watch::Wakes;

/// Turns at once: a quarter of the jobs that are reconciled at once, so that three quarters are there for jobs with an agent.
const TURNS: usize = 4;

/// Who has a turn, and who is next.
#[derive(Default)]
pub(super) struct Turns(Mutex<State>);

#[derive(Default)]
struct State {
    taken: usize,
    next: VecDeque<ObjectRef<InferenceJob>>,
    /// Those in `next`: a job is in it once, so that it holds no more than there are jobs.
    asked: HashSet<ObjectRef<InferenceJob>>,
}

/// A turn; it is over when this is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    wakes: &'a Wakes<InferenceJob>,
}

impl Turns {
    /// A turn for the job. Where none is free, the job is woken as soon as one may be: it comes after those that asked before, and
    /// may find that another was faster.
    pub(super) fn take<'a>(&'a self, job: &InferenceJob, wakes: &'a Wakes<InferenceJob>) -> Option<Turn<'a>> {
        let job = ObjectRef::from_obj(job);
        let mut state = self.lock();
        if state.taken < TURNS {
            state.taken += 1;
            return Some(Turn { turns: self, wakes });
        }
        if state.asked.insert(job.clone()) {
            state.next.push_back(job);
        }
        None
    }

    /// Ends a turn; answers whom to wake: one for each turn that is free, because some of those who asked may be gone.
    fn end(&self) -> Vec<ObjectRef<InferenceJob>> {
        let mut state = self.lock();
        state.taken = state.taken.saturating_sub(1);
        let free = TURNS.saturating_sub(state.taken).min(state.next.len());
        let woken: Vec<_> = state.next.drain(..free).collect();
        for job in &woken {
            state.asked.remove(job);
        }
        woken
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn job(number: usize) -> InferenceJob {
        serde_json::from_value(json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob",
            "metadata": {"name": format!("j{number}"), "namespace": "n"},
            "spec": {"model": "m", "input": {"inline": [{}]}, "billing": {"mode": "Free"}},
        }))
        .unwrap()
    }

    #[test]
    fn who_finds_no_turn_free_is_woken_when_one_is_in_the_order_of_asking() {
        let (turns, wakes) = (Turns::default(), Arc::new(Wakes::default()));
        let mut woken = Box::pin(wakes.clone().stream());
        let mut next = || {
            woken
                .next()
                .now_or_never()
                .flatten()
                .map(|job: ObjectRef<InferenceJob>| job.name)
        };
        let mut taken: Vec<_> = (0..TURNS)
            .map(|number| turns.take(&job(number), &wakes).expect("it is free"))
            .collect();
        for number in [10, 11, 10, 12] {
            assert!(turns.take(&job(number), &wakes).is_none());
        }
        assert_eq!(next(), None);
        drop(taken.pop());
        assert_eq!((next().as_deref(), next()), (Some("j10"), None));
        // It is gone, and another turn ends: both that are free are told of.
        drop(taken.pop());
        let mut both = [next(), next()].map(Option::unwrap);
        both.sort();
        assert_eq!(both, ["j11", "j12"]);
        drop(taken);
        assert_eq!(next(), None);
        let state = turns.lock();
        assert!(state.taken == 0 && state.next.is_empty() && state.asked.is_empty());
    }
}
