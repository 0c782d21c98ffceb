//! A farm's busy day: two offers, payers of other namespaces, two weeks of settlements, and what goes wrong now and
//! then.

use std::fmt::Debug;

use anyhow::{Context as _, Result};
use cocoon_operator::page::Stores;
use k8s_openapi::jiff::{Timestamp, ToSpan as _};
use kube::{
    Resource,
    runtime::{
        reflector::{self, Store},
        watcher::Event,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What was earned on each of the last days, in milliTON, today first.
const EARNED: [u64; 13] = [
    4_120, 11_873, 9_045, 12_310, 10_766, 0, 7_981, 13_402, 12_118, 9_640, 8_215, 6_034, 3_377,
];
/// NanoTON of a milliTON.
const MILLI: u64 = 1_000_000;

/// The stores of such a farm.
pub(super) fn stores(now: Timestamp) -> Result<Stores> {
    Ok(Stores::new(
        store(vec![large(), small()])?,
        store(jobs(now))?,
        store(channels())?,
        store(settlements(now))?,
    ))
}

fn store<K>(objects: Vec<Value>) -> Result<Store<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, mut writer) = reflector::store();
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        let object: K = serde_json::from_value(object).with_context(|| format!("make a {}", K::kind(&())))?;
        writer.apply_watcher_event(&Event::InitApply(object));
    }
    writer.apply_watcher_event(&Event::InitDone);
    Ok(store)
}

fn condition(type_: &str, status: bool, reason: &str, message: &str) -> Value {
    json!({
        "type": type_, "status": if status { "True" } else { "False" }, "reason": reason, "message": message,
        "lastTransitionTime": "2026-11-01T00:00:00Z",
    })
}

fn model(name: &str) -> Value {
    json!({
        "name": name, "source": {"hostPath": "/m", "sha256": "0"},
        "price": {"prompt": 1, "cachedPrompt": 1, "completion": 1, "reasoning": 1},
    })
}

fn large() -> Value {
    let confirmed = EARNED.iter().sum::<u64>() + 41_250;
    json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "CocoonProvider", "metadata": {"namespace": "farm", "name": "h100"},
        "spec": {
            "backend": "CUDA", "models": [model("llama-3.3-70b-instruct"), model("qwen3-32b"), model("qwen2.5-coder-7b")],
            "payout": {"network": "mainnet", "address": "a", "walletSecretRef": {"name": "w"}},
        },
        "status": {
            "conditions": [condition("Ready", true, "Ready", "")],
            "nodes": {"matched": 4, "ready": 4}, "gpus": {"capacity": 32, "allocatable": 32, "allocated": 28, "free": 4},
            "products": [
                {"name": "NVIDIA-H100-80GB-HBM3", "count": 24, "memoryMiB": 81_559, "computeCapability": "9.0", "driver": "580.95.05"},
                {"name": "NVIDIA-L40S", "count": 8, "memoryMiB": 46_068, "computeCapability": "8.9", "driver": "580.95.05"},
            ],
            "models": [
                {"name": "llama-3.3-70b-instruct", "phase": "Serving", "replicas": 5, "ready": 5, "queued": 3, "tokensPerSecond": 2_140},
                {"name": "qwen3-32b", "phase": "Starting", "replicas": 2, "ready": 0, "queued": 1, "downloads": [
                    {"node": "rack2-node3", "bytes": 12_400_000_000_u64, "totalBytes": 19_800_000_000_u64, "secondsLeft": 148},
                ]},
                {"name": "qwen2.5-coder-7b", "phase": "Idle", "replicas": 0, "ready": 0, "queued": 0},
            ],
            "earnings": {"accruedNano": (confirmed + 1_687) * MILLI + 204_117, "submittedNano": 0, "confirmedNano": confirmed * MILLI},
            "tokensPerSecond": 2_140,
        },
    })
}

fn small() -> Value {
    json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "CocoonProvider", "metadata": {"namespace": "lab", "name": "spare-cards"},
        "spec": {
            "backend": "CUDA", "models": [model("smollm2-1.7b")],
            "payout": {"network": "mainnet", "address": "a", "walletSecretRef": {"name": "w"}},
        },
        "status": {
            "conditions": [
                condition("Ready", false, "NotReady", ""),
                condition("AgentsAvailable", false, "InsufficientGPU", "0 of 2 nvidia.com/gpu free on 1 matching node; an agent takes 1"),
            ],
            "nodes": {"matched": 1, "ready": 1}, "gpus": {"capacity": 2, "allocatable": 2, "allocated": 2, "free": 0},
            "products": [{"name": "Tesla-T4", "count": 2, "memoryMiB": 15_360, "computeCapability": "7.5", "driver": "550.163.01"}],
            "models": [{"name": "smollm2-1.7b", "phase": "Starting", "replicas": 1, "ready": 0, "queued": 2}],
        },
    })
}

