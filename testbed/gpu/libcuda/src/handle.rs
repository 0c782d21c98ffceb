//! Handles that callers hold: numbers that are looked up, never addresses that are followed.
//!
//! A C caller may hand in anything where a handle belongs: null, a handle that was destroyed, one of another kind, a
//! pointer of its own. A lookup in a table finds what is live and refuses the rest.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use crate::error::{Code, Result};

/// Distance between handles. Handles look like aligned pointers to programs that tag them in low bits.
const STEP: u64 = 64;

/// The live objects of one kind.
pub struct Table<T> {
    next: AtomicU64,
    live: RwLock<HashMap<u64, Arc<T>>>,
    gone: Code,
}

impl<T> Table<T> {
    /// An empty table. `kind` (1 to 255) makes its handles different from those of other tables; `gone` is what the
    /// documentation names for a handle that is not live.
    pub fn new(kind: u64, gone: Code) -> Self {
        Self {
            next: AtomicU64::new((kind << 40) + STEP),
            live: RwLock::new(HashMap::new()),
            gone,
        }
    }

    /// A number for an object that is about to be made.
    pub fn reserve(&self) -> u64 {
        self.next.fetch_add(STEP, Ordering::Relaxed)
    }

    /// Makes the object reachable under its number.
    pub fn insert(&self, handle: u64, object: Arc<T>) {
        self.write().insert(handle, object);
    }

    /// Adds an object and gives its new handle.
    pub fn add(&self, object: T) -> u64 {
        let handle = self.reserve();
        self.insert(handle, Arc::new(object));
        handle
    }

    /// The live object of a handle.
    pub fn get(&self, handle: u64) -> Result<Arc<T>> {
        self.read().get(&handle).cloned().ok_or(self.gone)
    }

    /// Takes an object out; its handle is dead from here on.
    pub fn remove(&self, handle: u64) -> Result<Arc<T>> {
        self.write().remove(&handle).ok_or(self.gone)
    }

    /// Whether the table gave this handle out, live or dead.
    pub fn issued(&self, handle: u64) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        handle >> 40 == next >> 40
            && handle < next
            && handle.is_multiple_of(STEP)
            && handle & ((1 << 40) - 1) != 0
    }

    /// The handle of a live object that a condition holds for.
    pub fn find(&self, mut wanted: impl FnMut(&Arc<T>) -> bool) -> Option<u64> {
        self.read()
            .iter()
            .find(|(_, object)| wanted(object))
            .map(|(handle, _)| *handle)
    }

    /// The live objects that a condition holds for.
    pub fn all(&self, mut wanted: impl FnMut(&T) -> bool) -> Vec<Arc<T>> {
        self.read()
            .values()
            .filter(|object| wanted(object))
            .cloned()
            .collect()
    }

    /// Takes out every object that a condition holds for.
    pub fn remove_all(&self, mut unwanted: impl FnMut(&T) -> bool) -> Vec<Arc<T>> {
        self.write()
            .extract_if(|_, object| unwanted(object))
            .map(|(_, object)| object)
            .collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<u64, Arc<T>>> {
        self.live
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<u64, Arc<T>>> {
        self.live
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Table;
    use crate::error::Code;

    #[test]
    fn a_dead_handle_is_refused_and_known_as_issued() {
        let table = Table::new(7, Code::INVALID_HANDLE);
        let handle = table.add("stream");
        assert_eq!(*table.get(handle).expect("live"), "stream");
        table.remove(handle).expect("live");
        assert_eq!(table.get(handle), Err(Code::INVALID_HANDLE));
        assert!(table.issued(handle));
        assert!(!table.issued(handle + 1) && !table.issued(0) && !table.issued(handle + 64));
    }
}
