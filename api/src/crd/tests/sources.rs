//! Where a model may come from.

use super::*;

fn refusal(source: &Value) -> Option<String> {
    let mut source = source.clone();
    source["sha256"] = json!("ab".repeat(32));
    let provider = json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "CocoonProvider", "metadata": {"name": "p"},
        "spec": {
            "backend": "CPU", "paused": false, "replicas": 1,
            "models": [{
                "name": "m", "source": source, "gpusPerReplica": 0, "minReplicas": 0, "maxReplicas": 1,
                "price": {"prompt": 1, "cachedPrompt": 1, "completion": 1, "reasoning": 1},
            }],
            "payout": {"network": "n", "address": "a", "walletSecretRef": {"name": "w"}},
        },
    });
    validate_cel_schema::<CocoonProvider>(&provider, None)
        .err()
        .map(|error| format!("{error:?}"))
}

#[test]
fn a_model_comes_from_exactly_one_place() {
    let (path, pvc, url) = (
        "/m.gguf",
        json!({"claimName": "c", "path": "m"}),
        "https://host/m.gguf",
    );
    for source in [
        json!({"hostPath": path}),
        json!({"pvc": pvc}),
        json!({"url": url}),
        json!({"url": url, "headersFrom": {"name": "hub"}}),
        json!({"url": url, "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}}}),
    ] {
        assert_eq!(refusal(&source), None, "{source}");
    }
    for source in [
        json!({}),
        json!({"hostPath": path, "url": url}),
        json!({"pvc": pvc, "url": url}),
        json!({"hostPath": path, "pvc": pvc, "url": url}),
    ] {
        let refusal = refusal(&source).expect("refused");
        assert!(
            refusal.contains("exactly one of hostPath, pvc and url"),
            "{refusal}"
        );
    }
    for (field, value, words) in [
        ("headersFrom", json!({"name": "hub"}), "headersFrom is for a url"),
        ("resources", json!({}), "those of agents are in pod.resources"),
    ] {
        let refusal = refusal(&json!({"hostPath": path, field: value})).expect("refused");
        assert!(refusal.contains(words), "{refusal}");
    }
}

#[test]
fn an_address_with_a_user_or_password_is_refused_with_what_to_do() {
    for url in ["https://user:word@host/m", "http://token@host/m", "https://a:b@"] {
        let refusal = refusal(&json!({ "url": url })).expect("refused");
        assert!(refusal.contains("headersFrom"), "{url}: {refusal}");
    }
    for url in [
        "https://host/m@1.gguf",
        "http://10.0.0.1:81/m?x=a@b",
        "https://[fd00::1]/m",
    ] {
        assert_eq!(refusal(&json!({ "url": url })), None, "{url}");
    }
}

#[test]
fn only_addresses_of_the_web_are_taken() {
    let schema = serde_json::to_value(schemars::schema_for!(provider::ModelSource)).expect("a schema");
    let pattern = schema["properties"]["url"]["pattern"]
        .as_str()
        .expect("a pattern");
    assert_eq!(pattern, r"^https?://[^\s/?#]+[^\s#]*$");
}
