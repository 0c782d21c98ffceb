//! Inventory: which nodes belong to an offer, how many GPUs they have and how many of these are free.
//!
//! Read from nodes and pods alone, so that it is right beside any device plugin and any other user of the GPUs.

use std::collections::BTreeMap;

use cocoon_api::{
    conditions::{InventoryReady, Observation, Reason as _},
    crd::provider::{GpuCounts, InventorySource, NodeCounts, ProductCount},
};
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};

pub mod labels;
mod node;
pub mod quantity;
mod requirements;

use labels::GpuLabels;
use node::{Member, Rejection};
pub use requirements::Requirements;

/// Product name of GPUs whose node has no product label.
const UNLABELLED: &str = "unknown";
/// Longest driver version that a status holds.
const MAX_DRIVER_CHARS: usize = 32;
/// Kinds of GPUs that a status lists at most.
const MAX_PRODUCTS: usize = 64;

/// The nodes and GPUs of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Nodes.
    pub nodes: NodeCounts,
    /// GPUs over all nodes.
    pub gpus: GpuCounts,
    /// Free GPUs by node that takes pods; nodes without a GPU have none.
    pub free_by_node: BTreeMap<String, u32>,
    /// Kinds of GPUs, by name.
    pub products: Vec<ProductCount>,
    /// Where it comes from; `None` while no node matches.
    pub source: Option<InventorySource>,
    /// `InventoryReady`.
    pub outcome: Observation,
}

impl Inventory {
    /// Takes stock. `pods` are those that request extended resources, of anyone, and that have not ended.
    pub fn take<'a>(
        nodes: impl IntoIterator<Item = &'a Node>,
        pods: impl IntoIterator<Item = &'a Pod>,
        requirements: &Requirements,
    ) -> Self {
        let mut members = Vec::new();
        let mut rejections = BTreeMap::<Rejection, u32>::new();
        for node in nodes {
            match node::judge(node, requirements) {
                Ok(member) => members.push(member),
                Err(rejection) => *rejections.entry(rejection).or_default() += 1,
            }
        }
        members.sort_by(|a, b| a.name.cmp(&b.name));
        let taken = taken_by_node(pods, &requirements.resource_name);
        let taken_on = |member: &Member| taken.get(&member.name).copied().unwrap_or(0).min(member.capacity);
        let free_by_node: BTreeMap<String, u32> = members
            .iter()
            .filter(|member| member.ready)
            .map(|member| {
                (
                    member.name.clone(),
                    member.allocatable.saturating_sub(taken_on(member)),
                )
            })
            .collect();
        let gpus = GpuCounts {
            capacity: total(members.iter().map(|member| member.capacity)),
            allocatable: total(members.iter().map(|member| member.allocatable)),
            allocated: total(members.iter().map(taken_on)),
            free: total(free_by_node.values().copied()),
        };
        let ready = count(members.iter().filter(|member| member.ready));
        let nodes = NodeCounts {
            matched: count(&members),
            ready,
        };
        Self {
            nodes,
            gpus,
            free_by_node,
            products: products(&members),
            source: source(&members),
            outcome: outcome(nodes, gpus, &rejections, requirements),
        }
    }

    /// Agents that fit on the free GPUs, when each takes `gpus` of one node; `None` when that is no limit.
    pub fn fitting(&self, gpus: u32) -> Option<u32> {
        (gpus > 0).then(|| total(self.free_by_node.values().map(|free| free / gpus)))
    }
}

fn total(values: impl Iterator<Item = u32>) -> u32 {
    values.fold(0, u32::saturating_add)
}

fn count<T>(values: impl IntoIterator<Item = T>) -> u32 {
    u32::try_from(values.into_iter().count()).unwrap_or(u32::MAX)
}

/// The resource that pods hold, by node.
fn taken_by_node<'a>(pods: impl IntoIterator<Item = &'a Pod>, resource: &str) -> BTreeMap<String, u32> {
    let mut taken = BTreeMap::<String, u32>::new();
    for pod in pods {
        let ended = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(ended, Some("Succeeded" | "Failed")) {
            continue;
        }
        let Some(spec) = &pod.spec else { continue };
        if let Some(node) = &spec.node_name {
            let sum = taken.entry(node.clone()).or_default();
            *sum = sum.saturating_add(requested(spec, resource));
        }
    }
    taken
}

