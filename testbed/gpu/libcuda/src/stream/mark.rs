//! Places in a stream's order.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// One record of an event in a stream: done once the stream has come so far.
#[derive(Debug, Default)]
pub struct Mark {
    reached: Mutex<Option<Instant>>,
    changed: Condvar,
}

impl Mark {
    /// The stream has come here.
    pub fn reach(&self) {
        *self.lock() = Some(Instant::now());
        self.changed.notify_all();
    }

    /// When the stream came here, if it has.
    pub fn reached(&self) -> Option<Instant> {
        *self.lock()
    }

    /// Waits until it has.
    pub fn wait(&self) {
        let waiting = |reached: &mut Option<Instant>| reached.is_none();
        drop(
            self.changed
                .wait_while(self.lock(), waiting)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
