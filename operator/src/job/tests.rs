use serde_json::json;

use super::*;

#[test]
fn nothing_that_its_author_can_make_large_is_kept_of_a_job() {
    let long = "canary-7f3a".repeat(1_000);
    let mut job: InferenceJob = serde_json::from_value(json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob",
        "metadata": {"name": "j", "uid": "u", "annotations": {"a": long}, "labels": {"l": long},
                     "finalizers": [names::SETTLEMENT_FINALIZER, format!("example.org/{long}")],
                     "managedFields": [{"manager": long}],
                     "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": long, "uid": "o"}]},
        "spec": {"model": "m", "input": {"inline": [{"prompt": long}]}, "billing": {"mode": "Free"}},
    }))
    .unwrap();
    without_input(&mut job);
    let kept = serde_json::to_string(&job).unwrap();
    assert!(!kept.contains("canary") && kept.len() < 1_000, "{kept}");
    assert_eq!(job.finalizers(), [names::SETTLEMENT_FINALIZER]);
    assert_eq!((job.uid().as_deref(), job.spec.model.as_str()), (Some("u"), "m"));
}
