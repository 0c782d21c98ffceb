//! What an offer asks of nodes and their GPUs.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Toleration;

use super::labels::ComputeCapability;

/// Which nodes an offer takes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Requirements {
    /// Labels that a node must carry.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that agents tolerate.
    pub tolerations: Vec<Toleration>,
    /// Extended resource of the GPUs.
    pub resource_name: String,
    /// Accepted products; empty accepts any.
    pub products: BTreeSet<String>,
    /// Least memory of a GPU, in MiB.
    pub min_memory_mib: Option<u64>,
    /// Least compute capability.
    pub min_compute_capability: Option<ComputeCapability>,
    /// Some model needs no GPU, so nodes without a matching GPU take part too.
    pub without_gpu: bool,
}
