//! Contexts: what a process holds on a card, and the error that makes it unusable.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use crate::device::Device;
use crate::driver::Driver;
use crate::error::{Code, Result};
use crate::stream::Stream;

thread_local! {
    /// The contexts that this thread pushed; the last one is current. 0 stands for none.
    static STACK: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Whether a context's card works and no kernel of it has failed. Streams, which outlive nothing, share it.
#[derive(Debug)]
pub struct Health {
    /// The card.
    pub device: Arc<Device>,
    sticky: AtomicI32,
}

impl Health {
    /// The error that every call returns from now on, if there is one.
    pub fn check(&self) -> Result<()> {
        if let Some(code) = Code::of(self.sticky.load(Ordering::Acquire)) {
            return Err(code);
        }
        self.device.check().inspect_err(|code| self.fail(*code))
    }

    /// Makes the context unusable; the first error stays.
    pub fn fail(&self, code: Code) {
        let _ = self
            .sticky
            .compare_exchange(0, code.number(), Ordering::AcqRel, Ordering::Acquire);
    }
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
        let health = Arc::new(Health {
            device,
            sticky: AtomicI32::new(0),
        });
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

    /// All streams of this context, its default ones included.
    pub fn streams(&self, driver: &Driver) -> Vec<Arc<Stream>> {
        let mut streams = driver.streams.all(|stream| stream.context == self.handle);
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

impl Driver {
    /// The context of a handle: destroyed ones and handles of something else are told apart.
    pub fn context(&self, handle: u64) -> Result<Arc<Context>> {
        self.contexts.get(handle).map_err(|invalid| {
            if self.contexts.issued(handle) {
                Code::CONTEXT_IS_DESTROYED
            } else {
                invalid
            }
        })
    }

    /// The calling thread's context, whatever its state.
    pub fn bound(&self) -> Result<Arc<Context>> {
        match top() {
            0 => Err(Code::INVALID_CONTEXT),
            handle => self.context(handle),
        }
    }

    /// The calling thread's context; its error, if it has become unusable.
    pub fn current(&self) -> Result<Arc<Context>> {
        let context = self.bound()?;
        context.health.check()?;
        Ok(context)
    }

    /// Makes a context on a card.
    pub fn create_context(&self, device: &Arc<Device>, primary: bool, flags: u32) -> Result<Arc<Context>> {
        device.check()?;
        let handle = self.contexts.reserve();
        let context = Arc::new(Context::new(handle, Arc::clone(device), primary, flags));
        self.contexts.insert(handle, Arc::clone(&context));
        Ok(context)
    }

    /// Destroys a context with everything in it, after its streams have done what they were given.
    pub fn destroy_context(&self, handle: u64) -> Result<()> {
        let context = self.context(handle)?;
        for stream in context.streams(self) {
            stream.drain();
        }
        self.contexts.remove(handle)?;
        self.streams.remove_all(|stream| stream.context == handle);
        self.events.remove_all(|event| event.context == handle);
        self.functions.remove_all(|function| function.context == handle);
        for module in self.modules.remove_all(|module| module.context == handle) {
            module.unload(self);
        }
        self.allocations.release_context(self, handle);
        if top() == handle {
            pop();
        }
        Ok(())
    }

    /// Retains a card's primary context, which the first retain makes.
    pub fn retain_primary(&self, device: &Arc<Device>) -> Result<u64> {
        let mut primary = device.primary();
        if primary.handle == 0 {
            primary.handle = self.create_context(device, true, primary.flags)?.handle;
        }
        primary.count += 1;
        Ok(primary.handle)
    }

    /// Releases it; the last release destroys it.
    pub fn release_primary(&self, device: &Device) -> Result<()> {
        let mut primary = device.primary();
        if primary.count == 0 {
            return Err(Code::INVALID_CONTEXT);
        }
        primary.count -= 1;
        if primary.count > 0 {
            return Ok(());
        }
        let handle = std::mem::take(&mut primary.handle);
        drop(primary);
        self.destroy_context(handle)
    }

    /// Destroys the primary context whoever retains it. The next retain makes a new one.
    pub fn reset_primary(&self, device: &Device) -> Result<()> {
        let handle = {
            let mut primary = device.primary();
            primary.count = 0;
            std::mem::take(&mut primary.handle)
        };
        if handle == 0 {
            Ok(())
        } else {
            self.destroy_context(handle)
        }
    }
}
