//! Why a card cannot be used.

use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;

use crate::backend::error::{DeviceError, DeviceFault};

/// The oldest driver API that the kernels' PTX 8.0 and the functions in use need, as the driver counts: CUDA 12.0.
pub const DRIVER_API: i32 = 12_000;
/// The oldest compute capability: the first with `dp4a`.
pub const CAPABILITY: (i32, i32) = (6, 1);

/// Why a card cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no driver.
    #[error("no NVIDIA driver: libcuda.so.1 not found")]
    NoDriver,
    /// The driver is older than the kernels.
    #[error(
        "the NVIDIA driver is too old: it has CUDA {}.{}, and CUDA 12.0 is needed, which is driver 525 or newer",
        found / 1000,
        found % 1000 / 10
    )]
    DriverTooOld {
        /// What the driver has, as it counts.
        found: i32,
    },
    /// There is no such card.
    #[error(
        "there is no GPU {ordinal}: the driver offers {count}; look at CUDA_VISIBLE_DEVICES and at nvidia-smi"
    )]
    NoDevice {
        /// The card that was asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// The card lacks instructions that the kernels use.
    #[error(
        "GPU {ordinal} ({name}) has compute capability {}.{}, and 6.1 is needed: it is too old",
        capability.0,
        capability.1
    )]
    CardTooOld {
        /// The card.
        ordinal: usize,
        /// Its name.
        name: String,
        /// What it has.
        capability: (i32, i32),
    },
    /// The card fails at the measurement of its rates.
    #[error("cannot measure GPU {ordinal}")]
    Measurement {
        /// The card.
        ordinal: usize,
        /// What failed.
        source: DeviceError,
    },
    /// The driver refuses.
    #[error("cannot open GPU {ordinal}")]
    Driver {
        /// The card.
        ordinal: usize,
        /// What the driver said.
        source: DriverError,
    },
}

/// What a failed call of the driver means for the device.
pub(super) fn device_error(what: &str, error: DriverError) -> DeviceError {
    let fault = match error.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => DeviceFault::OutOfMemory,
        CUresult::CUDA_ERROR_NO_DEVICE
        | CUresult::CUDA_ERROR_INVALID_DEVICE
        | CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE
        | CUresult::CUDA_ERROR_ECC_UNCORRECTABLE
        | CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR
        | CUresult::CUDA_ERROR_SYSTEM_NOT_READY
        | CUresult::CUDA_ERROR_UNKNOWN => DeviceFault::Lost,
        _ => DeviceFault::Failed,
    };
    DeviceError {
        fault,
        what: format!("{what}: {error}"),
    }
}
