//! The error that makes a context unusable.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::device::Device;
use crate::error::{Code, Result};

/// Whether a context's card works and no kernel of it has failed. Streams, which outlive nothing, share it.
#[derive(Debug)]
pub struct Health {
    /// The card.
    pub device: Arc<Device>,
    sticky: AtomicI32,
}

impl Health {
    /// No kernel has failed.
    pub fn new(device: Arc<Device>) -> Self {
        Self {
            device,
            sticky: AtomicI32::new(0),
        }
    }

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
