//! What the containers of agents and downloads ask for and may take.

use std::cmp::Ordering;

use cocoon_api::crd::provider::{Amounts, Backend, PodResources};
use cocoon_core::{
    footprint::{self, Machine, Memory},
    inventory::quantity::{self, QuantityError},
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};

use crate::provider::validate::{ValidModel, ValidProvider};

/// What the scheduler sets aside for an agent beside its GPUs: a core's half to feed them. An agent on the CPU
/// takes what else the node has.
const CPU_REQUEST: &str = "500m";
/// Memory that any model needs, where the offer does not say how much its model takes.
const MEMORY_REQUEST: &str = "512Mi";
/// What a download asks for and may take: little, since bytes go through, and the page cache that they fill is given
/// back.
const DOWNLOAD_REQUESTS: [&str; 2] = ["10m", "32Mi"];
const DOWNLOAD_LIMITS: [&str; 2] = ["1", "256Mi"];

/// Of the container that is the agent.
pub(super) fn of_agent(provider: &ValidProvider, model: &ValidModel) -> Value {
    let mut resources = beside_gpus(provider, model);
    if model.gpus_per_replica > 0 {
        resources["limits"][&provider.requirements.resource_name] =
            Value::String(model.gpus_per_replica.to_string());
    }
    resources
}

/// Of an agent's container but for its GPUs, and of one that runs before it in the same pod: Kubernetes counts the
/// larger of the two, and what a namespace allows the one it allows the other.
pub(super) fn beside_gpus(provider: &ValidProvider, model: &ValidModel) -> Value {
    let PodResources { requests, mut limits } = model.pod.resources.clone().unwrap_or_default();
    let default = |amount: &str| Some(Quantity(amount.to_owned()));
    let derived = derived(provider.backend, model);
    let memory = derived.map_or_else(|| default(MEMORY_REQUEST), |memory| Some(bytes(memory.request)));
    let requests = filled(requests, [default(CPU_REQUEST), memory], &limits, Ordering::Less);
    if limits.memory.is_none() {
        let asked = requests
            .memory
            .as_ref()
            .and_then(|asked| quantity::parse(asked).ok());
        // Who asks for more than was derived may take that.
        limits.memory = derived.map(|memory| bytes(memory.limit.max(asked.unwrap_or_default())));
    }
    written(&requests, &limits)
}

/// Of a download, which may ask for more, or be held to less.
pub(super) fn of_download(given: &PodResources) -> Value {
    let PodResources { requests, limits } = given.clone();
    let default = |amount: &str| Some(Quantity(amount.to_owned()));
    let requests = filled(requests, DOWNLOAD_REQUESTS.map(default), &limits, Ordering::Less);
    let limits = filled(limits, DOWNLOAD_LIMITS.map(default), &requests, Ordering::Greater);
    written(&requests, &limits)
}

fn written(requests: &Amounts, limits: &Amounts) -> Value {
    let limits = json!(limits);
    let mut resources = json!({"requests": requests});
    if limits.as_object().is_some_and(|limits| !limits.is_empty()) {
        resources["limits"] = limits;
    }
    resources
}

/// What follows for an agent's memory from what its model takes.
fn derived(backend: Backend, model: &ValidModel) -> Option<Memory> {
    let machine = match backend {
        Backend::CPU => Machine::Cpu {
            context: model.context_length,
            sequences: model.max_in_flight,
        },
        Backend::CUDA => Machine::Gpus(model.gpus_per_replica),
    };
    Some(footprint::memory(model.footprint?, machine))
}

/// Bytes as a quantity; no more than Kubernetes counts, which no node has.
fn bytes(bytes: u64) -> Quantity {
    Quantity(bytes.min(i64::MAX.unsigned_abs()).to_string())
}

/// What was given, with defaults of cores and memory for what was not. Kubernetes refuses a container that asks for
/// more than it may take, so that a default gives way to what is `beyond` it among the `others`: those of requests to
/// lower limits, those of limits to higher requests.
fn filled(
    given: Amounts,
    [cpu, memory]: [Option<Quantity>; 2],
    others: &Amounts,
    beyond: Ordering,
) -> Amounts {
    let fitting = |default: Option<Quantity>,
                   other: Option<&Quantity>,
                   size: fn(&Quantity) -> Result<u64, QuantityError>| {
        let sizes = default
            .as_ref()
            .zip(other)
            .map(|(default, other)| (size(default), size(other)));
        match sizes {
            Some((Ok(default), Ok(size))) if size.cmp(&default) == beyond => other.cloned(),
            _ => default,
        }
    };
    Amounts {
        cpu: given
            .cpu
            .or_else(|| fitting(cpu, others.cpu.as_ref(), quantity::thousandths)),
        memory: given
            .memory
            .or_else(|| fitting(memory, others.memory.as_ref(), quantity::parse)),
        ephemeral_storage: given.ephemeral_storage,
    }
}
