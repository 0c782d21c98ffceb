//! `kubectl cocoon`: its archive, and the manifest by which krew installs it.
//!
//! Source: krew's developer guide, "Writing plugin manifests" and "Plugin naming".

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::identity::Release;
use crate::image::layer::Layer;
use crate::image::{self, Architecture, oci};
use crate::workspace;

/// Cargo package and program; kubectl finds it by this name.
pub(super) const PROGRAM: &str = "kubectl-cocoon";
/// krew's name of the plugin, and with `.yaml` the file that its index holds.
const NAME: &str = "cocoon";
pub(super) const MANIFEST: &str = "cocoon.yaml";
/// What krew calls the form of its manifests.
const API_VERSION: &str = "krew.googlecontainertools.github.com/v1alpha2";
/// Characters of a plugin's short description, beyond which krew's list wraps.
const SHORT: usize = 50;

/// Builds the program for a processor, unless one is given, and answers its archive.
pub(super) fn pack(architecture: Architecture, given: Option<&Path>) -> Result<Vec<u8>> {
    let program = match given {
        Some(program) => program.to_owned(),
        None => image::build_binary(PROGRAM, PROGRAM, architecture)?,
    };
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    let mut files = Layer::default();
    files.file(PROGRAM, 0o755, read(&program)?);
    files.file("LICENSE", 0o644, read(&workspace::root().join("LICENSE"))?);
    oci::gzip(&files.to_tar()?).context("compress the plugin")
}

/// The manifest of a release's archives, each of which has one of these digests.
pub(super) fn manifest(release: &Release, archives: &[(Architecture, String)]) -> Result<Vec<u8>> {
    let platforms: Vec<Value> = archives
        .iter()
        .map(|(architecture, sha256)| platform(release, *architecture, sha256))
        .collect();
    let manifest = json!({
        "apiVersion": API_VERSION,
        "kind": "Plugin",
        "metadata": {"name": NAME},
        "spec": {
            "version": release.tag(),
            "homepage": release.page(),
            "shortDescription": "Rent out GPUs and run jobs, paid in TON",
            "description": "Wallets, offers and channels of Cocoon on Kubernetes: makes a farm's wallet and offer, opens a payer's channel, \
                            submits jobs, checks the receipts of their results, and shows a farm at a glance.",
            "caveats": "Needs glibc 2.36 or newer, as Debian 12 has it, and the chart cocoon-farm in the cluster.",
            "platforms": platforms,
        },
    });
    let yaml = serde_saphyr::to_string(&manifest).context("write the plugin's manifest as YAML")?;
    Ok(yaml.into_bytes())
}

fn platform(release: &Release, architecture: Architecture, sha256: &str) -> Value {
    json!({
        "selector": {"matchLabels": {"os": "linux", "arch": architecture.name()}},
        "uri": release.download(&release.file(PROGRAM, architecture, "tar.gz")),
        "sha256": sha256,
        "files": [{"from": PROGRAM, "to": "."}, {"from": "LICENSE", "to": "."}],
        "bin": PROGRAM,
    })
}

/// Fails unless the manifest is what krew takes, of this release, and of the archives with these digests.
pub(super) fn check(manifest: &str, release: &Release, archives: &[(Architecture, String)]) -> Result<()> {
    let manifest: Value = serde_saphyr::from_str(manifest).context("read it as YAML")?;
    let spec = &manifest["spec"];
    let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
    for (what, found, wanted) in [
        ("apiVersion", &manifest["apiVersion"], API_VERSION),
        ("kind", &manifest["kind"], "Plugin"),
        ("metadata.name", &manifest["metadata"]["name"], NAME),
        ("spec.version", &spec["version"], &release.tag()),
        ("spec.homepage", &spec["homepage"], &release.page()),
    ] {
        ensure!(found == wanted, "{what} is {found}, not {wanted}");
    }
    let short = spec["shortDescription"].as_str().unwrap_or_default();
    ensure!(
        !short.is_empty() && short.len() <= SHORT && !short.ends_with('.'),
        "spec.shortDescription is empty, longer than {SHORT} characters, or ends with a full stop"
    );
    ensure!(!spec["description"].is_null(), "spec.description is missing");
    let platforms = spec["platforms"]
        .as_array()
        .context("spec.platforms is missing")?;
    ensure!(
        platforms.len() == archives.len(),
        "spec.platforms names {} platforms, and {} are released",
        platforms.len(),
        archives.len()
    );
    for (platform, (architecture, sha256)) in platforms.iter().zip(archives) {
        check_platform(platform, release, *architecture, sha256)?;
        ensure!(
            platform["bin"] == format!("kubectl-{name}"),
            "bin is {}",
            platform["bin"]
        );
    }
    Ok(())
}

fn check_platform(
    platform: &Value,
    release: &Release,
    architecture: Architecture,
    sha256: &str,
) -> Result<()> {
    let selector = &platform["selector"]["matchLabels"];
    ensure!(
        *selector == json!({"os": "linux", "arch": architecture.name()}),
        "the platform is selected by {selector}"
    );
    let uri = release.download(&release.file(PROGRAM, architecture, "tar.gz"));
    ensure!(
        platform["uri"] == uri.as_str(),
        "uri is {}, not {uri}",
        platform["uri"]
    );
    ensure!(
        platform["sha256"] == sha256,
        "sha256 is {}, and the archive's is {sha256}",
        platform["sha256"]
    );
    Ok(())
}
