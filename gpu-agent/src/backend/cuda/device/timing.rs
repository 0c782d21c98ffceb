//! What measurements need of a card: its clock, and copies within it.

use std::sync::Arc;
use std::time::Instant;

use cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;

use super::{Buffer, Device};
use crate::backend::cuda::error::device_error;
use crate::backend::error::DeviceError;

impl Device {
    /// Seconds that work takes by the card's clock.
    ///
    /// # Errors
    /// The device failed.
    pub(in super::super) fn time(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), DeviceError>,
    ) -> Result<f64, DeviceError> {
        let label = Arc::clone(&self.label);
        let failed = |error| device_error(&label, "a measurement of time", error);
        let stamp = |device: &Self| device.stream.record_event(Some(CU_EVENT_DEFAULT)).map_err(failed);
        let begun = stamp(self)?;
        work(self)?;
        let milliseconds = begun.elapsed_ms(&stamp(self)?).map_err(failed)?;
        Ok(f64::from(milliseconds) / 1e3)
    }

    /// Whether the card's clock and the host's disagree about what copies take: then no card is at work, but a driver
    /// in software, and times mean nothing.
    ///
    /// # Errors
    /// The device failed.
    pub fn is_simulated(&mut self) -> Result<bool, DeviceError> {
        /// Bytes and copies that take a card of 100 GB/s 2 ms, beside which calls of a driver cost little.
        const BYTES: usize = 1 << 24;
        const COPIES: usize = 8;
        /// A host that shares its two cores with a dozen cards is not so slow.
        const FACTOR: f64 = 20.0;
        let from = self.room(BYTES, "a measurement of memory")?;
        let mut to = self.room(BYTES, "a measurement of memory")?;
        let begun = Instant::now();
        let seconds = self.time(|device| (0..COPIES).try_for_each(|_| device.copy(&from, &mut to)))?;
        Ok(begun.elapsed().as_secs_f64() > FACTOR * seconds)
    }

    /// Memory of the card, whose lack is an error of the device.
    ///
    /// # Errors
    /// The card has not so much left.
    pub(in super::super) fn room(&self, bytes: usize, what: &str) -> Result<Buffer, DeviceError> {
        self.allocate(bytes, what).map_err(|error| DeviceError {
            fault: error.fault,
            what: format!("{}: {error}", self.label),
        })
    }

    /// Copies one buffer into another of its size.
    ///
    /// # Errors
    /// The device failed.
    pub(in super::super) fn copy(&self, from: &Buffer, to: &mut Buffer) -> Result<(), DeviceError> {
        self.stream
            .memcpy_dtod(&from.slice, &mut to.slice)
            .map_err(|error| self.failed("a copy on the card", error))
    }
}
