//! Copies that are started and not waited for.

use std::ops::Range;
use std::sync::Arc;

use cudarc::driver::{CudaStream, DriverError, result};

use super::{Buffer, Device, too_small};
use crate::backend::cuda::pinned::Pinned;
use crate::backend::error::DeviceError;

impl Device {
    /// Page-locked memory for copies in the order of this card's work, of zeros.
    ///
    /// # Errors
    /// The driver refuses it.
    pub(in super::super) fn pinned(&self, bytes: usize) -> Result<Pinned, DeviceError> {
        Pinned::new(self, bytes, vec![Arc::clone(&self.stream)])
    }

    /// Starts a copy of page-locked memory to the card, behind all work that was given to it before. The part stays as
    /// it is until the work was waited for.
    ///
    /// # Errors
    /// The device failed.
    pub(in super::super) fn start_upload(
        &self,
        from: &Pinned,
        part: Range<usize>,
        to: &mut Buffer,
        offset: usize,
    ) -> Result<(), DeviceError> {
        let what = "a copy to the card";
        within(what, to, offset, part.len())?;
        // SAFETY: the copy was checked to lie in the buffer, which is freed in the order of this stream, and
        // page-locked memory of this card waits for the stream before it is freed.
        unsafe { upload(&self.stream, from, part, to, offset) }.map_err(|error| self.failed(what, error))
    }

    /// Starts a copy from the card to page-locked memory, behind all work that was given to it before. The part is
    /// there once the work was waited for.
    ///
    /// # Errors
    /// The device failed.
    pub(in super::super) fn start_download(
        &self,
        from: &Buffer,
        offset: usize,
        to: &mut Pinned,
        part: Range<usize>,
    ) -> Result<(), DeviceError> {
        let what = "a copy from the card";
        within(what, from, offset, part.len())?;
        // SAFETY: as in `start_upload`.
        unsafe { download(&self.stream, from, offset, to, part) }.map_err(|error| self.failed(what, error))
    }
}

fn within(what: &str, buffer: &Buffer, offset: usize, bytes: usize) -> Result<(), DeviceError> {
    if offset + bytes > buffer.bytes() {
        return Err(too_small(what, offset + bytes));
    }
    Ok(())
}

/// Starts a copy to a card in the order of a stream.
///
/// # Safety
/// The copy lies within the buffer. Buffer and memory live, and the part stays as it is, until the stream has done it.
pub(in super::super) unsafe fn upload(
    stream: &CudaStream,
    from: &Pinned,
    part: Range<usize>,
    to: &Buffer,
    offset: usize,
) -> Result<(), DriverError> {
    if part.is_empty() {
        return Ok(());
    }
    stream.context().bind_to_thread()?;
    let (to, from) = (to.address() + offset as u64, &from.bytes()[part]);
    // SAFETY: the caller's promise.
    unsafe { result::memcpy_htod_async(to, from, stream.cu_stream()) }
}

/// Starts a copy from a card in the order of a stream.
///
/// # Safety
/// The copy lies within the buffer. Buffer and memory live, and nobody uses the part, until the stream has done it.
pub(in super::super) unsafe fn download(
    stream: &CudaStream,
    from: &Buffer,
    offset: usize,
    to: &mut Pinned,
    part: Range<usize>,
) -> Result<(), DriverError> {
    if part.is_empty() {
        return Ok(());
    }
    stream.context().bind_to_thread()?;
    let (to, from) = (&mut to.bytes_mut()[part], from.address() + offset as u64);
    // SAFETY: the caller's promise.
    unsafe { result::memcpy_dtoh_async(to, from, stream.cu_stream()) }
}

/// Starts a copy within a card in the order of a stream.
///
/// # Safety
/// The copy lies within both buffers, which live until the stream has done it.
pub(in super::super) unsafe fn move_within(
    stream: &CudaStream,
    from: &Buffer,
    from_offset: usize,
    to: &Buffer,
    to_offset: usize,
    bytes: usize,
) -> Result<(), DriverError> {
    stream.context().bind_to_thread()?;
    let (to, from) = (
        to.address() + to_offset as u64,
        from.address() + from_offset as u64,
    );
    // SAFETY: the caller's promise.
    unsafe { result::memcpy_dtod_async(to, from, bytes, stream.cu_stream()) }
}
