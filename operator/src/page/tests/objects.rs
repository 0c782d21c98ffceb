//! A farm of one offer, a job of its own and one of a payer's namespace, as the API server has them.

use std::fmt::Debug;

use k8s_openapi::jiff::Timestamp;
use kube::{
    Resource,
    runtime::{
        reflector::{self, Store},
        watcher::Event,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::page::{
    channels, jobs, offers, overview, settlements,
    snapshot::{Snapshot, Stores},
};

pub(super) const NOW: &str = "2026-11-26T12:00:00Z";

/// Objects as JSON, by kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Objects {
    pub(super) providers: Vec<Value>,
    pub(super) jobs: Vec<Value>,
    pub(super) channels: Vec<Value>,
    pub(super) settlements: Vec<Value>,
}

pub(super) fn condition(type_: &str, status: bool, reason: &str, message: &str) -> Value {
    json!({
        "type": type_, "status": if status { "True" } else { "False" }, "reason": reason, "message": message,
        "lastTransitionTime": "2026-11-26T10:00:00Z",
    })
}

pub(super) fn provider(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "CocoonProvider",
        "metadata": {"namespace": namespace, "name": name, "uid": "11111111-aaaa"},
        "spec": {
            "backend": "CUDA",
            "models": [{
                "name": "llama", "source": {"url": "https://h/secret-address", "sha256": "0"},
                "price": {"prompt": 1, "cachedPrompt": 1, "completion": 1, "reasoning": 1},
            }],
            "payout": {"network": "testnet", "address": "payout-address", "walletSecretRef": {"name": "wallet-secret"}},
        },
        "status": {
            "conditions": [
                condition("Ready", false, "NotReady", "ready-message"),
                condition("WalletReady", false, "LowBalance", "wallet-message"),
                condition("SettlementHealthy", false, "SettlementFailed", "settlement-message"),
            ],
            "nodes": {"matched": 3, "ready": 2},
            "gpus": {"capacity": 8, "allocatable": 8, "allocated": 5, "free": 3},
            "products": [{"name": "H100", "count": 8, "memoryMiB": 81_559, "computeCapability": "9.0", "driver": "570.1"}],
            "models": [{
                "name": "llama", "phase": "Starting", "replicas": 4, "ready": 1, "queued": 7, "tokensPerSecond": 1_500,
                "downloads": [{"node": "node-1", "bytes": 50, "totalBytes": 200, "secondsLeft": 9, "failure": "download-failure"}],
            }],
            "earnings": {"accruedNano": 5_500_000_000_u64, "submittedNano": 0, "confirmedNano": 4_500_000_000_u64},
            "tokensPerSecond": 1_500,
        },
    })
}

pub(super) fn job(namespace: &str, name: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob",
        "metadata": {"namespace": namespace, "name": name, "uid": uid, "creationTimestamp": "2026-11-26T11:00:00Z"},
        "spec": {
            "model": "llama", "input": {"secretRef": {"name": "input-secret", "key": "k"}},
            "billing": {"mode": "Channel", "channelRef": {"name": "payers-channel"}, "maxNano": 1},
        },
        "status": {
            "phase": "Pending", "provider": "farm/gpus", "waitingFor": "waiting-message",
            "conditions": [condition("Accepted", true, "Accepted", ""), condition("FundsReserved", false, "WaitingForFunds", "job-message")],
            "requests": {"total": 6, "inFlight": 0, "succeeded": 2, "failed": 0, "retried": 0},
            "usage": {"promptTokens": 1_000, "completionTokens": 234},
            "cost": {"reservedNano": 0, "spentNano": 1_500_000_000, "spent": "1.5"},
            "queuePosition": 3,
        },
    })
}

