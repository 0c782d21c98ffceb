//! Numbers: what the schema takes is what is read.

use super::*;

/// Every part of a schema that says something of a value, by path.
fn parts(path: &str, schema: &Value, found: &mut Vec<(String, Value)>) {
    found.push((path.to_owned(), schema.clone()));
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        parts(&format!("{path}.{name}"), property, found);
    }
    for below in ["items", "additionalProperties"] {
        if schema[below].is_object() {
            parts(&format!("{path}[]"), &schema[below], found);
        }
    }
}

fn all_parts(definitions: &[CustomResourceDefinition]) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for definition in serde_json::to_value(definitions).unwrap().as_array().unwrap() {
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        parts(kind, schema, &mut found);
    }
    found
}

fn provider(gpus: &Value, amounts: &Value) -> Value {
    json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "CocoonProvider", "metadata": {"name": "p"},
        "spec": {
            "backend": "CPU", "gpus": gpus,
            "models": [{
                "name": "m", "gpusPerReplica": 0,
                "source": {"url": "https://host/m", "sha256": "ab".repeat(32),
                           "resources": {"requests": amounts, "limits": amounts}},
                "pod": {"resources": {"requests": amounts, "limits": amounts}},
                "price": {"prompt": 1, "cachedPrompt": 1, "completion": 1, "reasoning": 1},
            }],
            "payout": {"network": "n", "address": "a", "walletSecretRef": {"name": "w"}},
        },
    })
}

#[test]
fn an_amount_is_a_number_or_a_text() {
    let known = [
        "gpus.minMemory",
        "models[].pod.resources.limits.cpu",
        "models[].pod.resources.limits.ephemeral-storage",
        "models[].pod.resources.limits.memory",
        "models[].pod.resources.requests.cpu",
        "models[].pod.resources.requests.ephemeral-storage",
        "models[].pod.resources.requests.memory",
        "models[].source.resources.limits.cpu",
        "models[].source.resources.limits.ephemeral-storage",
        "models[].source.resources.limits.memory",
        "models[].source.resources.requests.cpu",
        "models[].source.resources.requests.ephemeral-storage",
        "models[].source.resources.requests.memory",
    ]
    .map(|path| format!("CocoonProvider.spec.{path}"));
    let mut taken: Vec<String> = all_parts(&definitions())
        .into_iter()
        .filter(|(_, schema)| schema["x-kubernetes-int-or-string"] == true)
        .map(|(path, _)| path)
        .collect();
    taken.sort();
    assert_eq!(taken, known, "each of them is tried below");
    for (written, read) in [
        (json!(2), "2"),
        (json!("2"), "2"),
        (json!(17_179_869_184_u64), "17179869184"),
        (json!("500m"), "500m"),
    ] {
        let amounts = json!({"cpu": written, "memory": written, "ephemeral-storage": written});
        let document = provider(&json!({"minMemory": written}), &amounts);
        let provider: CocoonProvider = serde_json::from_value(document).unwrap();
        let model = provider.spec.models[0].clone();
        let (agent, download) = (
            model.pod.unwrap().resources.unwrap(),
            model.source.resources.unwrap(),
        );
        let mut found = vec![provider.spec.gpus.min_memory];
        for amounts in [agent.requests, agent.limits, download.requests, download.limits] {
            found.extend([amounts.cpu, amounts.memory, amounts.ephemeral_storage]);
        }
        let found: Vec<_> = found.iter().flatten().map(|amount| amount.0.as_str()).collect();
        assert_eq!(found, vec![read; 13], "{written}");
    }
}

#[test]
fn every_number_that_the_api_server_takes_can_be_read() {
    // As the types are.
    let types = [
        CocoonProvider::crd(),
        InferenceJob::crd(),
        PaymentChannel::crd(),
        Settlement::crd(),
    ];
    let definitions = definitions();
    let fields = all_parts(&types).into_iter().zip(all_parts(&definitions));
    let mut seen = 0;
    for ((path, of_type), (same, installed)) in fields {
        assert_eq!(path, same);
        let (least, most) = match of_type["format"].as_str() {
            Some("int32") => (f64::from(i32::MIN), f64::from(i32::MAX)),
            Some("uint8") => (0.0, f64::from(u8::MAX)),
            Some("uint16") => (0.0, f64::from(u16::MAX)),
            Some("uint32") => (0.0, f64::from(u32::MAX)),
            Some("uint64" | "uint") => (0.0, f64::INFINITY),
            _ => continue,
        };
        seen += 1;
        assert!(
            installed["minimum"].as_f64().is_some_and(|bound| bound >= least),
            "{path}: {installed}"
        );
        // The API server takes an int64 and no more, whatever is said.
        assert!(
            installed["maximum"].as_f64().unwrap_or(f64::INFINITY) <= most,
            "{path}: {installed}"
        );
    }
    assert!(seen > 40, "only {seen} numbers were found");
}
