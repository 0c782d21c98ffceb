//! Page-locked memory through which weights stream to the cards, a slot at a time.
//!
//! One slot is filled while others are copied: the host holds a few slots, however large the file is, and every card takes
//! its copy of the same slot.
#![expect(
    unsafe_code,
    reason = "page-locked memory comes from the driver, and copies from it go on after their calls have returned"
)]

use std::ops::Range;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaEvent, result, sys};

use super::device::{Buffer, Device};
use super::error::device_error;
use crate::backend::error::DeviceError;

/// Slots: one that is filled, one that is copied, and one for the unevenness of both.
const SLOTS: usize = 3;
/// Bytes of a slot, unless a matrix has groups of rows that are larger: on the fastest link a copy of them takes
/// 0.1 ms, many times what its start takes.
pub(super) const SLOT_BYTES: usize = 4 << 20;

/// The slots, used in turn.
pub(super) struct Ring {
    slots: Vec<Slot>,
    next: usize,
}

struct Slot {
    memory: Pinned,
    /// Copies from it that may still be under way.
    copies: Vec<CudaEvent>,
}

/// Page-locked memory of all contexts.
struct Pinned {
    context: Arc<CudaContext>,
    start: *mut u8,
    bytes: usize,
}

// SAFETY: the memory is this value's own, and the driver frees it from any thread.
unsafe impl Send for Pinned {}

impl Pinned {
    fn new(device: &Device, bytes: usize) -> Result<Self, DeviceError> {
        let failed = |error| device_error("page-locked memory", error);
        let context = Arc::clone(device.context());
        context.bind_to_thread().map_err(failed)?;
        // SAFETY: the driver gives memory of this size or an error.
        let start = unsafe { result::malloc_host(bytes, sys::CU_MEMHOSTALLOC_PORTABLE) }
            .map_err(failed)?
            .cast::<u8>();
        // SAFETY: these bytes were given just above, and nobody else knows of them.
        unsafe { start.write_bytes(0, bytes) };
        Ok(Self {
            context,
            start,
            bytes,
        })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the memory is this value's own, of this size, and was written when it was made.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; copies to a card only read it, and its slot waits for them first.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // A card that is lost has nothing to give back; there is nobody to tell.
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: the driver gave this memory, it is freed once, and its slot has waited for all copies.
            let _ = unsafe { result::free_host(self.start.cast()) };
        }
    }
}

impl Slot {
    fn wait(&mut self) -> Result<(), DeviceError> {
        let mut outcome = Ok(());
        for copy in self.copies.drain(..) {
            let waited = copy.synchronize();
            outcome =
                outcome.and(waited.map_err(|error| device_error("a copy of weights to the card", error)));
        }
        outcome
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // A copy that failed is over, too.
        let _ = self.wait();
    }
}

impl Ring {
    /// Slots of `slot_bytes`.
    ///
    /// # Errors
    /// The driver has no page-locked memory left.
    pub(super) fn new(device: &Device, slot_bytes: usize) -> Result<Self, DeviceError> {
        let slot = |_| {
            Ok(Slot {
                memory: Pinned::new(device, slot_bytes)?,
                copies: Vec::new(),
            })
        };
        Ok(Self {
            slots: (0..SLOTS).map(slot).collect::<Result<_, _>>()?,
            next: 0,
        })
    }

    /// Bytes of each slot.
    pub(super) fn slot_bytes(&self) -> usize {
        self.slots[0].memory.bytes
    }

    /// The next slot, once every copy from it is done.
    ///
    /// # Errors
    /// A card failed.
    pub(super) fn slot(&mut self) -> Result<&mut [u8], DeviceError> {
        let slot = &mut self.slots[self.next];
        slot.wait()?;
        Ok(slot.memory.bytes_mut())
    }

    /// Starts copies of parts of this slot to the same offsets of a buffer on each card, and goes on to the next slot.
    ///
    /// # Errors
    /// A card failed.
    ///
    /// # Panics
    /// A part is not within the slot, or its copy not within a buffer.
    pub(super) fn send(
        &mut self,
        targets: &[(&Device, &Buffer)],
        parts: &[(Range<usize>, usize)],
    ) -> Result<(), DeviceError> {
        let slot = &mut self.slots[self.next];
        self.next = (self.next + 1) % SLOTS;
        let failed = |error| device_error("a copy of weights to the card", error);
        for (device, buffer) in targets {
            device.context().bind_to_thread().map_err(failed)?;
            let stream = device.stream();
            for (part, offset) in parts {
                let bytes = &slot.memory.bytes()[part.clone()];
                assert!(offset + bytes.len() <= buffer.bytes(), "a copy beyond its buffer");
                // SAFETY: the copy stays within the buffer, which lives on this stream; the slot's memory stays as it is
                // until the event behind the copy was waited for, which its next use and its end do.
                unsafe {
                    result::memcpy_htod_async(buffer.address() + *offset as u64, bytes, stream.cu_stream())
                }
                .map_err(failed)?;
            }
            let event = device.context().new_event(None).map_err(failed)?;
            event.record(stream).map_err(failed)?;
            slot.copies.push(event);
        }
        Ok(())
    }
}
