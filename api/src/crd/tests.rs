mod examples;
mod grants;
mod money;
mod numbers;
mod sources;

use kube::core::cel::validate_cel_schema;
use serde_json::{Value, json};

use super::*;

fn job(input: &Value, billing: &Value) -> Value {
    json!({"apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": "j"},
           "spec": {"model": "m", "endpoint": "/v1/completions", "input": input, "billing": billing,
                    "parallelism": 1, "suspend": false, "backoffLimit": 0, "parameters": {}}})
}

fn paid() -> Value {
    json!({"mode": "Channel", "channelRef": {"name": "c"}, "maxNano": 5})
}

#[test]
fn a_job_has_exactly_one_input() {
    let one = job(&json!({"inline": [{"prompt": "x"}]}), &paid());
    validate_cel_schema::<InferenceJob>(&one, None).unwrap();
    let both = job(
        &json!({"inline": [{"prompt": "x"}], "secretRef": {"name": "a", "key": "b"}}),
        &paid(),
    );
    let none = job(&json!({}), &paid());
    for wrong in [both, none] {
        let error = format!(
            "{:?}",
            validate_cel_schema::<InferenceJob>(&wrong, None).unwrap_err()
        );
        assert!(error.contains("exactly one of inline"), "{error}");
    }
}

#[test]
fn billing_names_a_channel_or_nothing() {
    let input = json!({"inline": [{"prompt": "x"}]});
    validate_cel_schema::<InferenceJob>(&job(&input, &json!({"mode": "Free"})), None).unwrap();
    for wrong in [json!({"mode": "Channel"}), json!({"mode": "Free", "maxNano": 5})] {
        assert!(validate_cel_schema::<InferenceJob>(&job(&input, &wrong), None).is_err());
    }
}

#[test]
fn a_budget_may_only_grow() {
    let with = |nano: u64| {
        job(
            &json!({"inline": [{"prompt": "x"}]}),
            &json!({"mode": "Channel", "channelRef": {"name": "c"}, "maxNano": nano}),
        )
    };
    validate_cel_schema::<InferenceJob>(&with(6), Some(&with(5))).unwrap();
    assert!(validate_cel_schema::<InferenceJob>(&with(4), Some(&with(5))).is_err());
}

#[test]
fn the_most_that_tokens_may_cost_is_part_of_what_was_asked() {
    let with = |max_prices: &Value| {
        let mut billing = paid();
        billing["maxPrices"] = max_prices.clone();
        job(&json!({"inline": [{"prompt": "x"}]}), &billing)
    };
    let five = with(&json!({"completion": 5}));
    validate_cel_schema::<InferenceJob>(&five, None).unwrap();
    validate_cel_schema::<InferenceJob>(&five, Some(&five)).unwrap();
    assert!(validate_cel_schema::<InferenceJob>(&with(&json!({"completion": 6})), Some(&five)).is_err());
    assert!(validate_cel_schema::<InferenceJob>(&with(&json!({})), None).is_err());
    let free = job(
        &json!({"inline": [{"prompt": "x"}]}),
        &json!({"mode": "Free", "maxPrices": {"prompt": 1}}),
    );
    assert!(validate_cel_schema::<InferenceJob>(&free, None).is_err());
}

#[test]
fn what_was_agreed_never_changes() {
    let with = |agreed: Option<u64>| {
        let mut job = job(&json!({"inline": [{"prompt": "x"}]}), &paid());
        job["status"] = json!({"metered": false});
        if let Some(price) = agreed {
            let prices = json!({"prompt": price, "cachedPrompt": 0, "completion": 0, "reasoning": 0});
            job["status"]["agreed"] = json!({"provider": "p", "modelSHA256": "00", "prices": prices,
                                             "terms": {"receiptVersion": 2}});
        }
        job
    };
    validate_cel_schema::<InferenceJob>(&with(Some(1)), Some(&with(None))).unwrap();
    validate_cel_schema::<InferenceJob>(&with(Some(1)), Some(&with(Some(1)))).unwrap();
    let changed_in = |field: &str, value: Value| {
        let mut job = with(Some(1));
        job["status"]["agreed"][field] = value;
        job
    };
    for changed in [
        with(Some(2)),
        with(None),
        changed_in("provider", json!("other/p")),
        changed_in("modelSHA256", json!("ff")),
        changed_in("terms", json!({"receiptVersion": 3})),
    ] {
        let error = validate_cel_schema::<InferenceJob>(&changed, Some(&with(Some(1)))).unwrap_err();
        assert!(
            format!("{error:?}").contains("what was agreed is immutable"),
            "{error:?}"
        );
    }
}

#[test]
fn schemas_use_only_formats_that_kubernetes_knows() {
    let text = serde_json::to_string(&definitions()).unwrap();
    assert!(
        !text.contains("\"uint"),
        "unsigned formats draw warnings from the API server"
    );
    assert_eq!(definitions().len(), 4);
}

/// The walk stops at objects whose content is Kubernetes' own.
fn undescribed(path: &str, schema: &Value, found: &mut Vec<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if property["description"].as_str().is_none_or(str::is_empty) {
            found.push(path.clone());
        }
        undescribed(&path, property, found);
        undescribed(&path, &property["items"], found);
    }
}

#[test]
fn every_field_is_explained() {
    let mut found = Vec::new();
    for definition in serde_json::to_value(definitions()).unwrap().as_array().unwrap() {
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        undescribed(
            definition["spec"]["names"]["kind"].as_str().unwrap(),
            schema,
            &mut found,
        );
    }
    found.retain(|path| {
        let last = path.rsplit('.').next();
        last != Some("spec") && last != Some("status")
    });
    assert!(found.is_empty(), "fields without a description: {found:#?}");
}
