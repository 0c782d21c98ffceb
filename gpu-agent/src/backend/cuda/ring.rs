//! Page-locked memory through which weights stream to the cards, a piece at a time.
//!
//! One piece is filled while others are copied: the host holds a few pieces, however large the file is, and every card takes
//! its copy of the same piece.
#![expect(
    unsafe_code,
    reason = "page-locked memory comes from the driver, and copies from it go on after their calls have returned"
)]

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use cudarc::driver::{CudaContext, CudaEvent, result, sys};

use super::device::{Buffer, Device};
use super::error::device_error;
use crate::backend::error::DeviceError;

/// Pieces: one that is filled, one that is copied, and one for the unevenness of both.
const PIECES: usize = 3;
/// Bytes of a piece, unless a matrix has groups of rows that are larger: on the fastest link a copy of them takes
/// 0.1 ms, many times what its start takes.
pub(super) const PIECE_BYTES: usize = 4 << 20;

/// Copies of a piece that a link is measured with: an eighth of a second of the slowest link, 2 ms of a fast one.
const MEASURED_COPIES: u32 = 8;

/// The pieces, used in turn.
pub(super) struct Ring {
    pieces: Vec<Piece>,
    next: usize,
}

struct Piece {
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
        // SAFETY: as in `bytes`; copies to a card only read it, and its piece waits for them first.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // A card that is lost has nothing to give back; there is nobody to tell.
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: the driver gave this memory, it is freed once, and its piece has waited for all copies.
            let _ = unsafe { result::free_host(self.start.cast()) };
        }
    }
}

impl Piece {
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

impl Drop for Piece {
    fn drop(&mut self) {
        // A copy that failed is over, too.
        let _ = self.wait();
    }
}

impl Ring {
    /// Pieces of `piece_bytes`.
    ///
    /// # Errors
    /// The driver has no page-locked memory left.
    pub(super) fn new(device: &Device, piece_bytes: usize) -> Result<Self, DeviceError> {
        let piece = |_| {
            Ok(Piece {
                memory: Pinned::new(device, piece_bytes)?,
                copies: Vec::new(),
            })
        };
        Ok(Self {
            pieces: (0..PIECES).map(piece).collect::<Result<_, _>>()?,
            next: 0,
        })
    }

    /// Bytes of each piece.
    pub(super) fn piece_bytes(&self) -> usize {
        self.pieces[0].memory.bytes
    }

    /// The next piece, once every copy from it is done.
    ///
    /// # Errors
    /// A card failed.
    pub(super) fn piece(&mut self) -> Result<&mut [u8], DeviceError> {
        let piece = &mut self.pieces[self.next];
        piece.wait()?;
        Ok(piece.memory.bytes_mut())
    }

    /// Starts copies of parts of this piece to the same offsets of a buffer on each card, and goes on to the next piece.
    ///
    /// # Errors
    /// A card failed.
    ///
    /// # Panics
    /// A part is not within the piece, or its copy not within a buffer.
    pub(super) fn send(
        &mut self,
        targets: &[(&Device, &Buffer)],
        parts: &[(Range<usize>, usize)],
    ) -> Result<(), DeviceError> {
        let piece = &mut self.pieces[self.next];
        self.next = (self.next + 1) % PIECES;
        let failed = |error| device_error("a copy of weights to the card", error);
        for (device, buffer) in targets {
            device.context().bind_to_thread().map_err(failed)?;
            let stream = device.stream();
            for (part, offset) in parts {
                let bytes = &piece.memory.bytes()[part.clone()];
                assert!(offset + bytes.len() <= buffer.bytes(), "a copy beyond its buffer");
                // SAFETY: the copy stays within the buffer, which lives on this stream; the piece's memory stays as it is
                // until the event behind the copy was waited for, which its next use and its end do.
                unsafe {
                    result::memcpy_htod_async(buffer.address() + *offset as u64, bytes, stream.cu_stream())
                }
                .map_err(failed)?;
            }
            let event = device.context().new_event(None).map_err(failed)?;
            event.record(stream).map_err(failed)?;
            piece.copies.push(event);
        }
        Ok(())
    }
}

/// Bytes a second from page-locked memory to a card, measured with a few copies.
///
/// # Errors
/// The card failed, or has no memory for one copy.
pub(super) fn link_speed(device: &Device) -> Result<f64, DeviceError> {
    let bytes = PIECE_BYTES.min(usize::try_from(device.memory().0 / 8).unwrap_or(PIECE_BYTES));
    let mut ring = Ring::new(device, bytes)?;
    let to = device.allocate(bytes, "a measurement");
    let to = to.map_err(|error| DeviceError {
        fault: error.fault,
        what: error.what,
    })?;
    let mut copy = |count: u32| {
        let started = Instant::now();
        for _ in 0..count {
            ring.piece()?;
            ring.send(&[(device, &to)], &[(0..bytes, 0)])?;
        }
        device.synchronize()?;
        Ok(started.elapsed().as_secs_f64())
    };
    copy(1)?;
    let time = copy(MEASURED_COPIES)?;
    let each = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
    Ok(f64::from(MEASURED_COPIES) * each / time.max(f64::MIN_POSITIVE))
}
