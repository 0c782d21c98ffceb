//! Rules of references to other namespaces.

use super::*;

fn provider(allowed: &Value) -> Value {
    json!({"apiVersion": "cocoon.farm/v1alpha1", "kind": "CocoonProvider", "metadata": {"name": "p"},
    "spec": {
        "backend": "CPU", "replicas": 1, "paused": false, "gpus": {"resourceName": "nvidia.com/gpu"},
        "allowedNamespaces": allowed, "models": [],
        "payout": {"network": "testbed", "address": "0:0", "walletSecretRef": {"name": "w"},
                   "settle": {"thresholdNano": 1, "maxAge": "1h", "maxFeeRatio": "0.01"}},
    }})
}

#[test]
fn a_grant_says_whom_it_is_for_or_for_everybody_or_nobody_else() {
    for sound in [
        json!({"from": "Same"}),
        json!({"from": "All"}),
        json!({"from": "Selector", "names": ["team"]}),
        json!({"from": "Selector", "selector": {"matchLabels": {"tier": "paying"}}}),
        json!({"from": "Selector", "names": ["team"], "selector": {}}),
    ] {
        validate_cel_schema::<CocoonProvider>(&provider(&sound), None).unwrap();
    }
    for wrong in [
        json!({"from": "Selector"}),
        json!({"from": "Same", "names": ["team"]}),
        json!({"from": "All", "selector": {}}),
    ] {
        let error = validate_cel_schema::<CocoonProvider>(&provider(&wrong), None).unwrap_err();
        assert!(format!("{error:?}").contains("names or selector"), "{error:?}");
    }
}

#[test]
fn a_job_does_not_change_the_provider_that_it_asks() {
    let with = |reference: Option<Value>| {
        let mut job = job(&json!({"inline": [{"prompt": "x"}]}), &json!({"mode": "Free"}));
        if let Some(reference) = reference {
            job["spec"]["providerRef"] = reference;
        }
        job
    };
    let gpus = || Some(json!({"namespace": "farm", "name": "gpus"}));
    validate_cel_schema::<InferenceJob>(&with(gpus()), Some(&with(gpus()))).unwrap();
    for other in [None, Some(json!({"name": "gpus"}))] {
        assert!(validate_cel_schema::<InferenceJob>(&with(other), Some(&with(gpus()))).is_err());
    }
}
