//! `kubectl cocoon`: its archive, and the manifest by which krew installs it.
//!
//! Source: krew's developer guide, "Writing plugin manifests" and "Plugin naming".

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::identity::{ARCHITECTURE, Release};
use crate::image::layer::Layer;
use crate::image::{self, oci};
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

/// Builds the program, unless one is given, and answers its archive and its manifest.
pub(super) fn pack(release: &Release, given: Option<&Path>) -> Result<(Vec<u8>, Vec<u8>)> {
    let program = match given {
        Some(program) => program.to_owned(),
        None => image::build_binary(PROGRAM, PROGRAM)?,
    };
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    let mut files = Layer::default();
    files.file(PROGRAM, 0o755, read(&program)?);
    files.file("LICENSE", 0o644, read(&workspace::root().join("LICENSE"))?);
    let archive = oci::gzip(&files.to_tar()?).context("compress the plugin")?;
    let manifest = manifest(release, &oci::sha256(&archive));
    let yaml = serde_saphyr::to_string(&manifest).context("write the plugin's manifest as YAML")?;
    Ok((archive, yaml.into_bytes()))
}

fn manifest(release: &Release, sha256: &str) -> Value {
    json!({
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
            "platforms": [{
                "selector": {"matchLabels": {"os": "linux", "arch": ARCHITECTURE}},
                "uri": release.download(&release.archive(PROGRAM, "tar.gz")),
                "sha256": sha256,
                "files": [{"from": PROGRAM, "to": "."}, {"from": "LICENSE", "to": "."}],
                "bin": PROGRAM,
            }],
        },
    })
}

/// Fails unless the manifest is what krew takes, of this release, and of the archive with this digest.
pub(super) fn check(manifest: &str, release: &Release, sha256: &str) -> Result<()> {
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
    let Some([platform]) = spec["platforms"].as_array().map(Vec::as_slice) else {
        bail!("spec.platforms names other than the one platform that is released");
    };
    let selector = &platform["selector"]["matchLabels"];
    ensure!(
        *selector == json!({"os": "linux", "arch": ARCHITECTURE}),
        "the platform is selected by {selector}"
    );
    let uri = release.download(&release.archive(PROGRAM, "tar.gz"));
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
    ensure!(
        platform["bin"] == format!("kubectl-{name}"),
        "bin is {}",
        platform["bin"]
    );
    Ok(())
}
