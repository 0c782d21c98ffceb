//! What was made of what: an in-toto statement with SLSA provenance.
//!
//! It is not signed: it says what the program that made the release knows, and whoever publishes signs for it. Nothing
//! in it depends on the machine, so that the same commit gives the same statement.
//!
//! Sources: in-toto attestation framework 1.0, "Statement"; SLSA 1.0, "Provenance".

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::identity::{ARCHITECTURE, Release};
use super::sbom;
use crate::image::{self, Built, oci};
use crate::workspace;

/// Files of the checkout that pin everything which comes from elsewhere.
const LOCKS: [&str; 4] = [
    "Cargo.lock",
    "rust-toolchain.toml",
    "images/debian.yaml",
    "contracts/package-lock.json",
];

pub(super) const STATEMENT: &str = "https://in-toto.io/Statement/v1";
pub(super) const PREDICATE: &str = "https://slsa.dev/provenance/v1";

/// The statement about files, each with its sha256, and images.
pub(super) fn statement(release: &Release, images: &[Built], files: &[(String, String)]) -> Result<Vec<u8>> {
    let mut subjects: Vec<Value> = files
        .iter()
        .map(|(name, sha256)| json!({"name": name, "digest": {"sha256": sha256}}))
        .collect();
    for image in images {
        let digest = image.digest.trim_start_matches("sha256:");
        subjects.push(json!({"name": image.reference, "digest": {"sha256": digest}}));
    }
    let at_commit = |path: &str| format!("{}/blob/{}/{path}", release.page(), release.commit);
    let statement = json!({
        "_type": STATEMENT,
        "subject": subjects,
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": at_commit("docs/decisions/0019-releases.md"),
                "externalParameters": {
                    "command": "./x release",
                    "repository": release.repository,
                    "version": release.version,
                    "architectures": [ARCHITECTURE],
                },
                "resolvedDependencies": materials(release)?,
            },
            "runDetails": {"builder": {"id": at_commit("x")}},
        },
    });
    serde_json::to_vec_pretty(&statement).context("encode the provenance as JSON")
}

fn materials(release: &Release) -> Result<Vec<Value>> {
    let mut materials = vec![json!({
        "uri": format!("git+{}@refs/tags/{}", release.page(), release.tag()),
        "digest": {"gitCommit": release.commit},
    })];
    for path in LOCKS {
        let content = fs::read(workspace::root().join(path)).with_context(|| format!("read {path}"))?;
        materials.push(json!({"name": path, "digest": {"sha256": oci::sha256(&content)}}));
    }
    let pins = image::pins()?;
    for package in &pins.packages {
        materials.push(json!({
            "uri": sbom::debian_purl(package, &pins.architecture),
            "digest": {"sha256": package.sha256},
        }));
    }
    Ok(materials)
}