/// What the scheduler reserves for a pod: its containers and sidecars together, or more while it initialises.
pub fn requested(spec: &PodSpec, resource: &str) -> u32 {
    let of = |container: &k8s_openapi::api::core::v1::Container| {
        let resources = container.resources.as_ref();
        let amounts =
            resources.and_then(|resources| resources.requests.as_ref().or(resources.limits.as_ref()));
        amounts.map_or(0, |amounts| node::amount(amounts, resource))
    };
    let (mut sidecars, mut peak) = (0_u32, 0_u32);
    for container in spec.init_containers.iter().flatten() {
        let amount = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = sidecars.saturating_add(amount);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars.saturating_add(amount));
        }
    }
    total(spec.containers.iter().map(of))
        .saturating_add(sidecars)
        .max(peak)
}

fn products(members: &[Member]) -> Vec<ProductCount> {
    let mut counts = BTreeMap::<&GpuLabels, u32>::new();
    for member in members.iter().filter(|member| member.capacity > 0) {
        let sum = counts.entry(&member.labels).or_default();
        *sum = sum.saturating_add(member.capacity);
    }
    let product = |(labels, count): (&GpuLabels, u32)| ProductCount {
        name: labels.product.clone().unwrap_or_else(|| UNLABELLED.into()),
        count,
        memory_mib: labels.memory_mib,
        compute_capability: labels.compute_capability.map(|capability| capability.to_string()),
        driver: labels
            .driver
            .as_ref()
            .map(|driver| driver.chars().take(MAX_DRIVER_CHARS).collect()),
    };
    counts.into_iter().map(product).take(MAX_PRODUCTS).collect()
}

fn source(members: &[Member]) -> Option<InventorySource> {
    if members.is_empty() {
        return None;
    }
    let labelled = members
        .iter()
        .any(|member| member.capacity > 0 && member.labels.product.is_some());
    Some(if labelled {
        InventorySource::GFD
    } else {
        InventorySource::NodeStatus
    })
}

fn outcome(
    nodes: NodeCounts,
    gpus: GpuCounts,
    rejections: &BTreeMap<Rejection, u32>,
    requirements: &Requirements,
) -> Observation {
    let NodeCounts { matched, ready } = nodes;
    let resource = &requirements.resource_name;
    if ready > 0 {
        let message = if requirements.without_gpu && gpus.capacity == 0 {
            format!("{ready} of {matched} matching nodes ready")
        } else {
            format!(
                "{ready} of {matched} matching nodes ready; {} of {} {resource} free",
                gpus.free, gpus.allocatable
            )
        };
        return InventoryReady::NodesMatched.condition(message);
    }
    if matched > 0 {
        return InventoryReady::NoMatchingNodes
            .condition(format!("{matched} nodes match, and none of them is ready"));
    }
    let rejected = |rejection| rejections.get(&rejection).copied().unwrap_or(0);
    if rejected(Rejection::LabelsMissing) > 0 {
        return InventoryReady::LabelsMissing.condition(format!(
            "{} nodes offer {resource} but lack the labels that the offer compares ({}); run GPU feature discovery, or \
             offer any GPU",
            rejected(Rejection::LabelsMissing),
            compared(requirements).join(", "),
        ));
    }
    InventoryReady::NoMatchingNodes.condition(format!(
        "no node matches: {} lack the labels of nodeSelector ({}), {} have a taint that is not tolerated, {} offer no \
         {resource}, {} have other GPUs",
        rejected(Rejection::Selector),
        selector_text(&requirements.node_selector),
        rejected(Rejection::Taint),
        rejected(Rejection::NoGpu),
        rejected(Rejection::OtherGpu),
    ))
}

/// Labels that the offer compares.
fn compared(requirements: &Requirements) -> Vec<&'static str> {
    let products = (!requirements.products.is_empty()).then_some(labels::PRODUCT);
    let memory = requirements.min_memory_mib.map(|_| labels::MEMORY);
    let capability = requirements.min_compute_capability.map(|_| labels::COMPUTE_MAJOR);
    [products, memory, capability].into_iter().flatten().collect()
}

/// `key=value,…`, as `kubectl get nodes -l` takes it.
pub fn selector_text(selector: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if pairs.is_empty() {
        "any".into()
    } else {
        pairs.join(",")
    }
}

#[cfg(test)]
mod tests;
