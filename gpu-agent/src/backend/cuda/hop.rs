//! The way of rows from one card to the next: from the card to page-locked memory, and from there to the other card.
//!
//! ```text
//! computing ─ copy ▶ leaving ═ copies out ▶ page-locked ═ copies in ▶ arriving ─ copy ▶ computing
//! ```
//!
//! Copies over the link (═) have streams of their own, so that both cards compute meanwhile: the one that sends, other
//! rows than those that leave; the one that receives, rows that came before. Nobody waits on the host: events order the
//! streams.
//!
//! Some cards reach each other's memory without the host. Consumer and mining cards do not, and behind an IOMMU such
//! copies may corrupt memory unnoticed ("CUDA C++ Programming Guide", "IOMMU on Linux"). Two copies through the host
//! are right on every machine, and a hop is a few KB for each token.
#![expect(
    unsafe_code,
    reason = "copies over a link go on after their calls have returned"
)]

use std::sync::Arc;

use cudarc::driver::{CudaEvent, CudaStream, DriverError};

use super::device::transfer::{download, move_within, upload};
use super::device::{Buffer, Device};
use super::error::device_error;
use super::pinned::Pinned;
use crate::backend::error::{AllocationError, DeviceError};

/// Pieces that are on the way at once: one that leaves and one that arrives.
const SLOTS: usize = 2;
/// Rows of a piece: half a megabyte at a width of 2,048 floats, beside which the start of a copy costs nothing even on
/// the fastest link.
const PIECE_ROWS: usize = 64;

/// Memory, streams and events of the way.
pub struct Hop {
    slots: Vec<Slot>,
    next: usize,
    out: Arc<CudaStream>,
    into: Arc<CudaStream>,
    row_bytes: usize,
    piece_rows: usize,
}

struct Slot {
    leaving: Buffer,
    memory: Pinned,
    arriving: Buffer,
    /// The rows lie in `leaving`.
    left: CudaEvent,
    /// The rows lie in page-locked memory: `leaving` is free.
    out: CudaEvent,
    /// The rows lie in `arriving`: page-locked memory is free.
    into: CudaEvent,
    /// The rows are where they are computed with: `arriving` is free.
    taken: CudaEvent,
}

impl Hop {
    /// Bytes on each of the two cards.
    pub(super) fn bytes(rows: usize, row_bytes: usize) -> usize {
        SLOTS * rows.min(PIECE_ROWS) * row_bytes
    }

    /// A way for up to `rows` rows at a time.
    ///
    /// # Errors
    /// A card or the host has no memory for it.
    pub(super) fn new(
        from: &Device,
        to: &Device,
        rows: usize,
        row_bytes: usize,
    ) -> Result<Self, AllocationError> {
        let piece_rows = rows.clamp(1, PIECE_ROWS);
        let bytes = piece_rows * row_bytes;
        let refused = |device: &Device, error: DeviceError| AllocationError {
            what: error.what,
            bytes: bytes as u64,
            available: device.memory().0,
            fault: error.fault,
        };
        let what = "the way of rows to the next GPU";
        let stream = |device: &Device| {
            let made = device.context().new_stream();
            made.map_err(|error| refused(device, device.failed(what, error)))
        };
        let event = |device: &Device| {
            let made = device.context().new_event(None);
            made.map_err(|error| refused(device, device.failed(what, error)))
        };
        let (out, into) = (stream(from)?, stream(to)?);
        let slot = |_| {
            let streams = vec![Arc::clone(&out), Arc::clone(&into)];
            Ok(Slot {
                leaving: from.allocate(bytes, what)?,
                memory: Pinned::new(from, bytes, streams).map_err(|error| refused(from, error))?,
                arriving: to.allocate(bytes, what)?,
                left: event(from)?,
                out: event(from)?,
                into: event(to)?,
                taken: event(to)?,
            })
        };
        let slots = (0..SLOTS).map(slot).collect::<Result<_, AllocationError>>()?;
        // The buffers are allocated in the order of each card's own stream, and first used in that of another.
        for device in [from, to] {
            device.synchronize().map_err(|error| refused(device, error))?;
        }
        Ok(Self {
            slots,
            next: 0,
            out,
            into,
            row_bytes,
            piece_rows,
        })
    }

    /// Starts the way of rows that lie in a buffer of one card to the same place of a buffer of the other, behind the
    /// work that was given to both.
    ///
    /// # Errors
    /// A card failed.
    ///
    /// # Panics
    /// A buffer has not so many rows.
    pub(super) fn pass(
        &mut self,
        from: (&Device, &Buffer),
        to: (&Device, &Buffer),
        rows: usize,
    ) -> Result<(), DeviceError> {
        let end = rows * self.row_bytes;
        assert!(end <= from.1.bytes().min(to.1.bytes()), "rows beyond a buffer");
        let piece = self.piece_rows * self.row_bytes;
        for start in (0..end).step_by(piece) {
            self.pass_piece(from, to, start, piece.min(end - start))
                .map_err(|error| {
                    let ends = format!("{} to {}", from.0.label(), to.0.label());
                    device_error(&ends, "the way of rows", error)
                })?;
        }
        Ok(())
    }

    fn pass_piece(
        &mut self,
        (sender, from): (&Device, &Buffer),
        (receiver, to): (&Device, &Buffer),
        start: usize,
        bytes: usize,
    ) -> Result<(), DriverError> {
        let slot = &mut self.slots[self.next];
        self.next = (self.next + 1) % SLOTS;
        let (before, behind) = (sender.stream(), receiver.stream());
        // Each wait is for what used the same memory before; an event that was never recorded is no wait. SAFETY:
        // `pass` has checked both ends, and pieces are no larger than a slot. The slot's memory lives until both
        // streams of this way are done, which its end waits for; the other buffers are freed in the order of the
        // streams that these copies are in. Events keep every part as it is until its copy is done.
        unsafe {
            before.wait(&slot.out)?;
            move_within(before, from, start, &slot.leaving, 0, bytes)?;
            slot.left.record(before)?;
            self.out.wait(&slot.left)?;
            self.out.wait(&slot.into)?;
            download(&self.out, &slot.leaving, 0, &mut slot.memory, 0..bytes)?;
            slot.out.record(&self.out)?;
            self.into.wait(&slot.out)?;
            self.into.wait(&slot.taken)?;
            upload(&self.into, &slot.memory, 0..bytes, &slot.arriving, 0)?;
            slot.into.record(&self.into)?;
            behind.wait(&slot.into)?;
            move_within(behind, &slot.arriving, 0, to, start, bytes)?;
            slot.taken.record(behind)
        }
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        for stream in [&self.out, &self.into] {
            // Copies of a card that is lost are over.
            let _ = stream.synchronize();
        }
    }
}
