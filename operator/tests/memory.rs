//! What hostile objects at full size cost in memory: the rows of `docs/decisions/0011-memory-of-the-operator.md`.
//!
//! One test, because the allocator counts for the whole process.

use std::sync::Arc;

use cocoon_api::{crd::InferenceJob, names};
use cocoon_operator::{pages::PAGE, watch::prune};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ObjectList;
use peak_alloc::PeakAlloc;
use serde_json::json;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const MIB: usize = 1 << 20;
/// What the API server takes in one object.
const OBJECT: usize = 3 * MIB / 2;

/// What is kept of a pod that its node rejected.
const REJECTED: usize = 4_400;

/// As many bodies as the schema takes, of nothing but small numbers: as values they cost 30 times their text.
fn numbers() -> String {
    let body = format!("{{\"a\":[{}0]}}", "1,".repeat(OBJECT / 256 / 2 - 32));
    format!("[{}]", vec![body; 256].join(","))
}

/// One body of nothing but brackets.
fn brackets() -> String {
    let depth = OBJECT / 2 - 1_024;
    format!("[{{\"a\":{}{}}}]", "[".repeat(depth), "]".repeat(depth))
}

fn job(name: usize, inline: &str, annotation: usize) -> String {
    format!(
        "{{\"apiVersion\":\"cocoon.farm/v1alpha1\",\"kind\":\"InferenceJob\",\
         \"metadata\":{{\"name\":\"j-{name}\",\"uid\":\"{name}\",\"annotations\":{{\"a\":\"{}\"}},\
         \"finalizers\":[\"example.org/{}\"]}},\
         \"spec\":{{\"model\":\"m\",\"input\":{{\"inline\":{inline}}},\"billing\":{{\"mode\":\"Free\"}}}}}}",
        "x".repeat(annotation),
        "x".repeat(annotation)
    )
}

/// The most that decoding a page of such jobs takes beside its text, and what is left of each job that is kept.
fn costs(items: &[String]) -> (usize, usize) {
    let text = format!("{{\"metadata\":{{}},\"items\":[{}]}}", items.join(","));
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let page: ObjectList<InferenceJob> = serde_json::from_str(&text).expect("a page of jobs");
    let kept: Vec<InferenceJob> = page
        .items
        .into_iter()
        .map(|mut job| {
            assert!(prune::job(&mut job), "jobs are kept");
            job
        })
        .collect();
    let peak = MEMORY.peak_usage() - before;
    let left = (MEMORY.current_usage() - before) / kept.len();
    assert_eq!(kept.len(), items.len());
    (peak, left)
}

/// A pod that its node rejected, with all names at full length and metadata of anybody's.
fn rejected_pod(name: usize) -> Pod {
    let named = |most: usize| format!("{name:x<most$}");
    serde_json::from_value(json!({
        "metadata": {
            "name": named(253), "namespace": named(63), "uid": named(36), "resourceVersion": named(20),
            "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": {"a": "x".repeat(OBJECT / 4)},
            "finalizers": [format!("example.org/{}", "x".repeat(OBJECT / 4))],
            "labels": {names::COMPONENT_LABEL: names::AGENT_COMPONENT, names::PROVIDER_LABEL: named(63),
                       names::MODEL_LABEL: named(63), "other": "x".repeat(OBJECT / 4)},
        },
        "spec": {"nodeName": named(253), "containers": [{"name": "x", "image": "x".repeat(OBJECT / 4)}]},
        "status": {"phase": "Failed", "reason": named(400), "startTime": "2026-01-01T00:00:00Z",
                   "message": format!("Pod was rejected: {}", "x".repeat(OBJECT / 4))},
    }))
    .expect("a pod")
}

/// What a store holds of each of so many.
fn kept_of_rejected(pods: usize) -> usize {
    let before = MEMORY.current_usage();
    let kept: Vec<Arc<Pod>> = (0..pods)
        .map(|name| {
            let mut pod = rejected_pod(name);
            assert!(prune::rejected(&mut pod), "it is kept");
            Arc::new(pod)
        })
        .collect();
    (MEMORY.current_usage() - before) / kept.len()
}

#[test]
fn a_page_of_hostile_jobs_costs_its_bytes_and_what_is_kept_of_each_is_small() {
    let page = usize::try_from(PAGE).expect("a small number");
    for (what, inline, annotation) in [
        ("numbers", numbers(), 0),
        ("brackets", brackets(), 0),
        ("metadata", "[{}]".to_owned(), OBJECT / 2 - 1_024),
    ] {
        let items: Vec<String> = (0..page).map(|name| job(name, &inline, annotation)).collect();
        assert!(
            items[0].len() > OBJECT - 128 * 1_024,
            "{what}: {} bytes are not full size",
            items[0].len()
        );
        let (peak, left) = costs(&items);
        println!("{what}: {} KiB a page, {left} bytes kept of a job", peak / 1_024);
        // The text twice more is the client's; the table counts it three times in all.
        assert!(peak <= page * OBJECT + page * OBJECT / 2, "{what}: {peak} bytes");
        assert!(left <= 3 * 1_024, "{what}: {left} bytes are kept of each job");
    }
    let left = kept_of_rejected(16);
    println!("{left} bytes kept of a pod that was rejected");
    assert!(left <= REJECTED, "{left} bytes are kept of each rejected pod");
}