pub(super) fn channel(namespace: &str, name: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "PaymentChannel",
        "metadata": {"namespace": namespace, "name": name, "uid": uid},
        "spec": {
            "provider": {"name": "gpus", "namespace": "farm"}, "network": "testnet",
            "contractAddress": "contract-address", "payerPublicKey": "payer-key",
            "voucher": {"capNano": 1, "validUntil": 1, "epoch": 0, "signature": "voucher-signature"},
        },
        "status": {
            "state": "Open", "depositNano": 2_000_000_000_u64, "capNano": 1_900_000_000_u64, "accruedNano": 1_700_000_000_u64,
            "redeemedNano": 1_600_000_000_u64, "unexplainedNano": 123_000_000,
            "conditions": [condition("Ready", false, "NotReady", ""), condition("VoucherValid", false, "Expired", "channel-message")],
        },
    })
}

/// A confirmed settlement of the offer `farm/gpus`.
pub(super) fn settlement(name: &str, at: &str, nano: u64) -> Value {
    json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "Settlement",
        "metadata": {"namespace": "farm", "name": name, "creationTimestamp": at},
        "spec": {
            "providerRef": {"name": "gpus"}, "wallet": "wallet-address", "seqno": 1, "validUntil": 1, "message": "",
            "messageHash": "message-hash", "claimed": "1",
            "redeems": [{
                "channel": "payers-channel", "namespace": "team", "contractAddress": "contract-address",
                "cumulativeNano": nano, "redeemedBeforeNano": 0,
                "jobs": [{"name": "payers-job", "uid": "u", "nano": nano}],
            }],
        },
        "status": {
            "state": "Confirmed", "transaction": "c0ffee", "feeNano": 1_500_000, "confirmedNano": nano,
            "conditions": [{
                "type": "Confirmed", "status": "True", "reason": "Redeemed", "message": "confirmed-message", "lastTransitionTime": at,
            }],
        },
    })
}

impl Objects {
    pub(super) fn farm() -> Self {
        let mut failed = settlement("gpus-0-2", "2026-11-26T09:00:00Z", 9);
        failed["status"] = json!({
            "state": "Failed", "conditions": [condition("Failed", true, "NotRedeemed", "failed-message")],
        });
        Self {
            providers: vec![provider("farm", "gpus")],
            jobs: vec![
                job("farm", "own-job", "22222222-bbbb"),
                job("team", "payers-job", "33333333-cccc"),
            ],
            channels: vec![
                channel("farm", "own-channel", "44444444-dddd"),
                channel("team", "payers-channel", "55555555-eeee"),
            ],
            settlements: vec![
                settlement("gpus-0-0", "2026-11-25T09:00:00Z", 1_000_000_000),
                settlement("gpus-0-1", "2026-11-26T09:00:00Z", 3_000_000_000),
                failed,
            ],
        }
    }

    pub(super) fn stores(&self) -> Stores {
        Stores::new(
            store(&self.providers),
            store(&self.jobs),
            store(&self.channels),
            store(&self.settlements),
        )
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.stores().snapshot(now())
    }
}

pub(super) fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn store<K>(objects: &[Value]) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, mut writer) = reflector::store();
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        let object: K =
            serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object}"));
        writer.apply_watcher_event(&Event::InitApply(object));
    }
    writer.apply_watcher_event(&Event::InitDone);
    store
}

/// Every view of a snapshot, its first pages, by name.
pub(super) fn views(snapshot: &Snapshot) -> [(&'static str, String); 5] {
    [
        ("overview", overview::view(snapshot)),
        ("offers", offers::view(snapshot, 1)),
        ("jobs", jobs::view(snapshot, 1)),
        ("channels", channels::view(snapshot, 1)),
        ("settlements", settlements::view(snapshot, 1)),
    ]
}

/// The text of a document between its tags, words one space apart.
pub(super) fn text(html: &str) -> String {
    let body = html.split_once("<body>").map_or(html, |(_, body)| body);
    let mut shown = String::new();
    let mut inside = false;
    for letter in body.chars() {
        match letter {
            '<' => inside = true,
            '>' => {
                inside = false;
                shown.push(' ');
            }
            _ if !inside => shown.push(letter),
            _ => {}
        }
    }
    shown.split_whitespace().collect::<Vec<_>>().join(" ")
}
