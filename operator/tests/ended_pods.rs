//! Agents whose pods have ended, which the watch of pods does not show.

#[expect(dead_code, reason = "nothing is counted or refused here")]
mod api;

use std::time::Duration;

use api::ApiServer;
use cocoon_api::names;
use cocoon_operator::{job, provider};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const GROUP: &str = "/apis/cocoon.farm/v1alpha1";
const JOB: &str = "/apis/cocoon.farm/v1alpha1/namespaces/n/inferencejobs/j";

fn offer() -> Value {
    let address = format!("0:{}", "ab".repeat(32));
    json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "CocoonProvider",
        "metadata": {"name": "p", "namespace": "n", "uid": "p", "generation": 1, "resourceVersion": "1",
                     "finalizers": ["cocoon.farm/settlement"]},
        "spec": {
            "backend": "CPU",
            "models": [{
                "name": "m", "source": {"hostPath": "/m.gguf", "sha256": "ab".repeat(32)}, "contextLength": 1024,
                "gpusPerReplica": 0, "minReplicas": 1, "allowFree": true,
                "price": {"prompt": 1, "cachedPrompt": 1, "completion": 1, "reasoning": 1, "minimumNano": 1},
            }],
            "payout": {"network": "testbed", "address": address, "walletSecretRef": {"name": "w"}},
        },
    })
}

/// A job that an operator left running on the agent `a`.
fn running_job() -> Value {
    json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob",
        "metadata": {"name": "j", "namespace": "n", "uid": "j", "generation": 1, "resourceVersion": "1",
                     "finalizers": ["cocoon.farm/settlement"], "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"model": "m", "endpoint": "/v1/completions", "input": {"inline": [{"prompt": "x"}]},
                 "parameters": {"maxTokens": 1}, "billing": {"mode": "Free"}},
        "status": {
            "startTime": "2026-01-01T00:00:00Z", "provider": "p", "inputSha256": "ab".repeat(32),
            "requests": {"total": 1, "inFlight": 1, "succeeded": 0, "failed": 0, "retried": 0},
            "cost": {"reservedNano": 0, "spentNano": 0, "spent": "0"},
            "assignments": [{"attempt": 1, "provider": "p", "pod": "a", "podUid": "a", "agent": "ef".repeat(32),
                             "requests": 0, "completionTokens": 0, "nano": 0, "state": "Active",
                             "prices": {"prompt": 1, "cachedPrompt": 1, "completion": 1, "reasoning": 1, "minimumNano": 1}}],
            "conditions": [{"type": "Accepted", "status": "True", "message": "", "reason": "Accepted",
                            "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        },
    })
}

fn failed_pod(name: &str, started: &str, status: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "1", "creationTimestamp": started,
                     "labels": {names::COMPONENT_LABEL: names::AGENT_COMPONENT, names::PROVIDER_LABEL: "p",
                                names::MODEL_LABEL: "m"}},
        "spec": {"nodeName": "n1", "containers": []},
        "status": status,
    });
    pod["status"]["phase"] = json!("Failed");
    pod["status"]["startTime"] = json!(started);
    pod
}

/// What becomes of the attempt of a job whose agent's pod ended so while it ran.
async fn attempt_after(conditions: Value) -> Value {
    let (server, stop) = (ApiServer::default(), CancellationToken::new());
    server.hold(&format!("{GROUP}/namespaces/n/cocoonproviders/p"), offer());
    server.hold(JOB, running_job());
    let status = json!({"reason": "Evicted", "message": "The node was low on resource: memory.", "conditions": conditions});
    let pod = failed_pod("a", "2026-01-01T00:00:00Z", &status);
    server.hold("/api/v1/namespaces/n/pods/a", pod);
    let ctx = server.operator(&stop).await;
    let controller = tokio::spawn(job::run(ctx, stop.clone()));
    tokio::time::sleep(Duration::from_secs(50)).await;
    stop.cancel();
    controller.await.expect("the controller did not panic");
    server.held(JOB)["status"]["assignments"][0]["state"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_agent_the_kubelet_evicted_is_not_blamed() {
    let evicted = json!([{"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}]);
    assert_eq!(attempt_after(evicted).await, "Suspended");
    assert_eq!(attempt_after(json!([])).await, "Lost");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_a_node_rejected_is_removed_once_it_tells_nothing_any_more() {
    let (server, stop) = (ApiServer::default(), CancellationToken::new());
    server.hold(&format!("{GROUP}/namespaces/n/cocoonproviders/p"), offer());
    let rejected = || json!({"reason": "OutOfcpu", "message": "Pod was rejected: Node didn't have enough resource: cpu"});
    let recent = Timestamp::now().to_string();
    for (name, started) in [("old", "2026-01-01T00:00:00Z"), ("recent", recent.as_str())] {
        server.hold(
            &format!("/api/v1/namespaces/n/pods/{name}"),
            failed_pod(name, started, &rejected()),
        );
    }
    let ctx = server.operator(&stop).await;
    let controller = tokio::spawn(provider::run(ctx, stop.clone()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.cancel();
    controller.await.expect("the controller did not panic");
    assert!(
        server.held("/api/v1/namespaces/n/pods/old").is_null(),
        "it was removed"
    );
    assert!(
        !server.held("/api/v1/namespaces/n/pods/recent").is_null(),
        "it says why"
    );
}
