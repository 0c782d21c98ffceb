use serde_json::{Value, json};

use super::*;

const TODAY: &str = "2026-11-23T00:00:00Z";
const NOW: &str = "2026-11-23T12:00:00Z";

fn provider(status: &Value) -> CocoonProvider {
    serde_json::from_value(json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "CocoonProvider", "metadata": {"name": "farm", "namespace": "shop"},
        "spec": {
            "backend": "CPU",
            "models": [{
                "name": "m",
                "source": {"hostPath": "/m", "sha256": "a"},
                "price": {"prompt": 1, "cachedPrompt": 1, "completion": 1, "reasoning": 1},
            }],
            "payout": {"network": "testbed", "address": "0:0", "walletSecretRef": {"name": "w"}},
        },
        "status": status,
    }))
    .expect("a provider")
}

fn job(name: &str, status: &Value) -> InferenceJob {
    serde_json::from_value(json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob",
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": "2026-11-23T11:58:30Z"},
        "spec": {"model": "m", "input": {"inline": [{"prompt": "x"}]}, "billing": {"mode": "Free"}},
        "status": status,
    }))
    .expect("a job")
}

fn report(jobs: &[InferenceJob]) -> Report {
    let status = json!({
        "conditions": [{
            "type": "Ready", "status": "False", "reason": "NotReady", "message": "an agent starts", "lastTransitionTime": NOW,
        }],
        "gpus": {"capacity": 4, "allocatable": 4, "allocated": 1, "free": 3},
        "products": [{"name": "NVIDIA-A10", "count": 4}],
        "models": [{"name": "m", "phase": "Serving", "replicas": 1, "ready": 1, "queued": 2, "tokensPerSecond": 55}],
        "earnings": {
            "accruedNano": 1_500_000_000, "submittedNano": 0, "confirmedNano": 1_000_000_000,
            "lastSettledAt": "2026-11-23T10:00:00Z",
        },
    });
    let [today, now] = [TODAY, NOW].map(|time| time.parse().expect("a time"));
    Report::of(&[provider(&status)], jobs, today, now)
}

fn jobs() -> Vec<InferenceJob> {
    let done = |phase: &str, time: &str| {
        json!({
            "phase": phase, "provider": "farm", "completionTime": time,
            "usage": {"promptTokens": 10, "completionTokens": 5},
        })
    };
    vec![
        job("settled", &done("Settled", "2026-11-23T01:00:00Z")),
        job("failed", &done("Failed", "2026-11-23T02:00:00Z")),
        job("yesterday", &done("Settled", "2026-11-22T23:00:00Z")),
        job(
            "running",
            &json!({"phase": "Running", "provider": "farm", "usage": {"completionTokens": 7}}),
        ),
        job("elsewhere", &json!({"phase": "Running", "provider": "other"})),
        job(
            "waiting",
            &json!({"phase": "Pending", "waitingFor": "1 GPU", "queuePosition": 2}),
        ),
    ]
}

#[test]
fn a_day_counts_what_runs_waits_and_finished_since_it_began() {
    let report = report(&jobs());
    let expected = Jobs {
        running: 1,
        waiting: 1,
        finished_today: 2,
        failed_today: 1,
        tokens_today: 37,
    };
    assert_eq!(report.providers[0].jobs, expected);
    assert_eq!(
        (
            report.providers[0].earned_nano.nano(),
            report.providers[0].pending_nano.nano()
        ),
        (1_000_000_000, 500_000_000)
    );
}

#[test]
fn the_glance_shows_figures_reasons_and_waits() {
    let text = report(&jobs()).render();
    for line in [
        "PROVIDER  NAMESPACE  READY  GPUS  CARDS         RUN  WAIT  DONE-TODAY    TOKENS  EARNED  PENDING",
        "farm      shop       False  3/4   4 NVIDIA-A10  1    1     2 (1 failed)  37      1       0.5",
        "m      shop/farm  Serving  1/1     55     2",
        "shop/farm is not ready: an agent starts",
        "waiting      shop       m      1m30s  2      1 GPU",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no line {line:?} in\n{text}"
        );
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn one_screen_holds_long_names_long_reasons_and_many_jobs() {
    let mut jobs: Vec<InferenceJob> = (0..40)
        .map(|index| {
            let need = "a GPU with enough memory on a node of the offer, of which none is free at the moment, since others hold them";
            job(&format!("a-job-with-a-long-name-{index}"), &json!({"phase": "Pending", "waitingFor": need}))
        })
        .collect();
    jobs[0].metadata.namespace =
        Some("a-namespace-whose-name-is-as-long-as-namespaces-may-be-63-letters".to_owned());
    let text = report(&jobs).render();
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(text.lines().count() <= 24, "{text}");
    assert!(text.contains("and 30 more that wait"), "{text}");
}
