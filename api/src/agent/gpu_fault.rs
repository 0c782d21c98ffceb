//! Why an agent cannot use its GPUs, in a word.

use super::last_word::last_word;

/// Why an agent cannot use its GPUs: a closed list, so that whoever tells it further tells nothing else.
///
/// The word stands at the beginning of the last line that an agent writes, `error: <word>: <sentence>`, which
/// Kubernetes repeats as the reason why the container ended; the last four are also what the readiness of an agent says
/// whose devices have failed. The words do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GpuFault {
    /// The node has no driver, or the container was not given it.
    NoDriver,
    /// The driver is older than the kernels.
    DriverTooOld,
    /// The driver is there, and does not load or does not start.
    DriverFailed,
    /// The driver shows no such GPU: there is none, or `CUDA_VISIBLE_DEVICES` hides it.
    NoVisibleGpu,
    /// The GPU lacks instructions that the kernels use.
    GpuTooOld,
    /// The model does not fit the GPUs' memory.
    GpuMemoryTooSmall,
    /// It would fit, if other processes did not hold so much of it.
    GpuMemoryTaken,
    /// A kernel has other results on this GPU than everywhere else.
    KernelWrong,
    /// A GPU has refused memory that was planned, or a machine without GPUs has.
    DeviceOutOfMemory,
    /// A GPU's memory has an error that it cannot correct.
    DeviceEccError,
    /// A GPU is gone: it fell off its bus, or its driver ended.
    DeviceLost,
    /// A GPU has refused or failed an operation.
    DeviceFailed,
}

impl GpuFault {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::NoDriver,
        Self::DriverTooOld,
        Self::DriverFailed,
        Self::NoVisibleGpu,
        Self::GpuTooOld,
        Self::GpuMemoryTooSmall,
        Self::GpuMemoryTaken,
        Self::KernelWrong,
        Self::DeviceOutOfMemory,
        Self::DeviceEccError,
        Self::DeviceLost,
        Self::DeviceFailed,
    ];

    /// The word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoDriver => "NoDriver",
            Self::DriverTooOld => "DriverTooOld",
            Self::DriverFailed => "DriverFailed",
            Self::NoVisibleGpu => "NoVisibleGpu",
            Self::GpuTooOld => "GpuTooOld",
            Self::GpuMemoryTooSmall => "GpuMemoryTooSmall",
            Self::GpuMemoryTaken => "GpuMemoryTaken",
            Self::KernelWrong => "KernelWrong",
            Self::DeviceOutOfMemory => "DeviceOutOfMemory",
            Self::DeviceEccError => "DeviceEccError",
            Self::DeviceLost => "DeviceLost",
            Self::DeviceFailed => "DeviceFailed",
        }
    }

    /// What it means, and what the farm can do.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NoDriver => {
                "its container finds no NVIDIA driver: install the driver, NVIDIA's container toolkit and its device plugin \
                 on the node"
            }
            Self::DriverTooOld => "the node's NVIDIA driver is too old: install release 525 or newer",
            Self::DriverFailed => {
                "the node's NVIDIA driver does not load or does not start: the agent's log says which; run nvidia-smi on the node, \
                 and look into the kernel's log"
            }
            Self::NoVisibleGpu => {
                "the driver shows its container fewer GPUs than it was given: look at the device plugin and at nvidia-smi on \
                 the node"
            }
            Self::GpuTooOld => {
                "the GPU's compute capability is below 6.1: keep such nodes out with spec.gpus.minComputeCapability"
            }
            Self::GpuMemoryTooSmall => {
                "model and cache do not fit the GPU's memory: lower the model's contextLength or maxInFlight, or ask for more \
                 with spec.gpus.minMemory"
            }
            Self::GpuMemoryTaken => {
                "other processes hold so much of the GPU's memory that model and cache do not fit: look at nvidia-smi on the node"
            }
            Self::KernelWrong => {
                "the GPU computes other results than every other machine: its agent's log names the kernel; cool it, lower its clocks, \
                 or replace it"
            }
            Self::DeviceOutOfMemory => {
                "the device refused memory that was planned: look for what else runs on it, or lower the model's contextLength \
                 or maxInFlight"
            }
            Self::DeviceEccError => {
                "the GPU's memory has an error that it cannot correct: reset the GPU, and replace it if the error comes back"
            }
            Self::DeviceLost => {
                "the GPU is lost: look for Xid in the kernel's log on the node, and drain it if the GPU does not come back"
            }
            Self::DeviceFailed => "the driver refuses an operation: the agent's log says which",
        }
    }

    /// The fault that an agent's last words name, whatever else they say.
    pub fn of_last_words(words: &str) -> Option<Self> {
        let word = last_word(words)?;
        Self::ALL.into_iter().find(|fault| fault.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::GpuFault;

    #[test]
    fn every_reason_is_read_back_from_last_words() {
        for fault in GpuFault::ALL {
            let words = format!(
                "{{\"level\":\"INFO\"}}\nerror: {}: a sentence: why\n",
                fault.word()
            );
            assert_eq!(GpuFault::of_last_words(&words), Some(fault));
        }
    }

    #[test]
    fn other_last_words_have_no_such_reason() {
        for words in [
            "",
            "error: ",
            "error: NoDriver",
            "NoDriver: x",
            "error: cannot read model file /m: x",
            "error: cannot open GPU 0: NoDriver: x",
            "error: NoDriver: once\nerror: cannot read the file",
        ] {
            assert_eq!(GpuFault::of_last_words(words), None, "{words}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_an_agent_says_is_read_without_a_panic(words: String, fault in 0..GpuFault::ALL.len()) {
            let _ = GpuFault::of_last_words(&words);
            let fault = GpuFault::ALL[fault];
            let last = format!("{words}\nerror: {}: why", fault.word());
            proptest::prop_assert_eq!(GpuFault::of_last_words(&last), Some(fault));
        }
    }
}
