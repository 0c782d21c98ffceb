//! The node labels that NVIDIA's GPU feature discovery would set for the software GPUs.
//!
//! Source: NVIDIA/k8s-device-plugin, docs/gpu-feature-discovery, "Generated Labels"; `nvidia.com/gpu.present` is the
//! GPU operator's.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What is said about every GPU of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Product name; says that the GPU is software.
    pub product: Product,
    /// Memory of one GPU in MiB.
    pub memory_mib: u64,
    /// CUDA compute capability.
    pub compute: ComputeCapability,
}

/// A product name that is a valid label value and contains "software", in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product(String);

/// Why a product name was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidProduct {
    /// It could be mistaken for real hardware.
    #[error("product {0:?} must contain \"software\", since there is no such GPU here")]
    NotSoftware(String),
    /// The API server would refuse it.
    #[error(
        "product {0:?} is no label value: at most 63 of A-Z, a-z, 0-9, '-', '_' and '.', beginning and ending with a \
         letter or digit"
    )]
    NoLabelValue(String),
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Product {
    type Err = InvalidProduct;

    fn from_str(text: &str) -> Result<Self, InvalidProduct> {
        if !text.to_ascii_lowercase().contains("software") {
            return Err(InvalidProduct::NotSoftware(text.to_owned()));
        }
        if !is_label_value(text) {
            return Err(InvalidProduct::NoLabelValue(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A CUDA compute capability such as 8.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComputeCapability {
    major: u8,
    minor: u8,
}

/// A compute capability that is not two numbers with a dot between them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("compute capability {0:?} is not of the form 8.6")]
pub struct InvalidComputeCapability(String);

impl FromStr for ComputeCapability {
    type Err = InvalidComputeCapability;

    fn from_str(text: &str) -> Result<Self, InvalidComputeCapability> {
        let parse = || {
            let (major, minor) = text.split_once('.')?;
            Some(Self {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
            })
        };
        parse().ok_or_else(|| InvalidComputeCapability(text.to_owned()))
    }
}

impl fmt::Display for ComputeCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl ComputeCapability {
    /// The architecture's name, as feature discovery spells it.
    fn family(self) -> &'static str {
        match (self.major, self.minor) {
            (5, _) => "maxwell",
            (6, _) => "pascal",
            (7, 0..5) => "volta",
            (7, _) => "turing",
            (8, 0..9) => "ampere",
            (8, _) => "ada-lovelace",
            (9, _) => "hopper",
            (10 | 12, _) => "blackwell",
            _ => "undefined",
        }
    }
}

/// The driver that the software GPUs claim: the 535 branch, whose CUDA version is 12.2, as the driver in software says.
const DRIVER: [&str; 3] = ["535", "183", "01"];
const CUDA: [&str; 2] = ["12", "2"];

/// When the labels were made, in Unix seconds.
pub const TIMESTAMP: &str = "nvidia.com/gfd.timestamp";

/// All labels of a node with `count` GPUs of one model, without [`TIMESTAMP`]; none when there are no GPUs.
pub fn labels(model: &Model, count: usize) -> BTreeMap<String, String> {
    if count == 0 {
        return BTreeMap::new();
    }
    let Model {
        product,
        memory_mib,
        compute,
    } = model;
    let [driver_major, driver_minor, driver_revision] = DRIVER;
    let [cuda_major, cuda_minor] = CUDA;
    let own = [
        ("cuda.driver-version.full", DRIVER.join(".")),
        ("cuda.runtime-version.full", CUDA.join(".")),
        ("gpu.compute.major", compute.major.to_string()),
        ("gpu.compute.minor", compute.minor.to_string()),
        ("gpu.count", count.to_string()),
        ("gpu.memory", memory_mib.to_string()),
        ("gpu.product", product.0.clone()),
    ];
    let fixed = [
        ("cuda.driver-version.major", driver_major),
        ("cuda.driver-version.minor", driver_minor),
        ("cuda.driver-version.revision", driver_revision),
        ("cuda.runtime-version.major", cuda_major),
        ("cuda.runtime-version.minor", cuda_minor),
        // The older spelling of the same, which feature discovery still sets.
        ("cuda.driver.major", driver_major),
        ("cuda.driver.minor", driver_minor),
        ("cuda.driver.rev", driver_revision),
        ("cuda.runtime.major", cuda_major),
        ("cuda.runtime.minor", cuda_minor),
        ("gpu.family", compute.family()),
        ("gpu.machine", "Cocoon-Testbed"),
        ("gpu.mode", "compute"),
        ("gpu.present", "true"),
        // One: every GPU is offered once, without time slicing.
        ("gpu.replicas", "1"),
        ("gpu.sharing-strategy", "none"),
        ("mig.capable", "false"),
        ("mps.capable", "false"),
    ];
    let fixed = fixed.map(|(name, value)| (name, value.to_owned()));
    own.into_iter()
        .chain(fixed)
        .map(|(name, value)| (format!("nvidia.com/{name}"), value))
        .collect()
}

fn is_label_value(text: &str) -> bool {
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn model() -> Model {
        Model {
            product: "Software-RTX-3090".parse().unwrap(),
            memory_mib: 24_576,
            compute: "8.6".parse().unwrap(),
        }
    }

    #[test]
    fn the_labels_that_schedulers_read_say_what_the_model_says() {
        let labels = labels(&model(), 2);
        let expected = [
            ("nvidia.com/gpu.present", "true"),
            ("nvidia.com/gpu.count", "2"),
            ("nvidia.com/gpu.product", "Software-RTX-3090"),
            ("nvidia.com/gpu.memory", "24576"),
            ("nvidia.com/gpu.compute.major", "8"),
            ("nvidia.com/gpu.compute.minor", "6"),
            ("nvidia.com/gpu.family", "ampere"),
            ("nvidia.com/cuda.driver-version.full", "535.183.01"),
            ("nvidia.com/cuda.runtime-version.major", "12"),
        ];
        for (name, value) in expected {
            assert_eq!(labels.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(labels.values().all(|value| is_label_value(value)));
    }

    #[test]
    fn a_node_without_gpus_gets_no_labels() {
        assert!(labels(&model(), 0).is_empty());
    }

    #[test]
    fn a_product_that_could_be_taken_for_real_is_refused() {
        assert_eq!(
            "NVIDIA-GeForce-RTX-3090".parse::<Product>(),
            Err(InvalidProduct::NotSoftware("NVIDIA-GeForce-RTX-3090".into()))
        );
        assert_eq!(
            "software RTX".parse::<Product>(),
            Err(InvalidProduct::NoLabelValue("software RTX".into()))
        );
    }

    #[test]
    fn compute_capabilities_have_the_family_of_their_architecture() {
        let family = |text: &str| text.parse::<ComputeCapability>().map(ComputeCapability::family);
        for (text, expected) in [
            ("6.1", "pascal"),
            ("7.5", "turing"),
            ("8.9", "ada-lovelace"),
            ("9.0", "hopper"),
            ("12.0", "blackwell"),
        ] {
            assert_eq!(family(text), Ok(expected));
        }
        assert_eq!(family("86"), Err(InvalidComputeCapability("86".into())));
    }

    proptest! {
        #[test]
        fn every_accepted_product_is_a_label_value(text in ".{0,70}") {
            if let Ok(product) = format!("software{text}").parse::<Product>() {
                prop_assert!(is_label_value(&product.0));
            }
        }
    }
}
