//! What GPU feature discovery says of a node's GPUs in its labels.

use std::{collections::BTreeMap, fmt, str::FromStr};

/// Product name of the node's GPUs.
pub const PRODUCT: &str = "nvidia.com/gpu.product";
/// Memory of one GPU, in MiB.
pub const MEMORY: &str = "nvidia.com/gpu.memory";
/// Major number of the compute capability.
pub const COMPUTE_MAJOR: &str = "nvidia.com/gpu.compute.major";
/// Minor number of the compute capability.
pub const COMPUTE_MINOR: &str = "nvidia.com/gpu.compute.minor";
/// Version of the driver, whole; set by current releases.
const DRIVER_FULL: &str = "nvidia.com/cuda.driver-version.full";
/// Version of the driver in three parts; set by earlier releases.
const DRIVER_PARTS: [&str; 3] = [
    "nvidia.com/cuda.driver.major",
    "nvidia.com/cuda.driver.minor",
    "nvidia.com/cuda.driver.rev",
];

/// CUDA compute capability, ordered by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ComputeCapability {
    /// Generation.
    pub major: u8,
    /// Member of the generation.
    pub minor: u8,
}

/// The text is not `major.minor`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("compute capability must be major.minor, like 8.6")]
pub struct ComputeCapabilityError;

impl FromStr for ComputeCapability {
    type Err = ComputeCapabilityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (major, minor) = text.split_once('.').ok_or(ComputeCapabilityError)?;
        let number = |part: &str| part.parse().map_err(|_| ComputeCapabilityError);
        Ok(Self {
            major: number(major)?,
            minor: number(minor)?,
        })
    }
}

impl fmt::Display for ComputeCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The GPUs of one node, as far as its labels tell. A label that does not parse counts as missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GpuLabels {
    /// Product name.
    pub product: Option<String>,
    /// Memory of one GPU, in MiB.
    pub memory_mib: Option<u64>,
    /// Compute capability.
    pub compute_capability: Option<ComputeCapability>,
    /// Version of the driver.
    pub driver: Option<String>,
}

impl GpuLabels {
    /// Reads the labels of a node.
    pub fn read(labels: &BTreeMap<String, String>) -> Self {
        let number = |key| labels.get(key).and_then(|value| value.parse::<u8>().ok());
        Self {
            product: labels.get(PRODUCT).filter(|value| !value.is_empty()).cloned(),
            memory_mib: labels.get(MEMORY).and_then(|value| value.parse().ok()),
            compute_capability: number(COMPUTE_MAJOR)
                .zip(number(COMPUTE_MINOR))
                .map(|(major, minor)| ComputeCapability { major, minor }),
            driver: driver(labels),
        }
    }
}

fn driver(labels: &BTreeMap<String, String>) -> Option<String> {
    if let Some(full) = labels.get(DRIVER_FULL) {
        return Some(full.clone());
    }
    let parts: Vec<&str> = DRIVER_PARTS
        .iter()
        .map_while(|key| labels.get(*key).map(String::as_str))
        .collect();
    (!parts.is_empty()).then(|| parts.join("."))
}
