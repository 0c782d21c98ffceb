use serde_json::json;

use super::*;

const URL: &str = "https://a.example/api/v2";

fn values() -> Value {
    let endpoints = json!([{"url": URL, "apiKeySecretRef": {"name": "toncenter", "key": "api-key"}}, "https://b.example/api/v2"]);
    json!({"ton": {"networks": [{"name": "mainnet", "globalId": -239, "endpoints": endpoints}]}})
}

/// What is rendered with this endpoint in the networks file, and this volume of keys at `/keys`.
fn rendered(endpoint: &Value, volume: &Value) -> Rendered {
    let networks = json!({"networks": [{"endpoints": [endpoint, "https://b.example/api/v2"]}]}).to_string();
    let map = json!({"kind": "ConfigMap", "data": {"networks.yaml": networks}});
    let mounts = json!([{"name": "keys", "mountPath": "/keys", "readOnly": true}]);
    let pod = json!({"containers": [{"volumeMounts": mounts}], "volumes": [volume]});
    let deployment = json!({"kind": "Deployment", "spec": {"template": {"spec": pod}}});
    Rendered::parse(format!("{map}\n---\n{deployment}\n")).unwrap()
}

fn endpoint() -> Value {
    json!({"url": URL, "apiKeyFile": "/keys/mainnet/0"})
}

fn volume(secret: &str, key: &str, path: &str) -> Value {
    let secret = json!({"name": secret, "items": [{"key": key, "path": path}]});
    json!({"name": "keys", "projected": {"sources": [{"secret": secret}]}})
}

#[test]
fn a_key_that_is_a_file_of_its_secret_is_accepted() {
    rendered(&endpoint(), &volume("toncenter", "api-key", "mainnet/0"))
        .api_keys_are_files_of_the_secrets_in(&values())
        .unwrap();
}

#[test]
fn every_other_place_of_a_key_is_refused() {
    let right = volume("toncenter", "api-key", "mainnet/0");
    let mut optional = right.clone();
    optional["projected"]["sources"][0]["secret"]["optional"] = json!(true);
    let keyed = |field: &str| json!({"url": URL, "apiKeyFile": "/keys/mainnet/0", field: "a key"});
    for (endpoint, volume) in [
        (endpoint(), volume("other", "api-key", "mainnet/0")),
        (endpoint(), volume("toncenter", "other", "mainnet/0")),
        (endpoint(), volume("toncenter", "api-key", "mainnet/1")),
        (
            endpoint(),
            json!({"name": "keys", "configMap": {"name": "toncenter"}}),
        ),
        (endpoint(), optional),
        (json!(URL), right.clone()),
        (json!({"url": URL, "apiKey": "a key"}), right.clone()),
        (keyed("apiKey"), right),
    ] {
        let rendered = rendered(&endpoint, &volume);
        let error = rendered.api_keys_are_files_of_the_secrets_in(&values());
        assert!(error.is_err(), "{endpoint} {volume}");
    }
}
