//! What pods have of their node's copies of models: the folder, and the container that waits for a copy.

use cocoon_core::agents::{MODEL_VOLUME, fetch::AWAIT_CONTAINER};
use serde_json::{Value, json};

use super::resources;
use crate::{
    config::Config,
    provider::validate::{ValidModel, ValidProvider},
};

/// Where the node's folder of models is mounted.
pub(super) const MODELS: &str = "/models";

/// The node's folder of models, which the kubelet makes where it is not there.
pub(super) fn folder(config: &Config) -> Value {
    json!({"name": MODEL_VOLUME, "hostPath": {"path": config.model_cache_path, "type": "DirectoryOrCreate"}})
}

/// The container of an agent's pod that waits for the node's copy, and notes that it is used.
pub(super) fn awaiting(provider: &ValidProvider, model: &ValidModel, config: &Config) -> Value {
    json!({
        "name": AWAIT_CONTAINER,
        "image": config.agent_image,
        "imagePullPolicy": config.agent_image_pull_policy,
        "args": ["await", "--cache", MODELS, "--sha256", model.sha256],
        "resources": resources::beside_gpus(provider, model),
        "securityContext": security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": MODEL_VOLUME, "mountPath": MODELS}],
    })
}

/// Sets the Secrets with which the image is pulled: the model's, or else the operator's.
pub(super) fn set_pull_secrets(spec: &mut Value, of_model: &[String], config: &Config) {
    let names = if of_model.is_empty() {
        &config.agent_image_pull_secrets
    } else {
        of_model
    };
    if !names.is_empty() {
        let secrets: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        spec["imagePullSecrets"] = json!(secrets);
    }
}

/// Root, which owns the folder, and can do nothing else.
pub(super) fn security() -> Value {
    json!({
        "runAsNonRoot": false,
        "runAsUser": 0,
        "runAsGroup": 0,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    })
}
