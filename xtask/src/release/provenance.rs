//! What was made of what: an in-toto statement with SLSA provenance.
//!
//! It is not signed: it says what the program that made the release knows, and whoever publishes signs for it. Nothing
//! in it depends on the machine, so that the same commit gives the same statement.
//!
//! Sources: in-toto attestation framework 1.0, "Statement"; SLSA 1.0, "Provenance".

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::identity::Release;
use super::sbom;
use crate::image::{self, Architecture, Built, Library, oci};
use crate::workspace;

/// Files of the checkout that pin everything which comes from elsewhere.
const LOCKS: [&str; 3] = ["Cargo.lock", "rust-toolchain.toml", "contracts/package-lock.json"];

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
    let architectures: Vec<&str> = release.architectures.iter().map(|each| each.name()).collect();
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
                    "architectures": architectures,
                },
                "internalParameters": {"cCompilers": c_compilers(release)?},
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
    materials.push(compiler()?);
    let pins = release
        .architectures
        .iter()
        .map(|architecture| architecture.pins());
    for path in LOCKS.into_iter().chain(pins) {
        let content = fs::read(workspace::root().join(path)).with_context(|| format!("read {path}"))?;
        materials.push(json!({"name": path, "digest": {"sha256": oci::sha256(&content)}}));
    }
    for architecture in &release.architectures {
        let pins = image::pins(*architecture)?;
        for package in &pins.packages {
            materials.push(json!({
                "uri": sbom::debian_purl(package, &pins.architecture),
                "digest": {"sha256": package.sha256},
            }));
        }
        if !architecture.is_here() {
            materials.extend(library(*architecture)?);
        }
    }
    Ok(materials)
}

/// The compiler, by the commit that it was made of.
fn compiler() -> Result<Value> {
    let said = image::rustc(&["--version", "--verbose"])?;
    let line = |name: &str| {
        said.lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or("unknown")
    };
    Ok(json!({
        "name": format!("rustc {}", line("release: ")),
        "digest": {"gitCommit": line("commit-hash: ")},
    }))
}

/// The standard library for another processor, where it did not come with the compiler.
fn library(architecture: Architecture) -> Result<Option<Value>> {
    Ok(match Library::of(architecture)? {
        Library::OfToolchain => None,
        Library::OfSource(_) => {
            let source = image::library_source();
            Some(json!({
                "name": format!("standard library for {}", architecture.target()),
                "uri": source.purl(),
                "digest": {"sha256": source.sha256},
            }))
        }
    })
}

/// What compiles C and links for each processor that this machine does not have.
fn c_compilers(release: &Release) -> Result<Value> {
    let mut compilers = serde_json::Map::new();
    for architecture in release.architectures.iter().filter(|each| !each.is_here()) {
        let said = image::c_compiler_version(*architecture)?;
        compilers.insert(architecture.name().to_owned(), json!(said));
    }
    Ok(Value::Object(compilers))
}
