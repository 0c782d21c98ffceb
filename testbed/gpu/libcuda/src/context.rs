//! Contexts: what a process holds on a card.

pub mod health;
mod lifecycle;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, AtomicU32};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use crate::device::Device;
use crate::handle::Table;
use crate::stream::Stream;
use health::Health;

thread_local! {
    /// The contexts that this thread pushed; the last one is current. 0 stands for none.
    static STACK: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// A context.
#[derive(Debug)]
pub struct Context {
    /// Its own handle.
    pub handle: u64,
    /// Whether it still works.
    pub health: Arc<Health>,
    /// Whether it is its card's primary context.
    pub primary: bool,
    /// What was asked for when it was made.
    pub flags: AtomicU32,
    /// What `cuCtxSetCacheConfig` was told, which has no effect.
    pub cache: AtomicI32,
    /// Bytes or counts by the number of the limit.
    pub limits: Mutex<[usize; LIMITS]>,
    /// Contexts whose memory kernels of this one may use.
    pub peers: Mutex<Vec<u64>>,
    legacy: Arc<Stream>,
    per_thread: Mutex<HashMap<ThreadId, Arc<Stream>>>,
}

/// Number of limits that can be read: `CU_LIMIT_STACK_SIZE` to `CU_LIMIT_PERSISTING_L2_CACHE_SIZE`.
pub const LIMITS: usize = 7;

impl Context {
    /// A context on a card.
    pub fn new(handle: u64, device: Arc<Device>, primary: bool, flags: u32) -> Self {
        let health = Arc::new(Health::new(device));
        Self {
            handle,
            primary,
            flags: AtomicU32::new(flags),
            cache: AtomicI32::new(0),
            // A driver's defaults: stack, print buffer, device heap, depth, pending launches, fetch granularity, L2.
            limits: Mutex::new([1_024, 1 << 20, 8 << 20, 2, 2_048, 64, 0]),
            peers: Mutex::default(),
            legacy: Arc::new(Stream::new(0, handle, Arc::clone(&health), false, 0)),
            per_thread: Mutex::default(),
            health,
        }
    }

    /// The card.
    pub fn device(&self) -> &Arc<Device> {
        &self.health.device
    }

    /// The stream of handle 0.
    pub fn legacy(&self) -> &Arc<Stream> {
        &self.legacy
    }

    /// The calling thread's stream of handle 2.
    pub fn per_thread(&self) -> Arc<Stream> {
        let mut streams = self.per_thread.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = streams.entry(std::thread::current().id());
        let made = || Arc::new(Stream::new(2, self.handle, Arc::clone(&self.health), false, 0));
        Arc::clone(stream.or_insert_with(made))
    }

    /// All streams of this context: its own among those that programs made, and its default ones.
    pub fn streams(&self, made: &Table<Stream>) -> Vec<Arc<Stream>> {
        let mut streams = made.all(|stream| stream.context == self.handle);
        streams.extend(
            self.per_thread
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .values()
                .cloned(),
        );
        streams.push(Arc::clone(&self.legacy));
        streams
    }

    /// Contexts whose memory this one may use.
    pub fn peers(&self) -> MutexGuard<'_, Vec<u64>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle on top of the calling thread's stack, 0 if there is none.
pub fn top() -> u64 {
    STACK.with_borrow(|stack| stack.last().copied().unwrap_or(0))
}

/// Puts a context on top of the stack.
pub fn push(handle: u64) {
    STACK.with_borrow_mut(|stack| stack.push(handle));
}

/// Takes the top of the stack away.
pub fn pop() -> Option<u64> {
    STACK.with_borrow_mut(Vec::pop)
}

/// Replaces the top of the stack; 0 takes it away.
pub fn set(handle: u64) {
    STACK.with_borrow_mut(|stack| {
        stack.pop();
        if handle != 0 {
            stack.push(handle);
        }
    });
}
