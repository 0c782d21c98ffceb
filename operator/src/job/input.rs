//! Reads a job's input, when it is accepted and when it is dispatched, and never between.

use cocoon_api::{
    crd::{InferenceJob, KeyReference},
    json::Payload,
    names::{INPUT_LABEL, INPUT_LABEL_VALUE, is_object_name},
};
use cocoon_core::job::{
    input::{self, Requests},
    validate::InputFault,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, ResourceExt as _};

use super::context::Jobs;
use crate::error::{KubeContext as _, Result};

/// The requests of a job. The stored job is asked for `inline` ones where it was not read just before: those in memory
/// have none.
pub(super) async fn read(
    job: &InferenceJob,
    inline: Option<Vec<Payload>>,
    jobs: &Jobs,
) -> Result<Result<Requests, InputFault>> {
    let namespace = job.namespace().unwrap_or_default();
    let client = jobs.ctx.client.clone();
    if let Some(reference) = &job.spec.input.config_map_ref {
        let found = if is_object_name(&reference.name) {
            Api::<ConfigMap>::namespaced(client, &namespace)
                .get_opt(&reference.name)
                .await
                .attempt("read ConfigMap", &reference.name)?
        } else {
            None
        };
        return Ok(
            of_config_map(found, reference).and_then(|bytes| parse(job, &bytes, "ConfigMap", reference))
        );
    }
    if let Some(reference) = &job.spec.input.secret_ref {
        let found = if is_object_name(&reference.name) {
            Api::<Secret>::namespaced(client, &namespace)
                .get_opt(&reference.name)
                .await
                .attempt("read Secret", &reference.name)?
        } else {
            None
        };
        return Ok(of_secret(found, reference).and_then(|bytes| parse(job, &bytes, "Secret", reference)));
    }
    let name = job.name_any();
    let bodies = match inline {
        Some(bodies) => Some(bodies),
        None => jobs
            .api(job)
            .get_opt(&name)
            .await
            .attempt("read InferenceJob", &name)?
            .filter(|found| found.metadata.uid == job.metadata.uid)
            .and_then(|found| found.spec.input.inline),
    };
    Ok(match bodies {
        Some(bodies) => input::inline(bodies).map_err(InputFault::Wrong),
        None => Err(InputFault::Missing {
            source_name: "spec.input.inline".to_owned(),
        }),
    })
}

fn source_name(kind: &str, reference: &KeyReference) -> String {
    format!("{kind} {} key {}", reference.name, reference.key)
}

fn parse(
    job: &InferenceJob,
    bytes: &[u8],
    kind: &str,
    reference: &KeyReference,
) -> Result<Requests, InputFault> {
    input::batch(bytes, &source_name(kind, reference), job.spec.endpoint).map_err(InputFault::Wrong)
}

/// The key may be among the texts or among the bytes, where `kubectl create configmap --from-file` puts what is no
/// UTF-8.
fn of_config_map(found: Option<ConfigMap>, reference: &KeyReference) -> Result<Vec<u8>, InputFault> {
    let map = found.unwrap_or_default();
    let text = map.data.unwrap_or_default().remove(&reference.key);
    let bytes = || map.binary_data.unwrap_or_default().remove(&reference.key);
    text.map(String::into_bytes)
        .or_else(|| bytes().map(|bytes| bytes.0))
        .ok_or_else(|| InputFault::Missing {
            source_name: source_name("ConfigMap", reference),
        })
}

/// A Secret is read only where its owner allows it: whoever may make jobs need not be allowed to read Secrets.
fn of_secret(found: Option<Secret>, reference: &KeyReference) -> Result<Vec<u8>, InputFault> {
    let source_name = || source_name("Secret", reference);
    let missing = || InputFault::Missing {
        source_name: source_name(),
    };
    let secret = found.ok_or_else(missing)?;
    if secret.labels().get(INPUT_LABEL).map(String::as_str) != Some(INPUT_LABEL_VALUE) {
        return Err(InputFault::Unmarked {
            source_name: source_name(),
        });
    }
    let data = secret.data.unwrap_or_default().remove(&reference.key);
    data.map(|value| value.0).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(labels: &serde_json::Value) -> Secret {
        serde_json::from_value(
            json!({"metadata": {"name": "wallet", "labels": labels}, "data": {"key": "Y2FuYXJ5"}}),
        )
        .unwrap()
    }

    #[test]
    fn a_config_map_is_read_from_its_texts_and_from_its_bytes() {
        let map = || -> ConfigMap {
            let value = json!({"data": {"text": "a"}, "binaryData": {"bytes": "/w=="}});
            serde_json::from_value(value).unwrap()
        };
        let read = |key| of_config_map(Some(map()), &reference(key));
        assert_eq!(read("text").unwrap(), b"a");
        assert_eq!(read("bytes").unwrap(), b"\xff");
        assert!(matches!(read("other"), Err(InputFault::Missing { .. })));
        assert!(matches!(
            of_config_map(None, &reference("text")),
            Err(InputFault::Missing { .. })
        ));
    }

    fn reference(key: &str) -> KeyReference {
        KeyReference {
            name: "wallet".into(),
            key: key.into(),
        }
    }

    #[test]
    fn a_secret_is_read_only_with_its_owners_consent() {
        for labels in [
            json!({}),
            json!({"cocoon.farm/input": "false"}),
            json!({"cocoon.farm/inputs": "true"}),
        ] {
            let refused = of_secret(Some(secret(&labels)), &reference("key")).unwrap_err();
            assert!(matches!(refused, InputFault::Unmarked { .. }));
            let said = refused.to_string();
            assert!(
                said.contains("cocoon.farm/input=true") && !said.contains("canary"),
                "{said}"
            );
        }
        let marked = json!({"cocoon.farm/input": "true"});
        assert_eq!(
            of_secret(Some(secret(&marked)), &reference("key")).unwrap(),
            b"canary"
        );
        let other = of_secret(Some(secret(&marked)), &reference("other"));
        assert!(matches!(other, Err(InputFault::Missing { .. })));
        // Whether a Secret without the label has a key is not told either.
        let unmarked = of_secret(Some(secret(&json!({}))), &reference("other"));
        assert!(matches!(unmarked, Err(InputFault::Unmarked { .. })));
    }
}
