//! Why a request has no answer, and why an engine no longer answers.

use crate::backend::{DeviceFault, ForwardError};

/// Why an engine has ended before its time. Whatever it held is lost; the agent must be started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineFault {
    /// The device failed.
    Device(DeviceFault),
    /// The backend refused a batch that the engine planned: the engine's own books are wrong.
    BatchRefused,
}

impl EngineFault {
    /// The fault as probes and metrics name it.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Device(fault) => fault.reason(),
            Self::BatchRefused => "BatchRefused",
        }
    }

    /// Every fault, for those who count them.
    pub const ALL: [Self; 5] = [
        Self::Device(DeviceFault::Lost),
        Self::Device(DeviceFault::Ecc),
        Self::Device(DeviceFault::OutOfMemory),
        Self::Device(DeviceFault::Failed),
        Self::BatchRefused,
    ];
}

/// Why one request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It has no prompt, or does not fit the context or the cache; submitters check this first.
    DoesNotFit,
    /// Its tokens lead the model beyond finite numbers, as they would on every other machine.
    NotFinite,
    /// The engine ended first; another engine may succeed.
    Engine(EngineFault),
}

/// What an error of the backend means to the engine: some rows without finite results, or its end.
pub(super) fn rows_at_fault(error: ForwardError) -> Result<Vec<u32>, EngineFault> {
    match error {
        ForwardError::Numbers(error) => Ok(error.rows),
        ForwardError::Device(error) => Err(EngineFault::Device(error.fault)),
        ForwardError::Batch(_) => Err(EngineFault::BatchRefused),
    }
}
