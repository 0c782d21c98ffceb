//! The bodies of a job's input, byte by byte: each receipt names the digest of the one that it answers.

use std::collections::BTreeMap;

use anyhow::Result;
use cocoon_api::{
    crd::InferenceJob,
    json::{self, Payload},
    receipt::Sha256Digest,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use serde::Deserialize;

use crate::kubernetes::{Asked as _, Cluster};

/// The part of a line of batch JSONL that receipts are about.
#[derive(Deserialize)]
struct Line {
    body: Payload,
}

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
        let data = found.and_then(|map| map.data.unwrap_or_default().remove(&reference.key));
        data.map(String::into_bytes)
    } else {
        None
    };
    Ok(bytes.map(|bytes| of_lines(&bytes)).unwrap_or_default())
}

/// A line that cannot be read has no digest; the operator would not have accepted it.
fn of_lines(bytes: &[u8]) -> BTreeMap<u32, Sha256Digest> {
    let lines = bytes.split(|byte| *byte == b'\n');
    let requests = lines.filter(|line| !line.trim_ascii().is_empty());
    let digest = |(index, line)| Some((index, json::read::<Line>(line).ok()?.body.digest()));
    (0..).zip(requests).filter_map(digest).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_body_is_digested_as_it_is_written() {
        let digests = of_lines(b"{\"custom_id\":\"a\",\"body\":{ \"prompt\":\"x\"}}\n\n{\"body\":{}}\n");
        assert_eq!(digests[&0], Sha256Digest::of(b"{ \"prompt\":\"x\"}"));
        assert_eq!(digests[&1], Sha256Digest::of(b"{}"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = of_lines(&bytes);
        }
    }
}
