//! An OCI image layout in one archive, read with every digest and size compared.
//!
//! Source: OCI image format specification 1.1, "image layout".

use std::collections::BTreeMap;
use std::io::Read as _;

use anyhow::{Context as _, Result, ensure};
use flate2::read::GzDecoder;
use serde_json::Value;

use crate::image::oci::{self, sha256};
use crate::release::identity::ARCHITECTURE;

/// A layout of one manifest.
#[derive(Debug)]
pub(super) struct Layout {
    /// The manifest's digest.
    pub(super) digest: String,
    /// The index's descriptor of the manifest.
    descriptor: Value,
    manifest: Value,
    /// Every blob by its digest.
    blobs: BTreeMap<String, Vec<u8>>,
}

impl Layout {
    /// Reads the archive. Fails on a blob that is not what its name and its descriptor say.
    pub(super) fn read(archive: &[u8]) -> Result<Self> {
        let mut index = None;
        let mut blobs = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().context("read the archive")? {
            let mut entry = entry.context("read the archive")?;
            let path = entry
                .path()
                .context("read a name")?
                .to_string_lossy()
                .into_owned();
            let mut content = Vec::new();
            entry
                .read_to_end(&mut content)
                .with_context(|| format!("read {path}"))?;
            if path == "index.json" {
                index = Some(content);
            } else if let Some(name) = path.strip_prefix("blobs/sha256/").filter(|name| !name.is_empty()) {
                let found = sha256(&content);
                ensure!(found == name, "blob {name} has sha256 {found}");
                blobs.insert(format!("sha256:{name}"), content);
            }
        }
        let index: Value =
            serde_json::from_slice(&index.context("it has no index.json")?).context("read index.json")?;
        ensure!(
            index["mediaType"] == oci::INDEX,
            "index.json is {}",
            index["mediaType"]
        );
        let manifests = index["manifests"].as_array().map_or(0, Vec::len);
        ensure!(manifests == 1, "index.json names {manifests} manifests");
        let descriptor = index["manifests"][0].clone();
        let digest = descriptor["digest"]
            .as_str()
            .context("the manifest has no digest")?
            .to_owned();
        let manifest =
            serde_json::from_slice(described(&blobs, &descriptor)?).context("read the manifest")?;
        let layout = Self {
            digest,
            descriptor,
            manifest,
            blobs,
        };
        described(&layout.blobs, &layout.manifest["config"]).context("read the configuration")?;
        layout.layers()?;
        Ok(layout)
    }

    /// The layers, from the bottom up, as they are stored.
    pub(super) fn layers(&self) -> Result<Vec<&[u8]>> {
        let layers = self.manifest["layers"]
            .as_array()
            .context("the manifest has no layers")?;
        layers.iter().map(|layer| described(&self.blobs, layer)).collect()
    }

    pub(super) fn config_type(&self) -> Result<&str> {
        self.manifest["config"]["mediaType"]
            .as_str()
            .context("the configuration has no type")
    }

    /// Type of the first layer.
    pub(super) fn layer_type(&self) -> Result<&str> {
        self.manifest["layers"][0]["mediaType"]
            .as_str()
            .context("the layer has no type")
    }

    /// A blob by its digest.
    pub(super) fn blob(&self, digest: &str) -> Option<&[u8]> {
        self.blobs.get(digest).map(Vec::as_slice)
    }

    /// The tag by which the index names its manifest.
    pub(super) fn tag(&self) -> Option<&str> {
        self.descriptor["annotations"]["org.opencontainers.image.ref.name"].as_str()
    }

    /// Fails unless it is an image of this name for this release's architecture, whose layers are those of its
    /// configuration.
    pub(super) fn is_image(&self, reference: &str) -> Result<()> {
        let name = &self.descriptor["annotations"]["io.containerd.image.name"];
        ensure!(name == reference, "it is named {name}, not {reference}");
        ensure!(
            self.tag()
                .is_some_and(|tag| reference.ends_with(&format!(":{tag}"))),
            "its tag is {:?}",
            self.tag()
        );
        let config: Value = serde_json::from_slice(described(&self.blobs, &self.manifest["config"])?)
            .context("read the configuration")?;
        ensure!(
            config["architecture"] == ARCHITECTURE && config["os"] == "linux",
            "it is for {} on {}",
            config["os"],
            config["architecture"]
        );
        let mut unpacked = Vec::new();
        for layer in self.layers()? {
            let mut content = Vec::new();
            GzDecoder::new(layer)
                .read_to_end(&mut content)
                .context("decompress a layer")?;
            unpacked.push(Value::from(format!("sha256:{}", sha256(&content))));
        }
        let named = &config["rootfs"]["diff_ids"];
        ensure!(
            *named == Value::from(unpacked),
            "its layers are not those that the configuration names"
        );
        Ok(())
    }
}

/// The blob that a descriptor names, whose size it must have.
fn described<'a>(blobs: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> Result<&'a [u8]> {
    let digest = descriptor["digest"]
        .as_str()
        .context("a descriptor has no digest")?;
    let blob = blobs
        .get(digest)
        .with_context(|| format!("blob {digest} is missing"))?;
    ensure!(
        descriptor["size"] == blob.len(),
        "blob {digest} has {} bytes, and its descriptor says {}",
        blob.len(),
        descriptor["size"]
    );
    Ok(blob)
}
