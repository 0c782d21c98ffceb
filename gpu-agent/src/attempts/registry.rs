//! The attempts that this agent knows.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::attempt::{Attempt, AttemptId};

/// Attempts that are kept: the last 256, of which an operator reads each within seconds of its end.
const MAX_ATTEMPTS: usize = 256;
/// Bytes of results that are kept over all attempts: small beside a model, and a hundred jobs of 256 short answers.
const MAX_RESULT_BYTES: usize = 64 << 20;

/// Attempts in order of arrival.
#[derive(Default)]
pub struct Registry(Mutex<Known>);

#[derive(Default)]
struct Known {
    attempts: BTreeMap<AttemptId, (u64, Arc<Attempt>)>,
    arrivals: u64,
}

/// What became of a new attempt.
pub enum Admission {
    /// It is new, and must be run.
    New(Arc<Attempt>),
    /// The same was accepted before.
    Known(Arc<Attempt>),
    /// Another body was accepted under this name.
    Conflict,
    /// Too many attempts are running.
    Full,
}

impl Registry {
    /// Admits an attempt at most once. To make room, the oldest attempts that have ended are forgotten.
    pub fn admit(&self, attempt: Attempt) -> Admission {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, present)) = known.attempts.get(&attempt.id) {
            return if present.digest == attempt.digest {
                Admission::Known(Arc::clone(present))
            } else {
                Admission::Conflict
            };
        }
        known.make_room();
        if known.attempts.len() >= MAX_ATTEMPTS {
            return Admission::Full;
        }
        known.arrivals += 1;
        let (arrival, attempt) = (known.arrivals, Arc::new(attempt));
        known
            .attempts
            .insert(attempt.id.clone(), (arrival, Arc::clone(&attempt)));
        Admission::New(attempt)
    }

    /// An attempt by name.
    pub fn get(&self, id: &AttemptId) -> Option<Arc<Attempt>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.attempts.get(id).map(|(_, attempt)| Arc::clone(attempt))
    }

    /// All attempts, by name.
    pub fn all(&self) -> Vec<Arc<Attempt>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .attempts
            .values()
            .map(|(_, attempt)| Arc::clone(attempt))
            .collect()
    }
}

impl Known {
    fn make_room(&mut self) {
        let mut bytes: usize = self.attempts.values().map(|(_, attempt)| attempt.bytes()).sum();
        let mut ended: Vec<(u64, AttemptId)> = self
            .attempts
            .values()
            .filter(|(_, attempt)| attempt.has_ended())
            .map(|(arrival, attempt)| (*arrival, attempt.id.clone()))
            .collect();
        ended.sort();
        for (_, id) in ended {
            if self.attempts.len() < MAX_ATTEMPTS && bytes <= MAX_RESULT_BYTES {
                break;
            }
            if let Some((_, attempt)) = self.attempts.remove(&id) {
                bytes -= attempt.bytes();
            }
        }
    }
}
