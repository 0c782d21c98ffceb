//! An OCI image layout in one archive, read with every digest and size compared.
//!
//! Source: OCI image format specification 1.1, "image layout".

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use flate2::read::GzDecoder;
use serde_json::Value;

use crate::image::Architecture;
use crate::image::oci::{self, sha256};

/// A layout that names one manifest, or one index of several.
#[derive(Debug)]
pub(super) struct Layout {
    /// The digest of what it names.
    pub(super) digest: String,
    /// The descriptor of what it names.
    descriptor: Value,
    /// The manifests, and how their index describes each.
    manifests: Vec<(Value, Value)>,
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
        let named: Value =
            serde_json::from_slice(described(&blobs, &descriptor)?).context("read what index.json names")?;
        let manifests = if descriptor["mediaType"] == oci::INDEX {
            let several = named["manifests"]
                .as_array()
                .context("the index has no manifests")?;
            several
                .iter()
                .map(|descriptor| {
                    let manifest = described(&blobs, descriptor)?;
                    let manifest = serde_json::from_slice(manifest).context("read a manifest")?;
                    Ok((descriptor.clone(), manifest))
                })
                .collect::<Result<_>>()?
        } else {
            vec![(descriptor.clone(), named)]
        };
        let layout = Self {
            digest,
            descriptor,
            manifests,
            blobs,
        };
        for (_, manifest) in &layout.manifests {
            described(&layout.blobs, &manifest["config"]).context("read the configuration")?;
            layout.layers_of(manifest)?;
        }
        Ok(layout)
    }

    /// The layers of a manifest, from the bottom up, as they are stored.
    fn layers_of(&self, manifest: &Value) -> Result<Vec<&[u8]>> {
        let layers = manifest["layers"]
            .as_array()
            .context("the manifest has no layers")?;
        layers.iter().map(|layer| described(&self.blobs, layer)).collect()
    }

    /// The one manifest of what is for every processor.
    fn only(&self) -> Result<&Value> {
        match &self.manifests[..] {
            [(_, manifest)] => Ok(manifest),
            several => bail!("it has {} manifests", several.len()),
        }
    }

    /// The layers of the one manifest.
    pub(super) fn layers(&self) -> Result<Vec<&[u8]>> {
        self.layers_of(self.only()?)
    }

    pub(super) fn config_type(&self) -> Result<&str> {
        self.only()?["config"]["mediaType"]
            .as_str()
            .context("the configuration has no type")
    }

    /// Type of the first layer.
    pub(super) fn layer_type(&self) -> Result<&str> {
        self.only()?["layers"][0]["mediaType"]
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

    /// Fails unless it is an image of this name for these processors, in order, whose layers are those of its
    /// configurations.
    pub(super) fn is_image(&self, reference: &str, architectures: &[Architecture]) -> Result<()> {
        let name = &self.descriptor["annotations"]["io.containerd.image.name"];
        ensure!(name == reference, "it is named {name}, not {reference}");
        ensure!(
            self.tag()
                .is_some_and(|tag| reference.ends_with(&format!(":{tag}"))),
            "its tag is {:?}",
            self.tag()
        );
        ensure!(
            self.manifests.len() == architectures.len(),
            "it is for {} processors, and {} are released",
            self.manifests.len(),
            architectures.len()
        );
        for ((descriptor, manifest), architecture) in self.manifests.iter().zip(architectures) {
            let platform = &descriptor["platform"];
            let config = self.config_of(manifest)?;
            for (what, found) in [("described", platform), ("configured", &config)] {
                ensure!(
                    found["architecture"] == architecture.name() && found["os"] == "linux",
                    "it is {what} for {} on {}, not {}",
                    found["os"],
                    found["architecture"],
                    architecture.name()
                );
            }
            let mut unpacked = Vec::new();
            for content in self.unpacked(manifest)? {
                unpacked.push(Value::from(format!("sha256:{}", sha256(&content))));
            }
            let named = &config["rootfs"]["diff_ids"];
            ensure!(
                *named == Value::from(unpacked),
                "its layers are not those that the configuration names"
            );
        }
        Ok(())
    }

    fn config_of(&self, manifest: &Value) -> Result<Value> {
        serde_json::from_slice(described(&self.blobs, &manifest["config"])?).context("read the configuration")
    }

    /// The layers of a manifest as archives, decompressed.
    fn unpacked(&self, manifest: &Value) -> Result<Vec<Vec<u8>>> {
        let decompress = |layer: &[u8]| {
            let mut content = Vec::new();
            GzDecoder::new(layer)
                .read_to_end(&mut content)
                .context("decompress a layer")?;
            Ok(content)
        };
        self.layers_of(manifest)?.into_iter().map(decompress).collect()
    }

    /// Unpacks the image's files for a processor into `folder`, and answers the program that it starts.
    pub(super) fn unpack(&self, architecture: Architecture, folder: &Path) -> Result<PathBuf> {
        for (_, manifest) in &self.manifests {
            let config = self.config_of(manifest)?;
            if config["architecture"] != architecture.name() {
                continue;
            }
            for archive in self.unpacked(manifest)? {
                tar::Archive::new(archive.as_slice())
                    .unpack(folder)
                    .context("unpack a layer")?;
            }
            let program = config["config"]["Entrypoint"][0]
                .as_str()
                .context("the image starts nothing")?;
            return Ok(folder.join(program.trim_start_matches('/')));
        }
        bail!("it has no image for {}", architecture.name())
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
