//! Why a card cannot be used.

use std::path::PathBuf;

use cocoon_api::agent::GpuFault;
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
    /// The driver's library is there and cannot be loaded.
    #[error("the NVIDIA driver was found and could not be loaded: {}: {why}", file.display())]
    DriverUnloadable {
        /// Its file; the name alone where the loader found it elsewhere.
        file: PathBuf,
        /// In the loader's words, where they say it.
        why: String,
    },
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
    #[error("there is no GPU {ordinal}: the driver offers {count}; {}", advice(visible.as_deref()))]
    NoDevice {
        /// The card that was asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
        /// `CUDA_VISIBLE_DEVICES`, if it is set.
        visible: Option<String>,
    },
    /// The driver does not start, with any card.
    #[error("the NVIDIA driver does not start: nvidia-smi and the kernel's log (dmesg) on the node say why")]
    Start {
        /// What the driver said.
        source: DriverError,
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

impl OpenError {
    /// The reason in a word.
    pub fn fault(&self) -> GpuFault {
        match self {
            Self::NoDriver => GpuFault::NoDriver,
            Self::DriverTooOld { .. } => GpuFault::DriverTooOld,
            Self::NoDevice { .. } => GpuFault::NoVisibleGpu,
            Self::DriverUnloadable { .. } | Self::Start { .. } => GpuFault::DriverFailed,
            Self::CardTooOld { .. } => GpuFault::GpuTooOld,
            Self::Measurement { source, .. } => of_an_empty_card(source.fault),
            Self::Driver { source, .. } => of_an_empty_card(device_fault(*source)),
        }
    }
}

/// The reason on a card that holds nothing of this process yet: a context and a measurement take memory, of which
/// another process can have left nothing.
fn of_an_empty_card(fault: DeviceFault) -> GpuFault {
    match fault {
        DeviceFault::OutOfMemory => GpuFault::GpuMemoryTaken,
        fault => fault.into(),
    }
}

fn advice(visible: Option<&str>) -> String {
    match visible {
        Some("") => "CUDA_VISIBLE_DEVICES is empty, which hides every GPU".to_owned(),
        Some(set) => format!(
            "CUDA_VISIBLE_DEVICES is {set}, whose first GPU that the machine lacks, or that was named before, ends the list; \
             nvidia-smi lists those that there are"
        ),
        None => "look at nvidia-smi, and at whether the container was given a GPU".to_owned(),
    }
}

/// What a failed call of the driver means for a device; `on` names it.
pub(super) fn device_error(on: &str, what: &str, error: DriverError) -> DeviceError {
    let fault = device_fault(error);
    let hint = match fault {
        DeviceFault::Lost | DeviceFault::Ecc => "; look for an Xid in the kernel's log",
        DeviceFault::OutOfMemory | DeviceFault::Failed => "",
    };
    DeviceError {
        fault,
        what: format!("{on}: {what} failed: {error}{hint}"),
    }
}

fn device_fault(error: DriverError) -> DeviceFault {
    match error.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => DeviceFault::OutOfMemory,
        CUresult::CUDA_ERROR_ECC_UNCORRECTABLE => DeviceFault::Ecc,
        CUresult::CUDA_ERROR_NO_DEVICE
        | CUresult::CUDA_ERROR_INVALID_DEVICE
        | CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE
        | CUresult::CUDA_ERROR_DEINITIALIZED
        | CUresult::CUDA_ERROR_NVLINK_UNCORRECTABLE
        | CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR
        | CUresult::CUDA_ERROR_SYSTEM_NOT_READY
        | CUresult::CUDA_ERROR_UNKNOWN => DeviceFault::Lost,
        _ => DeviceFault::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_device(visible: Option<&str>) -> OpenError {
        OpenError::NoDevice {
            ordinal: 0,
            count: 0,
            visible: visible.map(str::to_owned),
        }
    }

    #[test]
    fn a_driver_that_is_too_old_is_told_what_is_needed() {
        let error = OpenError::DriverTooOld { found: 11_040 };
        assert_eq!(error.fault(), GpuFault::DriverTooOld);
        assert!(
            error
                .to_string()
                .contains("CUDA 11.4, and CUDA 12.0 is needed, which is driver 525"),
            "{error}"
        );
    }

    #[test]
    fn a_card_that_cannot_be_seen_is_blamed_on_the_variable_that_hides_it() {
        let said = |visible| no_device(visible).to_string();
        assert!(said(Some("")).ends_with("CUDA_VISIBLE_DEVICES is empty, which hides every GPU"));
        assert!(said(Some("7")).contains("CUDA_VISIBLE_DEVICES is 7"));
        assert!(said(None).contains("container"));
        assert_eq!(no_device(None).fault(), GpuFault::NoVisibleGpu);
    }

    #[test]
    fn a_driver_that_does_not_start_is_no_lost_card() {
        let source = DriverError(CUresult::CUDA_ERROR_UNKNOWN);
        let error = OpenError::Start { source };
        assert_eq!(error.fault(), GpuFault::DriverFailed);
        assert!(error.to_string().contains("nvidia-smi"), "{error}");
    }

    #[test]
    fn a_full_card_is_taken_by_somebody_and_a_lost_one_is_lost() {
        for (code, fault) in [
            (CUresult::CUDA_ERROR_OUT_OF_MEMORY, GpuFault::GpuMemoryTaken),
            (CUresult::CUDA_ERROR_ECC_UNCORRECTABLE, GpuFault::DeviceEccError),
            (CUresult::CUDA_ERROR_UNKNOWN, GpuFault::DeviceLost),
            (CUresult::CUDA_ERROR_DEINITIALIZED, GpuFault::DeviceLost),
            (CUresult::CUDA_ERROR_LAUNCH_FAILED, GpuFault::DeviceFailed),
        ] {
            let source = DriverError(code);
            assert_eq!(OpenError::Driver { ordinal: 0, source }.fault(), fault);
            let source = DeviceError {
                fault: device_fault(source),
                what: "a copy to the card".to_owned(),
            };
            assert_eq!(OpenError::Measurement { ordinal: 0, source }.fault(), fault);
        }
    }
}
