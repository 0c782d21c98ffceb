//! Writes an image as an OCI image layout in one tar archive, byte for byte the same for the same image. An image for
//! several processors is an index of one image for each.
//!
//! Source: OCI image format specification 1.1, "image layout", "index", "manifest" and "configuration".

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::architecture::Architecture;
use super::debian::USER;
use super::layer::Layer;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const GZIP_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The creation time of every image: a real one would change the digest.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// Hex digits of the manifest's digest in a tag: 48 bits, so that two contents of one version never meet.
const TAG_DIGITS: usize = 12;

/// What goes into an image for one processor.
pub(crate) struct Image<'a> {
    pub(crate) architecture: Architecture,
    /// Reference without a tag.
    pub(crate) repository: String,
    /// Also the archive's file name, with `.tar`.
    pub(crate) title: &'a str,
    pub(crate) description: &'a str,
    pub(crate) version: &'a str,
    /// Absolute path of the program it runs.
    pub(crate) entrypoint: String,
    /// From the bottom up, each with a line for the image's history.
    pub(crate) layers: Vec<(&'a str, Layer)>,
}

/// A written image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Built {
    /// Name of the program in it.
    #[serde(skip)]
    pub(crate) title: String,
    /// Reference without a tag.
    pub(crate) name: String,
    /// `<version>-<first digits of the digest>` unless one was asked for.
    pub(crate) tag: String,
    /// `name:tag`, as a pod names it.
    #[serde(rename = "ref")]
    pub(crate) reference: String,
    /// Absolute path of the archive.
    pub(crate) file: PathBuf,
    /// The digest of the manifest, or of the index where there are several, `sha256:<hex>`.
    pub(crate) digest: String,
    /// The digest of each processor's manifest.
    #[serde(skip)]
    pub(crate) manifests: Vec<(Architecture, String)>,
    /// Bytes that a registry stores: manifests, configurations and compressed layers. A node downloads those of its own
    /// processor.
    pub(crate) compressed_bytes: u64,
    /// Bytes of the layers unpacked.
    pub(crate) uncompressed_bytes: u64,
}

/// A piece of content, stored by digest.
pub(crate) struct Blob {
    media_type: &'static str,
    /// Lower-case hex.
    pub(crate) sha256: String,
    content: Vec<u8>,
}

impl Blob {
    /// Content of this type.
    pub(crate) fn new(media_type: &'static str, content: Vec<u8>) -> Self {
        Self {
            media_type,
            sha256: sha256(&content),
            content,
        }
    }

    /// JSON of this type.
    pub(crate) fn json(media_type: &'static str, value: &Value) -> Result<Self> {
        Ok(Self::new(
            media_type,
            serde_json::to_vec(value).context("encode image metadata as JSON")?,
        ))
    }

    /// `sha256:<hex>`.
    pub(crate) fn digest(&self) -> String {
        format!("sha256:{}", self.sha256)
    }

    /// What others name it by.
    pub(crate) fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest(), "size": self.content.len() })
    }
}

/// Writes `images`, one program for each of some processors, into the folder `out`, tagged `tag` or else by their
/// version and content.
pub(crate) fn write(images: &[Image<'_>], tag: Option<&str>, out: &Path) -> Result<Built> {
    let first = images.first().context("an image is for at least one processor")?;
    let mut blobs = Vec::new();
    let mut uncompressed_bytes = 0;
    let mut descriptors = Vec::new();
    let mut manifests = Vec::new();
    for image in images {
        let (manifest, bytes) = pack(image, &mut blobs)?;
        uncompressed_bytes += bytes;
        manifests.push((image.architecture, manifest.digest()));
        descriptors.push(described(image, &manifest));
        blobs.push(manifest);
    }
    let mut named = match &descriptors[..] {
        [one] => one.clone(),
        several => {
            let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": several });
            let index = Blob::json(INDEX, &index)?;
            let descriptor = index.descriptor();
            blobs.push(index);
            descriptor
        }
    };
    let digest = named["digest"].as_str().unwrap_or_default().to_owned();
    let tag = tag.map_or_else(
        || {
            let hex = digest.trim_start_matches("sha256:");
            format!("{}-{}", first.version, &hex[..TAG_DIGITS])
        },
        str::to_owned,
    );
    let reference = format!("{}:{tag}", first.repository);
    // Twice: by containerd's annotation in full, by the specification's only with the tag.
    named["annotations"] =
        json!({ "io.containerd.image.name": reference, "org.opencontainers.image.ref.name": tag });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [named] });

    let compressed_bytes = blobs.iter().map(|blob| blob.content.len() as u64).sum();
    let file = out.join(format!("{}.tar", first.title));
    place(&file, &layout(blobs, &index)?)?;
    Ok(Built {
        title: first.title.to_owned(),
        name: first.repository.clone(),
        tag,
        reference,
        file,
        digest,
        manifests,
        compressed_bytes,
        uncompressed_bytes,
    })
}

