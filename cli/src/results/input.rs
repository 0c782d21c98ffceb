//! The bodies of a job's input, byte by byte: each receipt names the digest of the one that it answers.

use std::collections::BTreeMap;

use anyhow::Result;
use cocoon_api::{
    agent::{Endpoint, RequestItem},
    crd::InferenceJob,
    json::Payload,
    receipt::Sha256Digest,
};
use cocoon_core::job::input::batch;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;

use crate::kubernetes::{Asked as _, Cluster};

/// Digests of the bodies by index; none where the input is gone.
pub async fn digests(job: &InferenceJob, cluster: &Cluster) -> Result<BTreeMap<u32, Sha256Digest>> {
    let input = &job.spec.input;
    if let Some(bodies) = &input.inline {
        return Ok((0..).zip(bodies.iter().map(Payload::digest)).collect());
    }
    let bytes = if let Some(reference) = &input.secret_ref {
        let found = cluster.api::<Secret>().get_opt(&reference.name).await;
        let found = found.asked(|| format!("read Secret {}", reference.name))?;
        let data = found.and_then(|secret| secret.data.unwrap_or_default().remove(&reference.key));
        data.map(|value| value.0)
    } else if let Some(reference) = &input.config_map_ref {
        let maps: Api<ConfigMap> = cluster.api();
        let found = maps.get_opt(&reference.name).await;
        let found = found.asked(|| format!("read ConfigMap {}", reference.name))?;
        found.and_then(|map| of_config_map(map, &reference.key))
    } else {
        None
    };
    Ok(bytes
        .map(|bytes| of_lines(&bytes, job.spec.endpoint))
        .unwrap_or_default())
}

/// The key may be among the texts or among the bytes, as the operator reads it.
fn of_config_map(map: ConfigMap, key: &str) -> Option<Vec<u8>> {
    let text = map.data.unwrap_or_default().remove(key);
    let bytes = || map.binary_data.unwrap_or_default().remove(key);
    text.map(String::into_bytes)
        .or_else(|| bytes().map(|bytes| bytes.0))
}

/// What the operator would not accept is no input of the job, or no longer.
fn of_lines(bytes: &[u8], endpoint: Endpoint) -> BTreeMap<u32, Sha256Digest> {
    let items = batch(bytes, "", endpoint).map(|requests| requests.items);
    let digest = |item: RequestItem| (item.index, item.body.digest());
    items.unwrap_or_default().into_iter().map(digest).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATH: Endpoint = Endpoint::Completions;

    #[test]
    fn a_body_is_digested_as_it_is_written() {
        let lines = b"{\"custom_id\":\"a\",\"body\":{ \"prompt\":\"x\"}}\n\n{\"body\":{}}\n";
        let digests = of_lines(lines, PATH);
        assert_eq!(digests[&0], Sha256Digest::of(b"{ \"prompt\":\"x\"}"));
        assert_eq!(digests[&1], Sha256Digest::of(b"{}"));
    }

    #[test]
    fn every_text_that_the_operator_reads_has_its_digests() {
        let plain = of_lines(b"{\"body\":{\"prompt\":\"x\"}}\n{\"body\":{}}", PATH);
        for text in [
            "\u{feff}{\"body\":{\"prompt\":\"x\"}}\n{\"body\":{}}\n",
            "{\"body\":{\"prompt\":\"x\"}}\r{\"body\":{}}\r",
            "{\"body\":{\"prompt\":\"x\"}}\r\n\u{feff}{\"body\":{}}\r",
        ] {
            assert_eq!(of_lines(text.as_bytes(), PATH), plain, "{text:?}");
        }
        assert_eq!(plain.len(), 2);
    }

    #[test]
    fn a_config_map_is_read_from_its_texts_and_from_its_bytes() {
        let map = || -> ConfigMap {
            let value = serde_json::json!({"data": {"text": "a"}, "binaryData": {"bytes": "/w=="}});
            serde_json::from_value(value).expect("a ConfigMap")
        };
        assert_eq!(of_config_map(map(), "text").as_deref(), Some(&b"a"[..]));
        assert_eq!(of_config_map(map(), "bytes").as_deref(), Some(&b"\xff"[..]));
        assert_eq!(of_config_map(map(), "other"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = of_lines(&bytes, PATH);
        }
    }
}
