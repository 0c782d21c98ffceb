//! The API keys of TON endpoints: each is a file from the Secret that the values name, and stands nowhere in what is
//! rendered.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::Rendered;

/// An endpoint's URL, and where its key is: the Secret's name and the key within it.
type Keyed = (String, String, String);

impl Rendered {
    /// Every endpoint for which the values name a Secret is one whose key lies in a file of the operator, which a
    /// volume takes from just that Secret; the other endpoints have none.
    pub(in crate::chart) fn api_keys_are_files_of_the_secrets_in(&self, values: &Value) -> Result<()> {
        let (wanted, found) = (wanted(values)?, self.keyed_endpoints()?);
        ensure!(
            found == wanted,
            "the operator gets the keys of {found:?}, and the values name {wanted:?}"
        );
        Ok(())
    }

    /// What the networks file and the operator's volumes come to.
    fn keyed_endpoints(&self) -> Result<BTreeSet<Keyed>> {
        let text = self
            .of_kind("ConfigMap")
            .find_map(|map| map["data"]["networks.yaml"].as_str())
            .context("find networks.yaml in a ConfigMap")?;
        let file: Value = serde_saphyr::from_str(text).context("read networks.yaml as YAML")?;
        let pod = self
            .of_kind("Deployment")
            .next()
            .map(|deployment| &deployment["spec"]["template"]["spec"])
            .context("find the operator's Deployment")?;
        let mut keyed = BTreeSet::new();
        for endpoint in endpoints(&file["networks"]) {
            let Some(fields) = endpoint.as_object() else {
                continue;
            };
            let (Some(url), Some(path), 2) = (
                endpoint["url"].as_str(),
                endpoint["apiKeyFile"].as_str(),
                fields.len(),
            ) else {
                bail!("an endpoint of the networks file is {endpoint}");
            };
            let (secret, key) = source(pod, path).with_context(|| format!("find what mounts {path}"))?;
            keyed.insert((url.to_owned(), secret, key));
        }
        Ok(keyed)
    }
}

/// The endpoints of a list of networks.
fn endpoints(networks: &Value) -> impl Iterator<Item = &Value> {
    let networks = networks.as_array().into_iter().flatten();
    networks.flat_map(|network| network["endpoints"].as_array().into_iter().flatten())
}

/// What the values ask for; none where they name no networks.
fn wanted(values: &Value) -> Result<BTreeSet<Keyed>> {
    let keyed = endpoints(&values["ton"]["networks"]).filter(|endpoint| endpoint.is_object());
    keyed
        .map(|endpoint| {
            let text = |path: &str| {
                let value = endpoint.pointer(path).and_then(Value::as_str);
                value
                    .map(str::to_owned)
                    .with_context(|| format!("find {path} in {endpoint}"))
            };
            Ok((
                text("/url")?,
                text("/apiKeySecretRef/name")?,
                text("/apiKeySecretRef/key")?,
            ))
        })
        .collect()
}

/// The Secret, and the key within it, that a pod's container sees at this path, and cannot write to.
fn source(pod: &Value, path: &str) -> Result<(String, String)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let path = Path::new(path);
    for mount in list(&pod["containers"][0]["volumeMounts"]) {
        let folder = mount["mountPath"].as_str().unwrap_or_default();
        let Ok(below) = path.strip_prefix(folder) else {
            continue;
        };
        ensure!(mount["readOnly"] == true, "{folder} can be written to");
        let volumes = list(&pod["volumes"]);
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
        let projected = &volume.context("find the volume of the mount")?["projected"];
        for secret in list(&projected["sources"]).iter().map(|source| &source["secret"]) {
            ensure!(
                secret["optional"] != true,
                "the operator starts without {}",
                secret["name"]
            );
            let items = list(&secret["items"]);
            let item = items
                .iter()
                .find(|item| item["path"].as_str().map(Path::new) == Some(below));
            if let (Some(item), Some(name)) = (item, secret["name"].as_str()) {
                return Ok((
                    name.to_owned(),
                    item["key"].as_str().unwrap_or_default().to_owned(),
                ));
            }
        }
    }
    bail!("no volume of a Secret brings it")
}

#[cfg(test)]
mod tests;
