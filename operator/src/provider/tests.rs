use std::{collections::BTreeMap, sync::Arc};

use clap::Parser as _;
use cocoon_api::{
    conditions::{self, Reason as _, SettlementHealthy, WalletReady},
    crd::provider::{Earnings, ModelPhase},
};
use cocoon_core::{
    agents::{AgentPod, AgentState},
    placement::demand::Demand,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Secret},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use serde_json::{Value, json};

use super::{children::Kind, observe::Seen, plan::Plan, validate::ValidProvider, *};
use crate::{config::Config, settlement::Payments};

const SHA256: &str = "b179c952d6be8ab4fbaa8b5cb2c2d49bb1b2a9dd8a5b1b5b9e8d7a0d6d6e2a00";

/// The smallest offer, with `spec` merged over it.
fn provider(spec: &Value) -> CocoonProvider {
    let mut object = json!({
        "apiVersion": "cocoon.farm/v1alpha1",
        "kind": "CocoonProvider",
        "metadata": {"name": "farm", "namespace": "default", "uid": "provider-uid", "generation": 3},
        "spec": {
            "backend": "CUDA",
            "models": [{
                "name": "m",
                "source": {"hostPath": "/var/models/m.gguf", "sha256": SHA256},
                "price": {"prompt": 1, "cachedPrompt": 1, "completion": 1, "reasoning": 1},
            }],
            "payout": {
                "network": "testbed",
                "address": format!("0:{}", "ab".repeat(32)),
                "walletSecretRef": {"name": "wallet"},
            },
        },
    });
    merge(&mut object["spec"], spec);
    serde_json::from_value(object).unwrap()
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(from)) if into.len() == from.len() => {
            into.iter_mut()
                .zip(from)
                .for_each(|(into, from)| merge(into, from));
        }
        (into, from) => *into = from.clone(),
    }
}

