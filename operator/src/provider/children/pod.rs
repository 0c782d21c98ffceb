//! The pod of an agent.

use std::collections::BTreeMap;

use cocoon_api::{
    crd::provider::{Backend, PodSettings},
    names::{AGENT_AUDIENCE, AGENT_HEALTH_PORT, AGENT_PORT},
};
use cocoon_core::{
    agents::MODEL_VOLUME,
    inventory::{Requirements, labels},
};
use serde_json::{Value, json};

use super::{copy, resources};
use crate::{
    config::Config,
    provider::{
        naming,
        validate::{Source, ValidModel, ValidProvider},
    },
    tls::secret,
};

/// User and group of the agent, as distroless images name `nonroot`.
const NON_ROOT: u32 = 65_532;
/// Where the model's file is mounted.
const MODELS: &str = "/models";
/// Where the pod finds what it needs to be recognised by the operator, and to recognise the operator.
const OPERATOR: &str = "/operator";
/// Volume of [`OPERATOR`].
const OPERATOR_VOLUME: &str = "operator";
/// The token of the pod, in [`OPERATOR`].
const TOKEN: &str = "token";
/// Seconds for which a token is valid, the least that Kubernetes gives; the kubelet renews it in time. It says whose
/// process answers now, and needs not last.
const TOKEN_SECONDS: u32 = 600;
/// Seconds that an agent has to end what it computes.
const GRACE_SECONDS: u32 = 30;
/// Seconds between looks at an agent that starts, so that one that is ready is known at once.
const STARTUP_PERIOD: u32 = 1;
/// Looks at an agent that starts: half an hour, in which 200 GB are read and hashed at 120 MB a second.
const STARTUP_FAILURES: u32 = 1800;
/// Seconds between looks at an agent that serves.
const PROBE_PERIOD: u32 = 5;

/// The specification of the pod.
pub(in crate::provider) fn spec(provider: &ValidProvider, model: &ValidModel, config: &Config) -> Value {
    let mut spec = json!({
        "automountServiceAccountToken": false,
        // An agent looks up no name, so it asks for no cluster DNS.
        "dnsPolicy": "Default",
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": NON_ROOT,
            "runAsGroup": NON_ROOT,
            "fsGroup": NON_ROOT,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container(provider, model, config)],
        "volumes": [
            model_volume(&model.source, config),
            {"name": OPERATOR_VOLUME, "projected": {"defaultMode": 0o440, "sources": [
                {"secret": {
                    "name": naming::tls_secret(&provider.name),
                    "items": [{"key": secret::BUNDLE, "path": secret::BUNDLE}],
                }},
                // It gives no right in the cluster: the API server does not take it.
                {"serviceAccountToken": {
                    "audience": AGENT_AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": TOKEN,
                }},
            ]}},
        ],
    });
    if let Source::Url { .. } = &model.source {
        spec["initContainers"] = json!([copy::awaiting(provider, model, config)]);
    }
    let Requirements {
        node_selector,
        tolerations,
        ..
    } = &provider.requirements;
    let PodSettings {
        labels: _,
        annotations: _,
        node_selector: own_nodes,
        tolerations: own_tolerations,
        priority_class_name,
        runtime_class_name,
        image_pull_secrets,
        resources: _,
    } = &model.pod;
    let node_selector: BTreeMap<_, _> = node_selector.iter().chain(own_nodes).collect();
    let tolerations: Vec<_> = tolerations.iter().chain(own_tolerations).collect();
    if !node_selector.is_empty() {
        spec["nodeSelector"] = json!(node_selector);
    }
    if !tolerations.is_empty() {
        spec["tolerations"] = json!(tolerations);
    }
    if let Some(class) = priority_class_name {
        spec["priorityClassName"] = json!(class);
    }
    if let Some(class) = runtime_class_name {
        spec["runtimeClassName"] = json!(class);
    }
    copy::set_pull_secrets(&mut spec, image_pull_secrets, config);
    let terms = if model.gpus_per_replica > 0 {
        node_terms(&provider.requirements)
    } else {
        Vec::new()
    };
    if !terms.is_empty() {
        spec["affinity"] = json!({
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}},
        });
    }
    spec
}

