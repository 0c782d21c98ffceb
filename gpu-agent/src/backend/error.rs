//! What can go wrong between the engine and a machine.

use cocoon_api::agent::GpuFault;

/// A batch that contradicts itself or the backend's limits: a fault of the caller. Nothing was computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot compute a batch: {problem}")]
pub struct BatchError {
    /// What contradicts what, in numbers alone.
    pub problem: String,
}

/// What became of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceFault {
    /// It is gone: it fell off its bus, was reset, or its thread ended.
    Lost,
    /// Its memory has an error that it cannot correct.
    Ecc,
    /// It had no memory for what it had to do.
    OutOfMemory,
    /// It refused or failed an operation.
    Failed,
}

impl DeviceFault {
    /// The fault as probes and metrics name it: the word that the agent's last line would have.
    pub const fn reason(self) -> &'static str {
        self.gpu_fault().word()
    }

    const fn gpu_fault(self) -> GpuFault {
        match self {
            Self::Lost => GpuFault::DeviceLost,
            Self::Ecc => GpuFault::DeviceEccError,
            Self::OutOfMemory => GpuFault::DeviceOutOfMemory,
            Self::Failed => GpuFault::DeviceFailed,
        }
    }
}

impl From<DeviceFault> for GpuFault {
    fn from(fault: DeviceFault) -> Self {
        fault.gpu_fault()
    }
}

/// A device that no longer computes. What it holds is lost; the agent must be started again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct DeviceError {
    /// What became of it.
    pub fault: DeviceFault,
    /// On which device what was attempted, and what the driver said.
    pub what: String,
}

/// Activations that are no finite numbers: the model's weights and a sequence's tokens lead beyond what a float holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("activations of {} of the batch's rows are not finite", rows.len())]
pub struct NumberError {
    /// Rows of the batch, ascending. All others may be computed again without them.
    pub rows: Vec<u32>,
}

/// Why a batch has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// The batch contradicts itself: a fault of the caller.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The device failed, and will fail again.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Some rows have no finite result: a fault of the model or of the sequences that these rows belong to.
    #[error(transparent)]
    Numbers(#[from] NumberError),
}

/// Memory that a device does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot allocate {bytes} bytes for {what}; {available} bytes are available")]
pub struct AllocationError {
    /// What it was for.
    pub what: String,
    /// Bytes that were asked for.
    pub bytes: u64,
    /// Bytes that the device has left.
    pub available: u64,
    /// What became of the device: it is out of memory, or failed when it was asked.
    pub fault: DeviceFault,
}

/// Why a loaded model cannot be given working memory and a cache.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// The budget does not hold the working memory and the keys and values of one sequence.
    #[error(
        "cannot reserve memory for batches of {rows} rows and a context of {context} tokens: {needed} bytes are \
         needed and {bytes} available; {}",
        advice(*fitting_context, *smallest)
    )]
    Budget {
        /// Rows of a batch that were asked for.
        rows: usize,
        /// Tokens of a sequence that were asked for.
        context: usize,
        /// Bytes that it takes at least.
        needed: u64,
        /// Bytes of the budget.
        bytes: u64,
        /// Longest context that fits beside these rows; 0 where none does.
        fitting_context: usize,
        /// Bytes of the smallest budget that holds any context beside these rows.
        smallest: u64,
    },
    /// The device refuses memory that the budget promised.
    #[error(transparent)]
    Allocation(#[from] AllocationError),
}

fn advice(fitting_context: usize, smallest: u64) -> String {
    if fitting_context > 0 {
        format!("a context of {fitting_context} tokens fits")
    } else {
        format!("ask for fewer rows, or provide at least {smallest} bytes")
    }
}
