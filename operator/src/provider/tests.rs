//! A provider through validation, plan and status; its world begins with the smallest offer.

mod downloads;
mod pods;
mod refusals;
mod scaling;
mod summary;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use clap::Parser as _;
use cocoon_api::{
    conditions::{self, ChildrenApplied, Observation, Reason as _, SettlementHealthy, WalletReady},
    crd::provider::{Earnings, ModelPhase},
    names,
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

use super::{children::Kind, figures::Figures, observe::Seen, plan::Plan, validate::ValidProvider, *};
use crate::{config::Config, settlement::Payments, tls::secret};

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
        downloads: Vec::new(),
        progress: BTreeMap::new(),
        copies: BTreeSet::new(),
        lost: Vec::new(),
        past: Vec::new(),
        placed: BTreeMap::new(),
        deployments: Vec::new(),
        demand: [("m".to_owned(), Demand { running: 0, waiting })].into(),
        trusted: trusted("a"),
        figures: BTreeMap::new(),
    }
}

fn trusted(certificate: &str) -> secret::Data {
    secret::write_bundle(certificate.to_owned())
}

fn applied() -> Observation {
    ChildrenApplied::Applied.condition("what is made for it is there")
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