/// Where a job of the farm's day stands: its state, its model, what holds it back, and requests done.
type Stand = (
    &'static str,
    &'static str,
    Option<(&'static str, &'static str, &'static str)>,
    u32,
);

const STANDS: [Stand; 9] = [
    ("Running", "llama-3.3-70b-instruct", None, 212),
    ("Running", "llama-3.3-70b-instruct", None, 61),
    (
        "Pending",
        "smollm2-1.7b",
        Some((
            "Scheduled",
            "InsufficientGPU",
            "no node has a free GPU for an agent of smollm2-1.7b",
        )),
        0,
    ),
    (
        "Pending",
        "qwen3-32b",
        Some((
            "Scheduled",
            "ModelNotCached",
            "node rack2-node3 downloads qwen3-32b: 62 %, 148 s left",
        )),
        0,
    ),
    (
        "Pending",
        "llama-3.3-70b-instruct",
        Some((
            "FundsReserved",
            "WaitingForFunds",
            "the channel covers 0.4 TON and the job may cost 1",
        )),
        0,
    ),
    (
        "Complete",
        "llama-3.3-70b-instruct",
        Some(("Settled", "BelowFee", "0.0007 TON are metered and not paid")),
        256,
    ),
    ("Settled", "llama-3.3-70b-instruct", None, 256),
    (
        "Failed",
        "qwen2.5-coder-7b",
        Some((
            "Failed",
            "BudgetExceeded",
            "the budget was spent after 97 of 256 requests",
        )),
        97,
    ),
    ("Settled", "qwen2.5-coder-7b", None, 256),
];

fn jobs(now: Timestamp) -> Vec<Value> {
    let minutes = |back: i64| {
        now.checked_sub(back.minutes())
            .map(|at| at.to_string())
            .unwrap_or_default()
    };
    let namespaces = ["farm", "team-legal", "lab", "team-search", "team-search", "farm"];
    let job = |place: usize| {
        let (phase, model, cause, done) = STANDS[place % STANDS.len()];
        let age = 7 + 23 * i64::try_from(place).unwrap_or_default();
        let mut conditions = vec![condition("Accepted", true, "Accepted", "")];
        if matches!(phase, "Complete" | "Settled") {
            conditions.push(condition("Complete", true, "RequestsFinished", ""));
        }
        if let Some((type_, reason, message)) = cause {
            conditions.push(condition(type_, type_ == "Failed", reason, message));
        }
        let uid = format!(
            "{:08x}-aaaa",
            0x9e37_79b9_usize.wrapping_mul(place + 1) & 0xffff_ffff
        );
        let mut job = json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob",
            "metadata": {
                "namespace": namespaces[place % namespaces.len()], "name": format!("nightly-{place:03}"), "uid": uid,
                "creationTimestamp": minutes(age),
            },
            "spec": {"model": model, "input": {"secretRef": {"name": "i", "key": "k"}}, "billing": {"mode": "Free"}},
            "status": {
                "phase": phase, "conditions": conditions,
                "provider": if model == "smollm2-1.7b" { "lab/spare-cards" } else { "farm/h100" },
                "requests": {"total": 256, "inFlight": 0, "succeeded": done, "failed": 0, "retried": 0},
                "usage": {"promptTokens": u64::from(done) * 412, "completionTokens": u64::from(done) * 655},
                "cost": {"reservedNano": 0, "spentNano": u64::from(done) * 2_731_119, "spent": ""},
            },
        });
        if matches!(phase, "Complete" | "Settled" | "Failed") {
            job["status"]["completionTime"] = json!(minutes(age - 6));
        }
        job
    };
    (0..63).map(job).collect()
}

fn channels() -> Vec<Value> {
    let channel = |(place, (namespace, state, ready)): (usize, (&str, &str, bool))| {
        let paid = 9_000 + 1_333 * place as u64;
        json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "PaymentChannel",
            "metadata": {"namespace": namespace, "name": "payer", "uid": format!("{place}b2f9d04-aaaa")},
            "spec": {
                "provider": {"name": "h100", "namespace": "farm"}, "network": "mainnet", "contractAddress": "c", "payerPublicKey": "k",
            },
            "status": {
                "state": state, "depositNano": 12_500 * MILLI, "capNano": 40_000 * MILLI, "accruedNano": (paid + 421) * MILLI,
                "redeemedNano": paid * MILLI,
                "conditions": [
                    condition("Ready", ready, "Ready", ""),
                    condition("VoucherValid", ready, if ready { "Valid" } else { "Expired" }, "the voucher ran out; the payer signs for more"),
                ],
            },
        })
    };
    let all = [
        ("farm", "Open", true),
        ("team-legal", "Open", true),
        ("team-search", "Open", false),
        ("team-ops", "Closing", true),
    ];
    all.into_iter().enumerate().map(channel).collect()
}

fn settlements(now: Timestamp) -> Vec<Value> {
    let mut all = Vec::new();
    for (day, earned) in (0_i64..).zip(EARNED) {
        if earned == 0 {
            continue;
        }
        let at = now.checked_sub((24 * day).hours()).unwrap_or(now).to_string();
        all.push(json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "Settlement",
            "metadata": {"namespace": "farm", "name": format!("h100-4a1c22f0-{}-0", 40 - day), "creationTimestamp": at},
            "spec": {
                "providerRef": {"name": "h100"}, "wallet": "w", "seqno": 40 - day, "validUntil": 1, "message": "", "messageHash": "h",
                "claimed": "", "redeems": [{"channel": "payer", "contractAddress": "c", "cumulativeNano": earned * MILLI, "redeemedBeforeNano": 0}],
            },
            "status": {
                "state": "Confirmed", "transaction": format!("{:064x}", 0x00c0_ffee_0000_u64 + earned), "feeNano": 1_483_211,
                "confirmedNano": earned * MILLI,
                "conditions": [{"type": "Confirmed", "status": "True", "reason": "Redeemed", "message": "", "lastTransitionTime": at}],
            },
        }));
    }
    all
}
