//! Places in a stream's order.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// When a stream came to a place.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By the host's clock.
    pub host: Instant,
    /// By the card's, in picoseconds of work.
    pub card: u64,
}

/// One record of an event in a stream: done once the stream has come so far.
#[derive(Debug, Default)]
pub struct Mark {
    reached: Mutex<Option<Moment>>,
    changed: Condvar,
}

impl Mark {
    /// The stream has come here, at this time of its card.
    pub fn reach(&self, card: u64) {
        *self.lock() = Some(Moment {
            host: Instant::now(),
            card,
        });
        self.changed.notify_all();
    }

    /// When the stream came here, if it has.
    pub fn reached(&self) -> Option<Moment> {
        *self.lock()
    }

    /// Waits until it has.
    pub fn wait(&self) {
        let waiting = |reached: &mut Option<Moment>| reached.is_none();
        drop(
            self.changed
                .wait_while(self.lock(), waiting)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    fn lock(&self) -> MutexGuard<'_, Option<Moment>> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