fn container(provider: &ValidProvider, model: &ValidModel, config: &Config) -> Value {
    let file = format!("{MODELS}/{}.gguf", model.sha256);
    let mut mount = json!({"name": MODEL_VOLUME, "mountPath": file, "readOnly": true});
    match &model.source {
        Source::HostPath(_) => {}
        Source::Pvc { path, .. } => mount["subPath"] = json!(path),
        // A folder: its marker says that the file was verified.
        Source::Url { .. } => mount["mountPath"] = json!(MODELS),
    }
    let probe = |path: &str, period: u32, failures: u32| {
        json!({
            "httpGet": {"path": path, "port": "health"},
            "periodSeconds": period,
            "failureThreshold": failures,
            "timeoutSeconds": 3,
        })
    };
    json!({
        "name": "agent",
        "image": config.agent_image,
        "imagePullPolicy": config.agent_image_pull_policy,
        "args": args(provider.backend, model, &file),
        "ports": [
            {"name": "agent", "containerPort": AGENT_PORT, "protocol": "TCP"},
            {"name": "health", "containerPort": AGENT_HEALTH_PORT, "protocol": "TCP"},
        ],
        "resources": resources::of_agent(provider, model),
        "startupProbe": probe("/readyz", STARTUP_PERIOD, STARTUP_FAILURES),
        "readinessProbe": probe("/readyz", PROBE_PERIOD, 2),
        "livenessProbe": probe("/healthz", PROBE_PERIOD * 2, 6),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [mount, {"name": OPERATOR_VOLUME, "mountPath": OPERATOR, "readOnly": true}],
    })
}

fn args(backend: Backend, model: &ValidModel, file: &str) -> Vec<String> {
    let backend = match backend {
        Backend::CUDA => "cuda",
        Backend::CPU => "cpu",
    };
    let options = [
        ("--model", file.to_owned()),
        ("--model-sha256", model.sha256.clone()),
        ("--model-name", model.name.clone()),
        ("--backend", backend.to_owned()),
        ("--context-length", model.context_length.to_string()),
        ("--max-sequences", model.max_in_flight.to_string()),
        ("--listen", format!("[::]:{AGENT_PORT}")),
        ("--probe-listen", format!("[::]:{AGENT_HEALTH_PORT}")),
        ("--client-ca", format!("{OPERATOR}/{}", secret::BUNDLE)),
        ("--token", format!("{OPERATOR}/{TOKEN}")),
    ];
    let mut args = vec!["serve".to_owned()];
    if let Source::Url { .. } = &model.source {
        args.push("--model-is-copy".to_owned());
    }
    args.extend(
        options
            .into_iter()
            .flat_map(|(option, value)| [option.to_owned(), value]),
    );
    args
}

fn model_volume(source: &Source, config: &Config) -> Value {
    match source {
        Source::Url { .. } => copy::folder(config),
        Source::HostPath(path) => json!({"name": MODEL_VOLUME, "hostPath": {"path": path, "type": "File"}}),
        Source::Pvc { claim, path: _ } => {
            json!({"name": MODEL_VOLUME, "persistentVolumeClaim": {"claimName": claim, "readOnly": true}})
        }
    }
}

/// What labels of a node must say of its GPUs: each term is a way to fulfil the requirements.
fn node_terms(requirements: &Requirements) -> Vec<Value> {
    let mut common = Vec::new();
    if !requirements.products.is_empty() {
        common.push(json!({"key": labels::PRODUCT, "operator": "In", "values": requirements.products}));
    }
    if let Some(least) = requirements.min_memory_mib.filter(|least| *least > 0) {
        common.push(greater(labels::MEMORY, least - 1));
    }
    let capability = requirements.min_compute_capability.map(|least| {
        let newer = vec![greater(labels::COMPUTE_MAJOR, least.major.into())];
        let mut same = vec![json!({
            "key": labels::COMPUTE_MAJOR, "operator": "In", "values": [least.major.to_string()],
        })];
        same.extend(
            least
                .minor
                .checked_sub(1)
                .map(|minor| greater(labels::COMPUTE_MINOR, minor.into())),
        );
        [newer, same]
    });
    let ways = capability.map_or_else(|| vec![Vec::new()], Vec::from);
    ways.into_iter()
        .map(|way| common.iter().cloned().chain(way).collect::<Vec<Value>>())
        .filter(|expressions| !expressions.is_empty())
        .map(|expressions| json!({"matchExpressions": expressions}))
        .collect()
}

/// A label that is a whole number beyond this one.
fn greater(key: &str, than: u64) -> Value {
    json!({"key": key, "operator": "Gt", "values": [than.to_string()]})
}
