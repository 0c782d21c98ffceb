//! Page-locked memory through which weights stream to the cards, a piece at a time.
//!
//! One piece is filled while others are copied: the host holds a few pieces, however large the file is, and every card
//! takes its copy of the same piece.
#![expect(
    unsafe_code,
    reason = "copies from page-locked memory go on after their calls have returned"
)]

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use cudarc::driver::{CudaEvent, result};

use super::device::{Buffer, Device};
use super::error::device_error;
use super::pinned::Pinned;
use crate::backend::error::DeviceError;

/// Pieces: one that is filled, one that is copied, and one for the unevenness of both.
const PIECES: usize = 3;
/// Bytes of a piece, unless a matrix has groups of rows that are larger: on the fastest link a copy of them takes
/// 0.1 ms, many times what its start takes.
pub(super) const PIECE_BYTES: usize = 4 << 20;

/// What is attempted.
const COPY: &str = "a copy of weights to the card";

/// Copies of a piece that a link is measured with: an eighth of a second of the slowest link, 2 ms of a fast one.
const MEASURED_COPIES: u32 = 8;

/// The pieces, used in turn.
pub(super) struct Ring {
    pieces: Vec<Piece>,
    next: usize,
}

struct Piece {
    memory: Pinned,
    /// Copies from it that may still be under way, with their cards as errors name them.
    copies: Vec<(Arc<str>, CudaEvent)>,
}

impl Piece {
    fn wait(&mut self) -> Result<(), DeviceError> {
        let mut outcome = Ok(());
        for (card, copy) in self.copies.drain(..) {
            let waited = copy.synchronize();
            outcome = outcome.and(waited.map_err(|error| device_error(&card, COPY, error)));
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
                // A piece waits for its copies itself, by their events.
                memory: Pinned::new(device, piece_bytes, Vec::new())?,
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
        self.pieces[0].memory.bytes().len()
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

    /// Starts copies of parts of this piece to the same offsets of a buffer on each card, and goes on to the next
    /// piece.
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
        for (device, buffer) in targets {
            let failed = |error| device.failed(COPY, error);
            device.context().bind_to_thread().map_err(failed)?;
            let stream = device.stream();
            for (part, offset) in parts {
                let bytes = &piece.memory.bytes()[part.clone()];
                assert!(offset + bytes.len() <= buffer.bytes(), "a copy beyond its buffer");
                // SAFETY: the copy stays within the buffer, which lives on this stream; the piece's memory stays as it
                // is until the event behind the copy was waited for, which its next use and its end do.
                unsafe {
                    result::memcpy_htod_async(buffer.address() + *offset as u64, bytes, stream.cu_stream())
                }
                .map_err(failed)?;
            }
            let event = device.context().new_event(None).map_err(failed)?;
            event.record(stream).map_err(failed)?;
            piece.copies.push((Arc::clone(device.label()), event));
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
