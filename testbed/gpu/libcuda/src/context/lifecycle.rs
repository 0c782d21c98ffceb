//! Contexts from when they are made until they are destroyed, and the one that is current.

use std::sync::Arc;

use super::{Context, pop, top};
use crate::device::Device;
use crate::driver::Driver;
use crate::error::{Code, Result};

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
        for stream in context.streams(&self.streams) {
            stream.drain();
        }
        self.contexts.remove(handle)?;
        self.streams.remove_all(|stream| stream.context == handle);
        self.events.remove_all(|event| event.context == handle);
        self.functions.remove_all(|function| function.context == handle);
        for module in self.modules.remove_all(|module| module.context == handle) {
            module.unload(&self.functions, &self.allocations);
        }
        self.allocations.release_context(handle);
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
