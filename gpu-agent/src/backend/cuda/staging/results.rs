//! What a step leaves for the host: copied to page-locked memory behind each of its batches, and read once at its end.

use crate::backend::batch::Batch;
use crate::backend::cuda::device::{Buffer, Device};
use crate::backend::cuda::pinned::Pinned;
use crate::backend::cuda::sample::Sample;
use crate::backend::error::{AllocationError, DeviceError, DeviceFault};
use crate::backend::limits::Limits;

/// Bytes of a row's flag.
const FLAG: usize = size_of::<u32>();
/// Bytes of a chosen token.
const SAMPLE: usize = Sample::WORDS * size_of::<u32>();

/// Flags of all rows of a step, and what was chosen for its outputs.
pub(in super::super) struct Results {
    memory: Pinned,
    /// Where samples begin: behind the flags of as many rows as a step has at most.
    samples_start: usize,
    /// Rows of the batches so far.
    rows: usize,
    /// Row of each token that was chosen, over the batches so far.
    chosen: Vec<u32>,
}

impl Results {
    pub(super) fn new(device: &Device, limits: &Limits) -> Result<Self, AllocationError> {
        let samples_start = limits.rows * FLAG;
        let bytes = samples_start + limits.outputs * SAMPLE;
        let memory = device.pinned(bytes).map_err(|error| AllocationError {
            what: error.what,
            bytes: bytes as u64,
            available: device.memory().0,
            fault: error.fault,
        })?;
        Ok(Self {
            memory,
            samples_start,
            rows: 0,
            chosen: Vec::with_capacity(limits.outputs),
        })
    }

    /// Starts the copies of what a batch leaves: a flag for each row, and what was chosen for its outputs, where it was
    /// chosen on this card.
    pub(super) fn collect(
        &mut self,
        device: &Device,
        batch: &Batch,
        flags: (&Buffer, usize),
        samples: Option<&Buffer>,
    ) -> Result<(), DeviceError> {
        let start = self.rows * FLAG;
        let part = start..start + batch.rows() * FLAG;
        if part.end > self.samples_start {
            return Err(DeviceError {
                fault: DeviceFault::Failed,
                what: "a step with more rows than were reserved".to_owned(),
            });
        }
        device.start_download(flags.0, flags.1, &mut self.memory, part)?;
        if let Some(samples) = samples {
            let start = self.samples_start + self.chosen.len() * SAMPLE;
            let part = start..start + batch.outputs.len() * SAMPLE;
            device.start_download(samples, 0, &mut self.memory, part)?;
            // Rows are far below 2³².
            let first = u32::try_from(self.rows).unwrap_or(u32::MAX);
            self.chosen.extend(batch.outputs.iter().map(|row| first + row));
        }
        self.rows += batch.rows();
        Ok(())
    }

    /// Rows of the step that met a number that is not finite; all copies were waited for.
    pub(in super::super) fn faulty(&self) -> Vec<u32> {
        let flags = self.memory.bytes()[..self.rows * FLAG].as_chunks().0;
        let flagged = flags.iter().zip(0..);
        flagged
            .filter(|(flag, _)| u32::from_le_bytes(**flag) != 0)
            .map(|(_, row)| row)
            .collect()
    }

    /// What was chosen, and for which row of the step; all copies were waited for.
    pub(in super::super) fn samples(&self) -> impl Iterator<Item = (Sample, u32)> {
        let bytes = &self.memory.bytes()[self.samples_start..][..self.chosen.len() * SAMPLE];
        let words = bytes.as_chunks::<FLAG>().0;
        let (samples, _) = words.as_chunks::<{ Sample::WORDS }>();
        let read = |words: &[[u8; FLAG]; Sample::WORDS]| Sample::of(words.map(u32::from_le_bytes));
        samples.iter().map(read).zip(self.chosen.iter().copied())
    }

    /// Forgets them: the step is over.
    pub(in super::super) fn clear(&mut self) {
        self.rows = 0;
        self.chosen.clear();
    }
}
