//! What a specification must say.

use super::*;
use crate::provider::validate::Invalid;

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
            json!({"payout": {"claimer": "x".repeat(48)}}),
            "spec.payout.claimer",
        ),
        (
            json!({"payout": {"minChallenge": "299s"}}),
            "spec.payout.minChallenge",
        ),
        (
            json!({"payout": {"minVoucherValidity": "1m"}}),
            "spec.payout.minVoucherValidity",
        ),
        (
            json!({"payout": {"settle": {"maxAge": "99999999999999h"}}}),
            "spec.payout.settle.maxAge",
        ),
        (
            json!({"payout": {"settle": {"maxFeeRatio": "1.5"}}}),
            "spec.payout.settle.maxFeeRatio",
        ),
        // Settling reads it as a decimal of six digits: what it cannot read must not be called ready.
        (
            json!({"payout": {"settle": {"maxFeeRatio": "1e-2"}}}),
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

#[test]
fn an_address_that_nothing_can_be_asked_at_is_refused_before_a_pod_tries() {
    let with = |url: &str| {
        let source = json!({"url": url, "hostPath": null});
        validate::validate(&provider(&json!({"models": [{"source": source}]})))
    };
    for wrong in [
        "https://files.example:99999/m.gguf?signature=s3cret",
        "https://192.0.2.256/m.gguf?signature=s3cret",
        "https://[2001:db8::1/m.gguf?signature=s3cret",
        "https://[1:2:3]/m.gguf?signature=s3cret",
    ] {
        let Invalid { field, problem } = with(wrong).unwrap_err();
        assert_eq!(field, "spec.models[m].source.url", "{wrong}");
        assert!(
            !problem.contains("s3cret") && problem.contains("is no address"),
            "{problem}"
        );
    }
    for right in [
        "https://files.example:8443/m.gguf?signature=s3cret",
        "http://[2001:db8::1]:8080/m.gguf",
    ] {
        with(right).unwrap();
    }
}
