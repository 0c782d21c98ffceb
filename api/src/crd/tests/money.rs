//! Rules of the API server about money: what a payer may change of a channel, and what a reference may be.

use super::*;
use crate::names::is_object_name;

fn channel(change: &Value) -> Value {
    let mut channel = json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "PaymentChannel", "metadata": {"name": "payer"},
        "spec": {
            "provider": {"name": "farm"}, "network": "testbed", "contractAddress": format!("0:{}", "11".repeat(32)),
            "payerPublicKey": "22".repeat(32), "binding": "33".repeat(64),
            "voucher": {"capNano": 500, "validUntil": 2_000, "epoch": 1, "signature": "44".repeat(64)},
        },
    });
    for (field, value) in change.as_object().expect("changes by field") {
        match value.as_object().zip(channel["spec"][field].as_object_mut()) {
            Some((values, held)) => held.extend(values.clone()),
            None => channel["spec"][field] = value.clone(),
        }
    }
    channel
}

fn takes(change: &Value) -> bool {
    validate_cel_schema::<PaymentChannel>(&channel(change), Some(&channel(&json!({})))).is_ok()
}

#[test]
fn a_voucher_only_rises_in_cap_epoch_and_validity() {
    for raised in [
        json!({}),
        json!({"voucher": {"capNano": 501}}),
        json!({"voucher": {"validUntil": 2_001}}),
        json!({"voucher": {"epoch": 2, "capNano": 1, "validUntil": 1}}),
    ] {
        assert!(takes(&raised), "{raised}");
    }
    for lowered in [
        json!({"voucher": {"capNano": 499}}),
        json!({"voucher": {"validUntil": 1_999}}),
        json!({"voucher": {"capNano": 900, "validUntil": 1_999}}),
        json!({"voucher": {"epoch": 0, "capNano": 900, "validUntil": 3_000}}),
    ] {
        assert!(!takes(&lowered), "{lowered}");
    }
}

#[test]
fn a_binding_stays_what_it_is() {
    assert!(!takes(&json!({"binding": "55".repeat(64)})));
    let mut unbound = channel(&json!({}));
    unbound["spec"].as_object_mut().expect("a spec").remove("binding");
    validate_cel_schema::<PaymentChannel>(&channel(&json!({})), Some(&unbound)).unwrap();
    assert!(validate_cel_schema::<PaymentChannel>(&unbound, Some(&channel(&json!({})))).is_err());
}

#[test]
fn names_that_are_too_long_for_a_label_are_refused() {
    let named = |length: usize| {
        let mut job = job(&json!({"inline": [{"prompt": "x"}]}), &paid());
        job["metadata"]["name"] = json!("j".repeat(length));
        validate_cel_schema::<InferenceJob>(&job, None).is_ok()
    };
    assert!(named(63) && !named(64));
}

#[test]
fn a_reference_is_a_name_and_no_path() {
    for name in ["farm", "a.b-c", "0"] {
        assert!(is_object_name(name), "{name}");
    }
    let long = "a".repeat(254);
    for name in [
        "",
        "..",
        "../../secrets/x",
        "a/b",
        "a,b=c",
        "A",
        "-a",
        "a.",
        "a%2fb",
        "a\n",
        &long,
    ] {
        assert!(!is_object_name(name), "{name}");
    }
    // The schema's pattern says the same.
    let definitions = serde_json::to_value(definitions()).unwrap();
    let pattern = definitions
        .pointer("/2/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/provider/properties/name/pattern");
    assert_eq!(
        pattern.and_then(Value::as_str),
        Some(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    );
}

/// Paths of lists whose items Kubernetes cannot compare with the ones before, and that have a rule which asks for that:
/// the API server refuses such a definition.
fn uncorrelatable(path: &str, schema: &Value, in_list: bool, found: &mut Vec<String>) {
    let rules = schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten();
    for rule in rules.filter_map(|rule| rule["rule"].as_str()) {
        if in_list && rule.contains("oldSelf") {
            found.push(format!("{path}: {rule}"));
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        uncorrelatable(&format!("{path}.{name}"), property, in_list, found);
    }
    if schema["items"].is_object() {
        let is_map = schema["x-kubernetes-list-type"] == "map";
        uncorrelatable(&format!("{path}[]"), &schema["items"], in_list || !is_map, found);
    }
}

#[test]
fn rules_that_compare_with_before_stand_only_where_kubernetes_can() {
    let mut found = Vec::new();
    for definition in serde_json::to_value(definitions()).unwrap().as_array().unwrap() {
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap();
        uncorrelatable(kind, schema, false, &mut found);
    }
    assert!(found.is_empty(), "{found:#?}");
}
