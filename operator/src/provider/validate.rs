//! From the specification to typed values. What the schema cannot tell is told here, by the field's name.

use std::collections::BTreeMap;

use cocoon_api::{
    crd::{
        CocoonProvider,
        provider::{Amounts, Backend, ModelOffer, Payout, PodResources, PodSettings},
    },
    names,
};
use cocoon_core::{
    duration,
    footprint::Footprint,
    funds::MIN_CHALLENGE_SECONDS,
    inventory::{Requirements, quantity},
    settlement::{Policy, PolicyError},
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::OwnerReference, jiff::SignedDuration};
use kube::{Resource as _, ResourceExt as _};

/// Longest name: it is the value of a label.
const MAX_NAME_CHARS: usize = 63;
const MIB: u64 = 1 << 20;
/// Fields of the wallet, which has a condition of its own.
pub(super) const ADDRESS_FIELDS: [&str; 2] = ["spec.payout.address", "spec.payout.claimer"];

/// A field that does not say what it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub(super) struct Invalid {
    pub(super) field: String,
    pub(super) problem: String,
}

/// An offer that can be acted on.
#[derive(Debug, Clone)]
pub(super) struct ValidProvider {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) owner: OwnerReference,
    pub(super) backend: Backend,
    pub(super) paused: bool,
    pub(super) replica_bound: u32,
    pub(super) requirements: Requirements,
    /// Ordered by name.
    pub(super) models: Vec<ValidModel>,
}

/// One model of an offer.
#[derive(Debug, Clone)]
pub(super) struct ValidModel {
    pub(super) name: String,
    pub(super) sha256: String,
    pub(super) source: Source,
    pub(super) context_length: u32,
    pub(super) gpus_per_replica: u32,
    pub(super) min_replicas: u32,
    pub(super) max_replicas: u32,
    pub(super) max_in_flight: u32,
    pub(super) idle_timeout: SignedDuration,
    pub(super) footprint: Option<Footprint>,
    pub(super) pod: PodSettings,
    pub(super) download_resources: PodResources,
}

/// Where the model's file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A file of the node.
    HostPath(String),
    /// A file on a claimed volume.
    Pvc { claim: String, path: String },
    /// A file that nodes download, with the headers of a Secret.
    Url { url: String, headers: Option<String> },
}

pub(super) fn validate(provider: &CocoonProvider) -> Result<ValidProvider, Invalid> {
    let spec = &provider.spec;
    let name = provider.name_any();
    if name.len() > MAX_NAME_CHARS {
        return Err(invalid(
            "metadata.name",
            format!("must have at most {MAX_NAME_CHARS} characters"),
        ));
    }
    let owner = provider
        .controller_owner_ref(&())
        .ok_or_else(|| invalid("metadata.uid", "is missing"))?;
    validate_payout(&spec.payout)?;
    let min_memory = spec.gpus.min_memory.as_ref().map(quantity::parse).transpose();
    let capability = spec
        .gpus
        .min_compute_capability
        .as_deref()
        .map(str::parse)
        .transpose();
    let mut models = spec
        .models
        .iter()
        .map(|model| validate_model(model, &spec.node_selector))
        .collect::<Result<Vec<_>, _>>()?;
    models.sort_by(|a, b| a.name.cmp(&b.name));
    let requirements = Requirements {
        node_selector: spec.node_selector.clone(),
        tolerations: spec.tolerations.clone(),
        resource_name: spec.gpus.resource_name.clone(),
        products: spec.gpus.products.iter().cloned().collect(),
        min_memory_mib: min_memory
            .map_err(|error| invalid("spec.gpus.minMemory", error.to_string()))?
            .map(|bytes| bytes.div_ceil(MIB)),
        min_compute_capability: capability
            .map_err(|error| invalid("spec.gpus.minComputeCapability", format!("{error}")))?,
        without_gpu: models.iter().any(|model| model.gpus_per_replica == 0),
    };
    if spec.backend == Backend::CUDA && requirements.without_gpu {
        return Err(invalid(
            "spec.models",
            "gpusPerReplica may be 0 only with backend CPU",
        ));
    }
    Ok(ValidProvider {
        namespace: provider.namespace().unwrap_or_default(),
        owner,
        backend: spec.backend,
        paused: spec.paused,
        replica_bound: u32::try_from(spec.replicas)
            .map_err(|_| invalid("spec.replicas", "must not be negative"))?,
        requirements,
        models,
        name,
    })
}

fn validate_payout(payout: &Payout) -> Result<(), Invalid> {
    for (field, text) in ADDRESS_FIELDS
        .into_iter()
        .zip([payout.address.as_str(), payout.signer()])
    {
        text.parse::<cocoon_ton::Address>()
            .map_err(|error| invalid(field, error.to_string()))?;
    }
    for (field, text) in [
        ("spec.payout.minChallenge", &payout.min_challenge),
        ("spec.payout.minVoucherValidity", &payout.min_voucher_validity),
    ] {
        let least = i64::from(MIN_CHALLENGE_SECONDS);
        if duration::seconds(text).is_none_or(|seconds| seconds < least) {
            return Err(invalid(
                field,
                format!("must be a duration of at least {least}s, like 1h"),
            ));
        }
    }
    match Policy::try_from(&payout.settle) {
        Ok(_) => Ok(()),
        Err(PolicyError::MaxAge(_)) => Err(invalid("spec.payout.settle.maxAge", DURATION_PROBLEM)),
        Err(PolicyError::MaxFeeRatio(_)) => Err(invalid(
            "spec.payout.settle.maxFeeRatio",
            "must be a decimal between 0 and 1 with at most six decimals, like 0.01",
        )),
    }
}