/// Adds an image's layers and configuration to `blobs`, and answers its manifest and the bytes of its layers unpacked.
fn pack(image: &Image<'_>, blobs: &mut Vec<Blob>) -> Result<(Blob, u64)> {
    let mut diff_ids = Vec::new();
    let mut bytes = 0;
    let mut layers = Vec::new();
    for (what, layer) in &image.layers {
        let archive = layer.to_tar()?;
        diff_ids.push(format!("sha256:{}", sha256(&archive)));
        bytes += archive.len() as u64;
        let packed = gzip(&archive).with_context(|| format!("compress layer {what}"))?;
        let blob = Blob::new(GZIP_LAYER, packed);
        layers.push(blob.descriptor());
        blobs.push(blob);
    }
    let config = Blob::json(CONFIG, &config(image, &diff_ids))?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(), "layers": layers,
    });
    blobs.push(config);
    Ok((Blob::json(MANIFEST, &manifest)?, bytes))
}

/// How an index names an image's manifest.
fn described(image: &Image<'_>, manifest: &Blob) -> Value {
    let mut descriptor = manifest.descriptor();
    descriptor["platform"] = json!({ "architecture": image.architecture.name(), "os": "linux" });
    descriptor
}

fn config(image: &Image<'_>, diff_ids: &[String]) -> Value {
    let history: Vec<Value> = image
        .layers
        .iter()
        .map(|(what, _)| json!({ "created": CREATED, "created_by": what }))
        .collect();
    json!({
        "created": CREATED,
        "architecture": image.architecture.name(),
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "Env": ["PATH=/usr/bin"],
            "Entrypoint": [image.entrypoint],
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": image.title,
                "org.opencontainers.image.description": image.description,
                "org.opencontainers.image.version": image.version,
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": history,
    })
}

/// The archive: folders, blobs and the two files that say what it is, through the same writer as a layer.
pub(crate) fn layout(blobs: Vec<Blob>, index: &Value) -> Result<Vec<u8>> {
    let mut files = Layer::default();
    for blob in blobs {
        files.file(&format!("blobs/sha256/{}", blob.sha256), 0o644, blob.content);
    }
    files.file(
        "index.json",
        0o644,
        serde_json::to_vec(index).context("encode index.json")?,
    );
    files.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    files.to_tar()
}

/// Compresses with an empty header: no name, no time, unknown operating system.
pub(crate) fn gzip(content: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    encoder.finish()
}

/// Replaces `file` in one step, so that nobody reads half of one.
pub(crate) fn place(file: &Path, content: &[u8]) -> Result<()> {
    let folder = file
        .parent()
        .with_context(|| format!("{} has no parent folder", file.display()))?;
    let mut temporary = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .with_context(|| format!("create a temporary file in {}", folder.display()))?;
    temporary
        .write_all(content)
        .with_context(|| format!("write {}", file.display()))?;
    temporary
        .persist(file)
        .with_context(|| format!("move the finished file to {}", file.display()))?;
    Ok(())
}

/// Lower-case hex.
pub(crate) fn sha256(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}
