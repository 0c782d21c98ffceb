//! The chart: as Helm packs it, and as the OCI artifact that `helm push` would make of it.
//!
//! What differs from the checkout is `Chart.yaml` alone: it names the images that were made with it, by digest, and
//! what is new. Sources: Helm's "Chart archive" and "Use OCI-based registries", Artifact Hub's "Helm annotations".

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::git;
use super::identity::{CHART, CHART_NAME, Release};
use crate::codegen::annotations::annotation;
use crate::image::layer::Layer;
use crate::image::{Built, oci};
use crate::workspace;

/// Media types of a chart's parts in a registry.
pub(super) const CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
pub(super) const CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// The chart's own annotation of an image that it installs, by the image's name; its templates read them.
pub(super) fn image_annotation(name: &str) -> String {
    format!("cocoon.farm/{name}-image")
}

/// An image as a pod names it: whatever the tag comes to mean, the digest is what is run.
pub(super) fn pinned(image: &Built) -> String {
    format!("{}@{}", image.reference, image.digest)
}

/// The chart as `helm package` would pack it, byte for byte the same each time.
pub(super) fn package(release: &Release, images: &[Built]) -> Result<Vec<u8>> {
    let mut files = Layer::default();
    let ignored = read(&format!("{CHART}/.helmignore"))?;
    for path in git::tracked(CHART)? {
        let name = path.strip_prefix(CHART).unwrap_or(&path).trim_start_matches('/');
        if name.starts_with('.') || ignored.lines().any(|folder| name.starts_with(folder)) {
            continue;
        }
        let text = read(&path)?;
        let text = if name == "Chart.yaml" {
            describe(&text, release, images)?
        } else {
            text
        };
        files.file(&format!("{CHART_NAME}/{name}"), 0o644, text.into_bytes());
    }
    oci::gzip(&files.to_tar()?).context("compress the chart")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(workspace::root().join(path)).with_context(|| format!("read {path}"))
}

/// `Chart.yaml`, whose last entry is its annotations, with those that only a release has.
fn describe(chart: &str, release: &Release, images: &[Built]) -> Result<String> {
    let changes: Vec<Value> = release
        .changes
        .entries
        .iter()
        .map(|entry| json!({"kind": entry.kind, "description": entry.description}))
        .collect();
    let listed: Vec<Value> = images
        .iter()
        .map(|image| json!({"name": image.title, "image": pinned(image)}))
        .collect();
    let links = json!([
        {"name": "source", "url": release.page()},
        {"name": "changes", "url": format!("{}/releases/tag/{}", release.page(), release.tag())},
    ]);
    let mut text = chart.to_owned();
    for image in images {
        let (_, name) = image
            .name
            .rsplit_once('/')
            .context("an image lies in a registry")?;
        writeln!(text, "  {}: {:?}", image_annotation(name), pinned(image))?;
    }
    for (name, value) in [
        ("images", json!(listed)),
        ("changes", json!(changes)),
        ("links", links),
    ] {
        let yaml =
            serde_saphyr::to_string(&value).with_context(|| format!("write the chart's {name} as YAML"))?;
        text.push_str(&annotation(name, &yaml));
    }
    Ok(text)
}

/// The text files of a packed chart, by their paths in it.
pub(super) fn unpack(package: &[u8]) -> Result<BTreeMap<String, String>> {
    let mut archive = tar::Archive::new(GzDecoder::new(package));
    let mut files = BTreeMap::new();
    for entry in archive.entries().context("read the chart's package")? {
        let mut entry = entry.context("read the chart's package")?;
        let path = entry.path().context("read a name in the chart's package")?;
        let path = path.to_string_lossy().into_owned();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text)
            .with_context(|| format!("read {path} in the chart's package"))?;
        files.insert(path, text);
    }
    Ok(files)
}

/// The package as an image layout in one archive: configuration, content, and what registries show.
pub(super) fn artifact(package: &[u8]) -> Result<Vec<u8>> {
    let files = unpack(package)?;
    let chart = &files[&format!("{CHART_NAME}/Chart.yaml")];
    let chart: Value = serde_saphyr::from_str(chart).context("read Chart.yaml as YAML")?;
    let text = |field: &str| {
        chart[field]
            .as_str()
            .with_context(|| format!("read {field} in Chart.yaml"))
    };
    let (name, version) = (text("name")?, text("version")?);
    ensure!(name == CHART_NAME, "the chart is called {name}, not {CHART_NAME}");
    let config = oci::Blob::json(CONFIG, &chart)?;
    let content = oci::Blob::new(CONTENT, package.to_vec());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": oci::MANIFEST,
        "config": config.descriptor(),
        "layers": [content.descriptor()],
        "annotations": {
            "org.opencontainers.image.title": name,
            "org.opencontainers.image.version": version,
            "org.opencontainers.image.description": text("description")?,
            "org.opencontainers.image.licenses": "Apache-2.0",
        },
    });
    let manifest = oci::Blob::json(oci::MANIFEST, &manifest)?;
    let mut descriptor = manifest.descriptor();
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": version});
    let index = json!({"schemaVersion": 2, "mediaType": oci::INDEX, "manifests": [descriptor]});
    oci::layout(vec![config, content, manifest], &index)
}
