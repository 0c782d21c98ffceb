//! What each program consists of, as a `CycloneDX` bill of materials: the crates that are linked into it, and for an
//! image the Debian packages below it.
//!
//! Sources: `CycloneDX` 1.6, package URL specification, `cargo tree` for the features that the program is built with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::identity::Release;
use super::plugin;
use crate::image::{self, Architecture, Built, oci};
use crate::workspace;

/// One crate of a program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
    /// As its manifest says.
    license: String,
    /// Whether it is of this workspace.
    is_own: bool,
}

impl Crate {
    fn purl(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, escaped(&self.version))
    }
}

/// The crates of a program, and which each of them uses, by their URLs. The first of [`Tree::root`] is the program's
/// own.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tree {
    root: String,
    crates: BTreeMap<String, Crate>,
    uses: BTreeMap<String, BTreeSet<String>>,
}

/// The bill of every program for every processor, by the name of its file.
pub(super) fn all(release: &Release, images: &[Built]) -> Result<Vec<(String, Vec<u8>)>> {
    let checksums = checksums(&read("Cargo.lock")?);
    let mut bills = Vec::new();
    for image in images {
        for (architecture, digest) in &image.manifests {
            let tree = crates_of(&image.title, *architecture)?;
            let debian = image::pins(*architecture)?;
            let purl = format!(
                "pkg:oci/{}@{}?arch={}&repository_url={}",
                image.title,
                digest.replace(':', "%3A"),
                architecture.name(),
                image.name
            );
            let subject = json!({
                "type": "container", "bom-ref": image.reference, "name": image.title, "version": release.version,
                "purl": purl,
            });
            bills.push((
                file(release, &image.title, *architecture),
                bill(release, &subject, &tree, &checksums, Some(&debian))?,
            ));
        }
    }
    for architecture in &release.architectures {
        let tree = crates_of(plugin::PROGRAM, *architecture)?;
        let subject = json!({
            "type": "application", "bom-ref": plugin::PROGRAM, "name": plugin::PROGRAM, "version": release.version,
        });
        bills.push((
            file(release, plugin::PROGRAM, *architecture),
            bill(release, &subject, &tree, &checksums, None)?,
        ));
    }
    Ok(bills)
}

/// Name of a bill's file.
pub(super) fn file(release: &Release, program: &str, architecture: Architecture) -> String {
    release.file(program, architecture, "cdx.json")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(workspace::root().join(path)).with_context(|| format!("read {path}"))
}

/// Asks cargo which crates are linked into a package's program: neither those that only build it nor those of other
/// features.
fn crates_of(package: &str, architecture: Architecture) -> Result<Tree> {
    let output = workspace::cargo()
        .args(["tree", "--locked", "--package", package])
        .args(["--target", &architecture.target()])
        .args([
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "depth",
            "--format",
            "{p}\t{l}",
        ])
        .output()
        .context("start cargo")?;
    ensure!(
        output.status.success(),
        "cargo tree of {package} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    tree(&String::from_utf8_lossy(&output.stdout)).with_context(|| format!("read cargo's tree of {package}"))
}

/// Reads lines such as `2serde v1.0.229 (/path)\tMIT OR Apache-2.0 (*)`, the depth first. Each crate's own are listed
/// once.
fn tree(text: &str) -> Result<Tree> {
    let mut tree = Tree::default();
    let mut above: Vec<String> = Vec::new();
    for line in text.lines() {
        let read = || format!("read the line {line:?}");
        let digits = line.len()
            - line
                .trim_start_matches(|letter: char| letter.is_ascii_digit())
                .len();
        let (depth, rest) = line.split_at(digits);
        let depth: usize = depth.parse().with_context(read)?;
        let (package, license) = rest.split_once('\t').with_context(read)?;
        let mut words = package.split(' ');
        let name = words.next().with_context(read)?.to_owned();
        let version = words
            .next()
            .and_then(|word| word.strip_prefix('v'))
            .with_context(read)?
            .to_owned();
        let is_own = words.next().is_some_and(|place| place.starts_with("(/"));
        let license = license.trim_end_matches("(*)").trim().to_owned();
        let found = Crate {
            name,
            version,
            license,
            is_own,
        };
        let purl = found.purl();
        above.truncate(depth);
        ensure!(
            above.len() == depth,
            "depth {depth} follows {} in {line:?}",
            above.len()
        );
        match above.last() {
            None => tree.root.clone_from(&purl),
            Some(user) => drop(tree.uses.entry(user.clone()).or_default().insert(purl.clone())),
        }
        tree.crates.insert(purl.clone(), found);
        above.push(purl);
    }
    Ok(tree)
}

/// The digests in a lock file, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |block: &str, key: &str| {
        let line = block
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
        Some(line.trim_matches('"').to_owned())
    };
    lock.split("[[package]]")
        .filter_map(|block| {
            Some((
                (value(block, "name")?, value(block, "version")?),
                value(block, "checksum")?,
            ))
        })
        .collect()
}

type Checksums = BTreeMap<(String, String), String>;

