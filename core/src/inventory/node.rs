//! Whether one node belongs to an offer, and what is wrong with it if not.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Node, Taint, Toleration},
    apimachinery::pkg::api::resource::Quantity,
};

use super::{labels::GpuLabels, quantity, requirements::Requirements};

/// Taints that Kubernetes sets by itself, while something is wrong with a node.
const TRANSIENT_TAINTS: &str = "node.kubernetes.io/";

/// A node that belongs to the offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Name of the node.
    pub name: String,
    /// It takes pods.
    pub ready: bool,
    /// GPUs in the machine; none if the offer takes the node without its GPUs.
    pub capacity: u32,
    /// GPUs that the device plugin calls healthy.
    pub allocatable: u32,
    /// What the labels tell of its GPUs.
    pub labels: GpuLabels,
}

/// Why a node does not belong to the offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rejection {
    /// A label of the selector is missing or another.
    Selector,
    /// A taint is not tolerated.
    Taint,
    /// It offers none of the resource.
    NoGpu,
    /// It offers the resource, yet a label that the offer compares is missing.
    LabelsMissing,
    /// Its GPUs are other ones.
    OtherGpu,
}

/// Judges one node.
pub fn judge(node: &Node, requirements: &Requirements) -> Result<Member, Rejection> {
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    if requirements
        .node_selector
        .iter()
        .any(|(key, value)| labels.get(key) != Some(value))
    {
        return Err(Rejection::Selector);
    }
    let spec = node.spec.as_ref();
    let refused: Vec<&Taint> = spec
        .and_then(|spec| spec.taints.as_ref())
        .into_iter()
        .flatten()
        .filter(|taint| {
            repels(taint)
                && !requirements
                    .tolerations
                    .iter()
                    .any(|toleration| tolerates(toleration, taint))
        })
        .collect();
    if refused
        .iter()
        .any(|taint| !taint.key.starts_with(TRANSIENT_TAINTS))
    {
        return Err(Rejection::Taint);
    }
    let gpus = judge_gpus(node, labels, requirements);
    let (capacity, allocatable) = match gpus {
        Ok(counts) => counts,
        Err(_) if requirements.without_gpu => (0, 0),
        Err(rejection) => return Err(rejection),
    };
    let cordoned = spec.and_then(|spec| spec.unschedulable) == Some(true);
    Ok(Member {
        name: node.metadata.name.clone().unwrap_or_default(),
        ready: is_ready(node) && refused.is_empty() && !cordoned,
        capacity,
        allocatable,
        labels: GpuLabels::read(labels),
    })
}

fn judge_gpus(
    node: &Node,
    labels: &BTreeMap<String, String>,
    requirements: &Requirements,
) -> Result<(u32, u32), Rejection> {
    let status = node.status.as_ref();
    let count = |resources: Option<&BTreeMap<String, Quantity>>| {
        resources.map_or(0, |resources| amount(resources, &requirements.resource_name))
    };
    let capacity = count(status.and_then(|status| status.capacity.as_ref()));
    let allocatable = count(status.and_then(|status| status.allocatable.as_ref()));
    if capacity == 0 {
        return Err(Rejection::NoGpu);
    }
    let found = GpuLabels::read(labels);
    if !requirements.products.is_empty() {
        let product = found.product.ok_or(Rejection::LabelsMissing)?;
        require(requirements.products.contains(&product))?;
    }
    if let Some(least) = requirements.min_memory_mib {
        require(found.memory_mib.ok_or(Rejection::LabelsMissing)? >= least)?;
    }
    if let Some(least) = requirements.min_compute_capability {
        require(found.compute_capability.ok_or(Rejection::LabelsMissing)? >= least)?;
    }
    Ok((capacity, allocatable))
}

fn require(holds: bool) -> Result<(), Rejection> {
    if holds { Ok(()) } else { Err(Rejection::OtherGpu) }
}

/// A whole number of an extended resource; what is no number counts as none.
pub fn amount(resources: &BTreeMap<String, Quantity>, name: &str) -> u32 {
    let quantity = resources
        .get(name)
        .and_then(|quantity| quantity::parse(quantity).ok())
        .unwrap_or(0);
    u32::try_from(quantity).unwrap_or(u32::MAX)
}

fn repels(taint: &Taint) -> bool {
    matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
}

/// The rule of the scheduler: an empty key with `Exists` tolerates everything, an empty effect every effect.
fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let exists = toleration.operator.as_deref() == Some("Exists");
    let key = toleration.key.as_deref().unwrap_or_default();
    let effect = toleration.effect.as_deref().unwrap_or_default();
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    if key.is_empty() {
        return exists;
    }
    key == taint.key
        && (exists
            || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