const DURATION_PROBLEM: &str = "must be a duration of at most a hundred years, like 10m or 1h30m";

fn validate_model(
    model: &ModelOffer,
    node_selector: &BTreeMap<String, String>,
) -> Result<ValidModel, Invalid> {
    let field = |name: &str| format!("spec.models[{}].{name}", model.name);
    let source = match (&model.source.host_path, &model.source.pvc, &model.source.url) {
        (Some(path), None, None) => Source::HostPath(path.clone()),
        (None, Some(pvc), None) => Source::Pvc {
            claim: pvc.claim_name.clone(),
            path: pvc.path.clone(),
        },
        (None, None, Some(url)) => Source::Url {
            url: url.clone(),
            headers: model
                .source
                .headers_from
                .as_ref()
                .map(|secret| secret.name.clone()),
        },
        _ => {
            return Err(invalid(
                field("source"),
                "exactly one of hostPath, pvc and url must be set",
            ));
        }
    };
    if let Source::Url { url, .. } = &source {
        // The schema's pattern does not tell a wrong port or a broken IP address; the error does not quote them.
        reqwest::Url::parse(url).map_err(|error| {
            let problem = format!("is no address that can be asked: {error}");
            invalid(field("source.url"), problem)
        })?;
    }
    if model.min_replicas > model.max_replicas {
        return Err(invalid(field("minReplicas"), "must not exceed maxReplicas"));
    }
    let idle_timeout = duration::seconds(&model.idle_timeout)
        .map(SignedDuration::from_secs)
        .ok_or_else(|| invalid(field("idleTimeout"), DURATION_PROBLEM))?;
    let pod = model.pod.clone().unwrap_or_default();
    validate_pod(&pod, node_selector)
        .map_err(|(name, problem)| invalid(field(&format!("pod.{name}")), problem))?;
    let download_resources = model.source.resources.clone().unwrap_or_default();
    validate_resources(&download_resources)
        .map_err(|(name, problem)| invalid(field(&format!("source.{name}")), problem))?;
    Ok(ValidModel {
        name: model.name.clone(),
        sha256: model.source.sha256.clone(),
        source,
        context_length: model.context_length,
        gpus_per_replica: model.gpus_per_replica,
        min_replicas: model.min_replicas,
        max_replicas: model.max_replicas,
        max_in_flight: model.max_in_flight,
        idle_timeout,
        footprint: model.footprint.map(|known| Footprint {
            weights: known.weights_bytes,
            cache_per_token: known.cache_bytes_per_token,
        }),
        pod,
        download_resources,
    })
}

/// What no schema can tell of the pods' settings; the field and what is wrong with it.
fn validate_pod(pod: &PodSettings, offered: &BTreeMap<String, String>) -> Result<(), (&'static str, String)> {
    for (field, labels) in [("labels", &pod.labels), ("nodeSelector", &pod.node_selector)] {
        for (key, value) in labels {
            if !names::is_qualified_name(key) {
                return Err((field, format!("{key:?} is no key of a label")));
            }
            if !names::is_label_value(value) {
                let problem = format!(
                    "{key}: {value:?} is no value of a label: at most 63 letters, digits and .-_, with a letter or digit at both ends"
                );
                return Err((field, problem));
            }
        }
    }
    if let Some(key) = pod.annotations.keys().find(|key| !names::is_qualified_name(key)) {
        return Err(("annotations", format!("{key:?} is no key of an annotation")));
    }
    for (key, value) in &pod.node_selector {
        if let Some(other) = offered.get(key).filter(|other| *other != value) {
            let problem =
                format!("asks for {key}={value}, and spec.nodeSelector for {key}={other}: no node has both");
            return Err(("nodeSelector", problem));
        }
    }
    validate_resources(&pod.resources.clone().unwrap_or_default())
}

fn validate_resources(resources: &PodResources) -> Result<(), (&'static str, String)> {
    let bytes_of = |amounts: &Amounts| {
        let Amounts {
            cpu,
            memory,
            ephemeral_storage,
        } = amounts;
        // A core has a thousand parts, which is as fine as Kubernetes counts.
        let cpu = cpu.as_ref().map(quantity::thousandths).transpose();
        let memory = memory.as_ref().map(quantity::parse).transpose();
        let storage = ephemeral_storage.as_ref().map(quantity::parse).transpose();
        Ok::<_, quantity::QuantityError>([cpu?, memory?, storage?])
    };
    let requests =
        bytes_of(&resources.requests).map_err(|error| ("resources.requests", error.to_string()))?;
    let limits = bytes_of(&resources.limits).map_err(|error| ("resources.limits", error.to_string()))?;
    for ((name, request), limit) in ["cpu", "memory", "ephemeral-storage"]
        .into_iter()
        .zip(requests)
        .zip(limits)
    {
        if request.zip(limit).is_some_and(|(request, limit)| request > limit) {
            return Err((
                "resources",
                format!("the request of {name} must not exceed its limit"),
            ));
        }
    }
    Ok(())
}

fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Invalid {
    Invalid {
        field: field.into(),
        problem: problem.into(),
    }
}
