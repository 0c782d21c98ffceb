//! Page-locked memory of the host: copies between it and a card go on while the host and the card's kernels do.
#![expect(
    unsafe_code,
    reason = "page-locked memory comes from the driver as a bare address"
)]

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaStream, result, sys};

use super::device::Device;
use crate::backend::error::DeviceError;

/// Page-locked memory of all contexts.
pub(super) struct Pinned {
    context: Arc<CudaContext>,
    start: *mut u8,
    bytes: usize,
    /// Streams whose copies may still use it when it is dropped.
    streams: Vec<Arc<CudaStream>>,
}

// SAFETY: the memory is this value's own, and the driver frees it from any thread.
unsafe impl Send for Pinned {}

impl Pinned {
    /// Memory of zeros, by the driver of a card, which is not freed before these streams have done their work.
    ///
    /// # Errors
    /// The driver has no such memory left.
    pub(super) fn new(
        device: &Device,
        bytes: usize,
        streams: Vec<Arc<CudaStream>>,
    ) -> Result<Self, DeviceError> {
        let failed = |error| device.failed("page-locked memory", error);
        let context = device.context();
        context.bind_to_thread().map_err(failed)?;
        // SAFETY: the driver gives memory of this size or an error.
        let start = unsafe { result::malloc_host(bytes.max(1), sys::CU_MEMHOSTALLOC_PORTABLE) }
            .map_err(failed)?
            .cast::<u8>();
        // SAFETY: these bytes were given just above, and nobody else knows of them.
        unsafe { start.write_bytes(0, bytes) };
        Ok(Self {
            context: Arc::clone(context),
            start,
            bytes,
            streams,
        })
    }

    /// The memory. What a copy to it that was not waited for will write is not there yet.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the memory is this value's own, of this size, and was written when it was made.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }

    /// The memory, for writing: the caller has waited for the copies from the part that it writes.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        for stream in &self.streams {
            // Copies of a card that is lost are over.
            let _ = stream.synchronize();
        }
        // A card that is lost has nothing to give back; there is nobody to tell.
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: the driver gave this memory, it is freed once, and all copies were waited for.
            let _ = unsafe { result::free_host(self.start.cast()) };
        }
    }
}