fn config() -> Config {
    Config::parse_from([
        "cocoon-operator",
        "--networks",
        "/etc/networks.yaml",
        "--agent-image",
        "agent:1",
    ])
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn node(gpus: u32) -> Node {
    serde_json::from_value(json!({
        "metadata": {"name": "n"},
        "status": {
            "capacity": {"nvidia.com/gpu": gpus.to_string()},
            "allocatable": {"nvidia.com/gpu": gpus.to_string()},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }))
    .unwrap()
}

fn seen(waiting: u32) -> Seen {
    Seen {
        now: at(1000),
        nodes: vec![Arc::new(node(2))],
        pods: Vec::new(),
        agents: Vec::new(),
        placed: BTreeMap::new(),
        deployments: Vec::new(),
        demand: [("m".to_owned(), Demand { running: 0, waiting })].into(),
        tls: None,
        speeds: BTreeMap::new(),
    }
}

fn payments() -> Payments {
    Payments {
        wallet: WalletReady::WalletFunded.condition("2 TON"),
        settlement: SettlementHealthy::UpToDate.condition(""),
        earnings: Earnings::default(),
    }
}

fn planned(spec: &Value, seen: &Seen) -> (ValidProvider, Plan) {
    let valid = validate::validate(&provider(spec)).unwrap();
    let plan = plan::plan(&valid, seen, &config());
    (valid, plan)
}

fn body(plan: &Plan, kind: Kind) -> Value {
    plan.children
        .iter()
        .find(|child| child.kind == kind)
        .unwrap()
        .body
        .clone()
}

fn pod_spec(spec: &Value) -> Value {
    body(&planned(spec, &seen(1)).1, Kind::Deployment)["spec"]["template"]["spec"].clone()
}

/// Fails on a field that the kind does not have, or that has another type.
fn assert_is<K: serde::Serialize + serde::de::DeserializeOwned>(body: &Value) {
    let typed: K = serde_json::from_value(body.clone()).unwrap();
    assert_eq!(serde_json::to_value(typed).unwrap(), *body);
}

#[test]
fn every_child_is_what_kubernetes_knows_and_belongs_to_the_provider() {
    let mut seen = seen(1);
    seen.tls = Some([("tls.crt".to_owned(), k8s_openapi::ByteString(b"x".to_vec()))].into());
    let gpus = json!({"minMemory": "8Gi", "minComputeCapability": "7.5", "products": ["A10"]});
    let spec = json!({
        "gpus": gpus, "nodeSelector": {"a": "b"}, "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    });
    let (_, plan) = planned(&spec, &seen);
    assert_is::<Deployment>(&body(&plan, Kind::Deployment));
    assert_is::<PodDisruptionBudget>(&body(&plan, Kind::PodDisruptionBudget));
    assert_is::<NetworkPolicy>(&body(&plan, Kind::NetworkPolicy));
    assert_is::<Secret>(&body(&plan, Kind::Secret));
    for child in &plan.children {
        let metadata = &child.body["metadata"];
        assert_eq!(
            metadata["ownerReferences"][0]["uid"], "provider-uid",
            "{}",
            child.name
        );
        assert_eq!(
            metadata["ownerReferences"][0]["controller"], true,
            "{}",
            child.name
        );
        assert_eq!(
            metadata["labels"]["cocoon.farm/provider"], "farm",
            "{}",
            child.name
        );
        assert_eq!(
            metadata["labels"]["app.kubernetes.io/managed-by"], "cocoon-operator",
            "{}",
            child.name
        );
    }
    let kinds: Vec<Kind> = plan.children.iter().map(|child| child.kind).collect();
    assert_eq!(
        kinds,
        [
            Kind::NetworkPolicy,
            Kind::Secret,
            Kind::PodDisruptionBudget,
            Kind::Deployment
        ]
    );
}

#[test]
fn an_agents_pod_is_locked_down() {
    let pod = pod_spec(&json!({}));
    let container = &pod["containers"][0];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["enableServiceLinks"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], 65_532);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(
        container["securityContext"]["capabilities"]["drop"],
        json!(["ALL"])
    );
    assert_eq!(container["terminationMessagePolicy"], "FallbackToLogsOnError");
}

#[test]
fn an_agent_gets_its_gpus_its_model_and_its_certificate() {
    let pod = pod_spec(&json!({"models": [{"gpusPerReplica": 2, "contextLength": 512}]}));
    let container = &pod["containers"][0];
    let file = format!("/models/{SHA256}.gguf");
    assert_eq!(container["resources"]["limits"], json!({"nvidia.com/gpu": "2"}));
    assert_eq!(
        pod["volumes"][0]["hostPath"],
        json!({"path": "/var/models/m.gguf", "type": "File"})
    );
    assert_eq!(
        container["volumeMounts"][0],
        json!({"name": "model", "mountPath": file, "readOnly": true})
    );
    assert_eq!(pod["volumes"][1]["secret"]["secretName"], "farm-agent-tls");
    assert_eq!(
        container["volumeMounts"][1],
        json!({"name": "tls", "mountPath": "/tls", "readOnly": true})
    );
    let args: Vec<&str> = container["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arg| arg.as_str().unwrap())
        .collect();
    assert_eq!(args[0], "serve");
    for pair in [
        ["--model", &file],
        ["--model-name", "m"],
        ["--backend", "cuda"],
        ["--context-length", "512"],
    ] {
        assert!(
            args.windows(2).any(|window| window == pair),
            "{pair:?} in {args:?}"
        );
    }
}

#[test]
fn a_model_on_a_volume_is_mounted_read_only_by_its_path() {
    let source = json!({"hostPath": null, "pvc": {"claimName": "models", "path": "llama/m.gguf"}});
    let pod = pod_spec(&json!({"models": [{"source": source}]}));
    assert_eq!(
        pod["volumes"][0]["persistentVolumeClaim"],
        json!({"claimName": "models", "readOnly": true})
    );
    assert_eq!(pod["containers"][0]["volumeMounts"][0]["subPath"], "llama/m.gguf");
}

#[test]
fn gpu_requirements_become_node_affinity() {
    let pod =
        pod_spec(&json!({"gpus": {"products": ["A10"], "minMemory": "8Gi", "minComputeCapability": "7.5"}}));
    let terms = &pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    let common = [
        json!({"key": "nvidia.com/gpu.product", "operator": "In", "values": ["A10"]}),
        json!({"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["8191"]}),
    ];
    let newer = json!({"key": "nvidia.com/gpu.compute.major", "operator": "Gt", "values": ["7"]});
    let same = json!({"key": "nvidia.com/gpu.compute.major", "operator": "In", "values": ["7"]});
    let minor = json!({"key": "nvidia.com/gpu.compute.minor", "operator": "Gt", "values": ["4"]});
    assert_eq!(
        *terms,
        json!([
            {"matchExpressions": [common[0], common[1], newer]},
            {"matchExpressions": [common[0], common[1], same, minor]},
        ])
    );
}

#[test]
fn an_agent_without_gpus_goes_to_any_node_of_the_offer() {
    let spec = json!({"backend": "CPU", "nodeSelector": {"disk": "fast"}, "gpus": {"minMemory": "8Gi"},
                      "models": [{"gpusPerReplica": 0}]});
    let pod = pod_spec(&spec);
    assert_eq!(pod["containers"][0]["resources"].get("limits"), None);
    assert_eq!(pod.get("affinity"), None);
    assert_eq!(pod["nodeSelector"], json!({"disk": "fast"}));
}

#[test]
fn a_full_node_can_roll_because_no_agent_is_added_first() {
    let deployment = body(&planned(&json!({}), &seen(1)).1, Kind::Deployment);
    assert_eq!(
        deployment["spec"]["strategy"]["rollingUpdate"],
        json!({"maxSurge": 0, "maxUnavailable": 1})
    );
}

#[test]
fn a_new_certificate_does_not_roll_the_agents() {
    let deployment = |data: &str| {
        let mut seen = seen(1);
        seen.tls = Some([("tls.crt".to_owned(), k8s_openapi::ByteString(data.into()))].into());
        body(&planned(&json!({}), &seen).1, Kind::Deployment)
    };
    assert_eq!(deployment("old"), deployment("new"));
}

/// Deployments as they are once the plan was applied.
fn stored(plan: &Plan) -> Vec<Arc<Deployment>> {
    let deployments = plan
        .children
        .iter()
        .filter(|child| child.kind == Kind::Deployment);
    deployments
        .map(|child| Arc::new(serde_json::from_value(child.body.clone()).unwrap()))
        .collect()
}

#[test]
fn work_starts_agents_and_idleness_is_remembered_on_the_deployment() {
    let (_, busy) = planned(&json!({}), &seen(1));
    assert_eq!(body(&busy, Kind::Deployment)["spec"]["replicas"], 1);

    let idle = Seen {
        deployments: stored(&busy),
        ..seen(0)
    };
    let (_, first) = planned(&json!({}), &idle);
    let deployment = body(&first, Kind::Deployment);
    assert_eq!(deployment["spec"]["replicas"], 1);
    assert_eq!(
        deployment["metadata"]["annotations"]["cocoon.farm/idle-since"],
        at(1000).to_string()
    );
    assert_eq!(first.placement.next_change, Some(at(1600)));

    let over = Seen {
        now: at(1600),
        deployments: stored(&first),
        ..seen(0)
    };
    let (_, last) = planned(&json!({}), &over);
    let deployment = body(&last, Kind::Deployment);
    assert_eq!(deployment["spec"]["replicas"], 0);
    assert_eq!(deployment["metadata"].get("annotations"), None);
}

#[test]
fn agents_of_a_model_that_is_not_offered_any_more_are_surplus() {
    let (_, before) = planned(&json!({"models": [{"name": "old"}]}), &seen(0));
    let (_, after) = planned(
        &json!({}),
        &Seen {
            deployments: stored(&before),
            ..seen(0)
        },
    );
    assert_eq!(after.surplus, ["farm-old"]);
}

#[test]
fn a_name_that_another_provider_took_is_left_to_it() {
    let (_, theirs) = planned(&json!({}), &seen(0));
    let mut deployment = Deployment::clone(&stored(&theirs)[0]);
    deployment.metadata.owner_references.as_mut().unwrap()[0].uid = "other-uid".into();
    let (_, ours) = planned(
        &json!({}),
        &Seen {
            deployments: vec![Arc::new(deployment)],
            ..seen(0)
        },
    );
    let name = body(&ours, Kind::Deployment)["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        name.starts_with("farm-m-") && name.len() == "farm-m-".len() + 8,
        "{name}"
    );
    let again = Seen {
        deployments: stored(&ours),
        ..seen(0)
    };
    assert_eq!(
        body(&planned(&json!({}), &again).1, Kind::Deployment)["metadata"]["name"],
        name
    );
}

#[test]
fn what_the_schema_cannot_tell_is_refused_by_the_fields_name() {
    let cases = [
        (
            json!({"payout": {"address": "x".repeat(48)}}),
            "spec.payout.address",
        ),
        (
            json!({"payout": {"address": format!("0:{}", "zz".repeat(32))}}),
            "spec.payout.address",
        ),
        (
            json!({"payout": {"settle": {"maxAge": "99999999999999h"}}}),
            "spec.payout.settle.maxAge",
        ),
        (
            json!({"payout": {"settle": {"maxFeeRatio": "1.5"}}}),
            "spec.payout.settle.maxFeeRatio",
        ),
        (
            json!({"models": [{"idleTimeout": "99999999999999h"}]}),
            "spec.models[m].idleTimeout",
        ),
        (
            json!({"models": [{"minReplicas": 3, "maxReplicas": 2}]}),
            "spec.models[m].minReplicas",
        ),
        (json!({"models": [{"gpusPerReplica": 0}]}), "spec.models"),
        (json!({"gpus": {"minMemory": "eight"}}), "spec.gpus.minMemory"),
        (
            json!({"gpus": {"minComputeCapability": "new"}}),
            "spec.gpus.minComputeCapability",
        ),
        (json!({"replicas": -1}), "spec.replicas"),
    ];
    for (spec, field) in cases {
        assert_eq!(
            validate::validate(&provider(&spec)).unwrap_err().field,
            field,
            "{spec}"
        );
    }
    let mut long = provider(&json!({}));
    long.metadata.name = Some("p".repeat(64));
    assert_eq!(validate::validate(&long).unwrap_err().field, "metadata.name");
}

fn status_of(seen: &Seen) -> cocoon_api::crd::CocoonProviderStatus {
    let provider = provider(&json!({}));
    let valid = validate::validate(&provider).unwrap();
    let plan = plan::plan(&valid, seen, &config());
    status::derive(&provider, &valid, &plan, seen, &payments())
}

#[test]
fn a_provider_without_work_is_ready_and_runs_nothing() {
    let status = status_of(&seen(0));
    assert!(
        conditions::is_true(&status.conditions, "Ready"),
        "{:?}",
        status.conditions
    );
    assert_eq!(
        (status.gpu_summary.as_str(), status.model_summary.as_str()),
        ("2/2", "0/1")
    );
    assert_eq!(status.models[0].phase, ModelPhase::Idle);
    assert_eq!(status.observed_generation, Some(3));
    assert!(
        status
            .conditions
            .iter()
            .all(|condition| condition.observed_generation == Some(3))
    );
}

#[test]
fn a_wait_for_gpus_reaches_the_summary() {
    let state = AgentState::Unschedulable("Insufficient nvidia.com/gpu".into());
    let agent = AgentPod {
        name: "a".into(),
        uid: "u".into(),
        model: "m".into(),
        state,
    };
    let status = status_of(&Seen {
        agents: vec![agent],
        ..seen(1)
    });
    let ready = conditions::find(&status.conditions, "Ready").unwrap();
    assert!(
        ready
            .message
            .starts_with("InsufficientGPU: m needs 1 nvidia.com/gpu"),
        "{}",
        ready.message
    );
    assert_eq!((status.models[0].queued, status.replicas), (1, 1));
}

#[test]
fn agents_that_serve_add_up() {
    let agent = |uid: &str| AgentPod {
        name: uid.into(),
        uid: uid.into(),
        model: "m".into(),
        state: AgentState::Ready("10.0.0.1".parse().unwrap()),
    };
    let speeds = [("a".to_owned(), 10.4), ("b".to_owned(), 20.4)].into();
    let status = status_of(&Seen {
        agents: vec![agent("a"), agent("b")],
        speeds,
        ..seen(0)
    });
    assert_eq!(
        (status.models[0].ready, status.tokens_per_second, status.replicas),
        (2, 31, 2)
    );
    assert_eq!(status.models[0].phase, ModelPhase::Serving);
}

#[test]
fn the_same_world_gives_the_same_status() {
    let mut provider = provider(&json!({}));
    let valid = validate::validate(&provider).unwrap();
    let first = seen(1);
    let plan = plan::plan(&valid, &first, &config());
    let status = status::derive(&provider, &valid, &plan, &first, &payments());
    provider.status = Some(status.clone());
    let later = Seen {
        now: at(2000),
        ..seen(1)
    };
    assert_eq!(
        status::derive(&provider, &valid, &plan, &later, &payments()),
        status
    );
}
