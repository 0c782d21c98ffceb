//! The pods that download models onto nodes.
//!
//! Agents reach nobody, so a pod of its own downloads. It runs as root without any capability, since a node's folder of
//! models is root's: no pod of anybody else can have put a file there, unless it is the node's administrator's.

use cocoon_api::crd::provider::PodResources;
use cocoon_api::names::{
    AGENT_HEALTH_PORT, COMPONENT_LABEL, DOWNLOAD_COMPONENT, FIELD_MANAGER, MANAGED_BY_LABEL, MODEL_LABEL,
    PROVIDER_LABEL,
};
use cocoon_core::agents::MODEL_VOLUME;
use serde_json::json;

use super::{
    Child, Kind, NAME_LABEL, NAMESPACE_LABEL, OPERATOR_NAME, child,
    copy::{self, MODELS},
    resources,
};
use crate::{
    config::Config,
    provider::{
        naming,
        validate::{Source, ValidModel, ValidProvider},
    },
};

/// Value of [`NAME_LABEL`] on downloads.
const DOWNLOAD_NAME: &str = "cocoon-model-download";
/// Where the Secret with headers is mounted.
const HEADERS: &str = "/headers";
/// Where a download notes what it must know when it is started again.
const STATE: &str = "/state";
/// Seconds that a download has to end; what has come stays.
const GRACE_SECONDS: u32 = 5;

/// Name of the pod that downloads a model onto a node; `None` where the model is not downloaded.
pub(in crate::provider) fn name(agents: &str, model: &ValidModel, node: &str) -> Option<String> {
    let Source::Url { url, headers } = &model.source else {
        return None;
    };
    let mut what = vec![&*model.sha256, url, headers.as_deref().unwrap_or_default()];
    // A pod's resources stay as they were when it was made.
    let given = (model.download_resources != PodResources::default())
        .then(|| json!(model.download_resources).to_string());
    what.extend(given.as_deref());
    Some(naming::download(agents, &what, node))
}

/// The pod that downloads a model onto a node; `None` where the model is not downloaded. `agents` is the name of the
/// model's agents.
pub(in crate::provider) fn pod(
    provider: &ValidProvider,
    model: &ValidModel,
    agents: &str,
    node: &str,
    config: &Config,
) -> Option<Child> {
    let Source::Url { url, headers } = &model.source else {
        return None;
    };
    let mut args = vec![
        json!("fetch"),
        json!("--sha256"),
        json!(model.sha256),
        json!("--cache"),
        json!(MODELS),
        json!("--limit"),
        json!(config.model_cache_bytes.to_string()),
        json!("--state"),
        json!(STATE),
    ];
    let mut mounts = vec![
        json!({"name": MODEL_VOLUME, "mountPath": MODELS}),
        json!({"name": "state", "mountPath": STATE}),
    ];
    let mut volumes = vec![
        copy::folder(config),
        json!({"name": "state", "emptyDir": {"sizeLimit": "1Mi"}}),
    ];
    if let Some(secret) = headers {
        args.extend([json!("--headers"), json!(HEADERS)]);
        mounts.push(json!({"name": "headers", "mountPath": HEADERS, "readOnly": true}));
        volumes.push(json!({"name": "headers", "secret": {"secretName": secret, "defaultMode": 0o400}}));
    }
    let mut spec = json!({
        // It belongs to this node and no other, whatever else runs there.
        "nodeName": node,
        "restartPolicy": "OnFailure",
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "fetch",
            "image": config.agent_image,
            "imagePullPolicy": config.agent_image_pull_policy,
            "args": args,
            // The kubelet reads `$(NAME)` in it as another variable, and `$$` as one sign.
            "env": [{"name": "COCOON_FETCH_URL", "value": url.replace('$', "$$")}],
            "ports": [{"name": "health", "containerPort": AGENT_HEALTH_PORT, "protocol": "TCP"}],
            "resources": resources::of_download(&model.download_resources),
            "securityContext": copy::security(),
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": mounts,
        }],
        "volumes": volumes,
    });
    let tolerations: Vec<_> = provider
        .requirements
        .tolerations
        .iter()
        .chain(&model.pod.tolerations)
        .collect();
    if !tolerations.is_empty() {
        spec["tolerations"] = json!(tolerations);
    }
    copy::set_pull_secrets(&mut spec, &model.pod.image_pull_secrets, config);
    let name = name(agents, model, node)?;
    let mut made = child(Kind::Pod, name, provider, Some(model), None, ("spec", spec));
    made.body["metadata"]["labels"] = json!({
        COMPONENT_LABEL: DOWNLOAD_COMPONENT,
        PROVIDER_LABEL: provider.name,
        MODEL_LABEL: model.name,
        NAME_LABEL: DOWNLOAD_NAME,
        MANAGED_BY_LABEL: FIELD_MANAGER,
    });
    Some(made)
}

/// Where a node of IPv6 asks for its credentials: link-local addresses, the one of EC2 (user guide, "Use the Instance
/// Metadata Service") and the one of Compute Engine ("About VM metadata"), which are unique local ones.
const CREDENTIALS_IPV6: [&str; 3] = ["fe80::/10", "fd00:ec2::254/128", "fd20:ce::254/128"];

/// Downloads reach names and the web, and not the addresses of the node alone, at which clouds give out credentials.
/// The operator asks them how far they are. `None` where no model is downloaded.
pub(in crate::provider) fn policy(provider: &ValidProvider, operator_namespace: &str) -> Option<Child> {
    let is_downloaded = |model: &ValidModel| matches!(model.source, Source::Url { .. });
    if !provider.models.iter().any(is_downloaded) {
        return None;
    }
    let spec = json!({
        "podSelector": {"matchLabels": {COMPONENT_LABEL: DOWNLOAD_COMPONENT, PROVIDER_LABEL: provider.name}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{
            "from": [{
                "namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: operator_namespace}},
                "podSelector": {"matchLabels": {NAME_LABEL: OPERATOR_NAME}},
            }],
            "ports": [{"protocol": "TCP", "port": AGENT_HEALTH_PORT}],
        }],
        "egress": [
            {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
            {"to": [
                {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}},
                {"ipBlock": {"cidr": "::/0", "except": CREDENTIALS_IPV6}},
            ]},
        ],
    });
    let name = naming::download_policy(&provider.name);
    Some(child(
        Kind::NetworkPolicy,
        name,
        provider,
        None,
        None,
        ("spec", spec),
    ))
}