fn bill(
    release: &Release,
    subject: &Value,
    tree: &Tree,
    checksums: &Checksums,
    debian: Option<&image::Pins>,
) -> Result<Vec<u8>> {
    let mut components: Vec<Value> = tree
        .crates
        .values()
        .map(|found| component(found, checksums))
        .collect();
    let mut direct = vec![json!(tree.root)];
    if let Some(pins) = debian {
        for package in &pins.packages {
            let purl = debian_purl(package, &pins.architecture);
            direct.push(json!(purl));
            components.push(json!({
                "type": "library", "bom-ref": purl, "name": package.name, "version": package.version, "purl": purl,
                "hashes": [{"alg": "SHA-256", "content": package.sha256}],
            }));
        }
    }
    let mut dependencies = vec![json!({"ref": subject["bom-ref"], "dependsOn": direct})];
    let none = BTreeSet::new();
    for purl in tree.crates.keys() {
        dependencies.push(json!({"ref": purl, "dependsOn": tree.uses.get(purl).unwrap_or(&none)}));
    }
    let mut bom = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": release.time,
            "tools": {"components": [{"type": "application", "name": "xtask", "version": release.version}]},
            "component": subject,
            "licenses": [{"license": {"id": "Apache-2.0"}}],
        },
        "components": components,
        "dependencies": dependencies,
    });
    let serial = serial_number(&oci::sha256(
        &serde_json::to_vec(&bom).context("encode a bill as JSON")?,
    ));
    bom["serialNumber"] = json!(serial);
    serde_json::to_vec_pretty(&bom).context("encode a bill as JSON")
}

fn component(found: &Crate, checksums: &Checksums) -> Value {
    let purl = found.purl();
    let mut component = json!({
        "type": "library", "bom-ref": purl, "name": found.name, "version": found.version,
    });
    if !found.is_own {
        component["purl"] = json!(purl);
    }
    if !found.license.is_empty() {
        // Crates from before SPDX expressions separate alternatives by a slash.
        component["licenses"] = json!([{"expression": found.license.replace('/', " OR ")}]);
    }
    if let Some(sha256) = checksums.get(&(found.name.clone(), found.version.clone())) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sha256}]);
    }
    component
}

/// A Debian package's URL.
pub(super) fn debian_purl(package: &image::Package, architecture: &str) -> String {
    format!(
        "pkg:deb/debian/{}@{}?arch={architecture}&distro=debian-12",
        escaped(&package.name),
        escaped(&package.version)
    )
}

/// A version within a package's URL, where a plus would be read as a space.
fn escaped(text: &str) -> String {
    text.replace('+', "%2B").replace(':', "%3A")
}

/// A UUID of version 8, which leaves its bits to who makes it (RFC 9562): here a digest's first.
fn serial_number(sha256: &str) -> String {
    format!(
        "urn:uuid:{}-{}-8{}-8{}-{}",
        &sha256[..8],
        &sha256[8..12],
        &sha256[13..16],
        &sha256[17..20],
        &sha256[20..32]
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TREE: &str = "0farm v0.1.0 (/somewhere/farm)\tApache-2.0\n1serde v1.0.1\tMIT OR Apache-2.0\n2core v0.2.0+b\tMIT/Apache-2.0\n\
                        1other v2.0.0\t\n2serde v1.0.1\tMIT OR Apache-2.0 (*)\n";

    #[test]
    fn a_tree_has_each_crate_once_and_every_use() {
        let tree = tree(TREE).unwrap();
        assert_eq!(tree.root, "pkg:cargo/farm@0.1.0");
        assert_eq!(tree.crates.len(), 4);
        assert!(tree.crates["pkg:cargo/farm@0.1.0"].is_own && !tree.crates["pkg:cargo/other@2.0.0"].is_own);
        let uses = |purl: &str| tree.uses[purl].iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(
            uses("pkg:cargo/farm@0.1.0"),
            ["pkg:cargo/other@2.0.0", "pkg:cargo/serde@1.0.1"]
        );
        assert_eq!(uses("pkg:cargo/serde@1.0.1"), ["pkg:cargo/core@0.2.0%2Bb"]);
        assert_eq!(uses("pkg:cargo/other@2.0.0"), ["pkg:cargo/serde@1.0.1"]);
        let found = component(&tree.crates["pkg:cargo/core@0.2.0%2Bb"], &Checksums::new());
        assert_eq!(found["licenses"][0]["expression"], "MIT OR Apache-2.0");
    }

    #[test]
    fn a_lock_file_has_the_digests_of_what_was_downloaded() {
        let lock = "version = 4\n\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"serde\"\n\
                    version = \"1.0.1\"\nsource = \"registry\"\nchecksum = \"abcd\"\n";
        let found = checksums(lock);
        assert_eq!(found.len(), 1);
        assert_eq!(found[&("serde".to_owned(), "1.0.1".to_owned())], "abcd");
    }

    #[test]
    fn the_operator_links_no_openssl_and_every_crate_has_a_licence() {
        let tree = crates_of("cocoon-operator", Architecture::Amd64).unwrap();
        assert!(tree.crates.len() > 50, "{} crates", tree.crates.len());
        assert!(tree.crates.values().all(|found| found.name != "openssl-sys"));
        let without: Vec<_> = tree
            .crates
            .values()
            .filter(|found| found.license.is_empty())
            .collect();
        assert!(without.is_empty(), "{without:?}");
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".*", depth in 0_u8..4) {
            // Either outcome is fine.
            drop(tree(&text));
            drop(tree(&format!("{depth}{text} v1\t{text}")));
            drop(checksums(&text));
        }
    }
}
