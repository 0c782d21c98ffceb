//! What a release is called, everywhere: its version, its commit, and the places that its parts are published at.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::changelog::{self, Changes};
use super::git;
use crate::image::Architecture;
use crate::workspace;

/// Folder of the chart, and its name.
pub(super) const CHART: &str = "charts/cocoon-farm";
pub(super) const CHART_NAME: &str = "cocoon-farm";

/// Pages that say how the released chart is installed.
const INSTALLING: [&str; 2] = ["README.md", "docs/farm.md"];

/// One release.
#[derive(Debug)]
pub(super) struct Release {
    /// The workspace's and the chart's.
    pub(super) version: String,
    /// `owner/name` on GitHub.
    pub(super) repository: String,
    /// The processors that images and archives are made for, each once and in order.
    pub(super) architectures: Vec<Architecture>,
    /// The commit's hash.
    pub(super) commit: String,
    /// When it was made, as RFC 3339.
    pub(super) time: String,
    /// What the changelog says.
    pub(super) changes: Changes,
}

impl Release {
    /// The release of the commit that is checked out. Fails where its files name different versions.
    pub(super) fn of_checkout(repository: &str, architectures: &[Architecture]) -> Result<Self> {
        let read = |path: &str| {
            fs::read_to_string(workspace::root().join(path)).with_context(|| format!("read {path}"))
        };
        let version = env!("CARGO_PKG_VERSION");
        refuse_other_versions(&read(&format!("{CHART}/Chart.yaml"))?, version)?;
        for page in INSTALLING {
            refuse_page_of_another_version(page, &read(page)?, version)?;
        }
        ensure!(
            is_repository(repository),
            "{repository} is no repository: it is written OWNER/NAME"
        );
        let mut architectures = architectures.to_vec();
        architectures.sort_unstable();
        architectures.dedup();
        Ok(Self {
            version: version.to_owned(),
            repository: repository.to_owned(),
            architectures,
            commit: git::commit()?,
            time: git::time()?,
            changes: changelog::section(&read("CHANGELOG.md")?, version)?,
        })
    }

    /// The commit's tag.
    pub(super) fn tag(&self) -> String {
        format!("v{}", self.version)
    }

    /// Where images lie. Registries take no capitals.
    pub(super) fn registry(&self) -> String {
        format!("ghcr.io/{}", self.repository.to_lowercase())
    }

    /// Where charts lie, as Helm is told.
    pub(super) fn charts(&self) -> String {
        format!("oci://{}/charts", self.registry())
    }

    /// The repository's page.
    pub(super) fn page(&self) -> String {
        format!("https://github.com/{}", self.repository)
    }

    /// Where a file of the release is downloaded.
    pub(super) fn download(&self, file: &str) -> String {
        format!("{}/releases/download/{}/{file}", self.page(), self.tag())
    }

    /// Name of a file of a program for one processor.
    pub(super) fn file(&self, name: &str, architecture: Architecture, ending: &str) -> String {
        format!("{name}-{}-linux-{}.{ending}", self.version, architecture.name())
    }

    /// Name of an image's archive, which is for all of the release's processors.
    pub(super) fn image_archive(&self, name: &str) -> String {
        let names: Vec<&str> = self.architectures.iter().map(|each| each.name()).collect();
        format!("{name}-{}-linux-{}.oci.tar", self.version, names.join("-"))
    }

    /// Name of the chart's package.
    pub(super) fn chart_package(&self) -> String {
        format!("{CHART_NAME}-{}.tgz", self.version)
    }

    /// Name of the chart as an OCI artifact.
    pub(super) fn chart_archive(&self) -> String {
        format!("{CHART_NAME}-{}.oci.tar", self.version)
    }
}

/// Two names of letters, digits, dots, hyphens and underscores.
fn is_repository(text: &str) -> bool {
    let is_name = |name: &str| {
        name.starts_with(|letter: char| letter.is_ascii_alphanumeric())
            && name
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
    };
    text.split_once('/')
        .is_some_and(|(owner, name)| is_name(owner) && is_name(name))
}

/// Fails unless chart and programs have one version.
fn refuse_other_versions(chart: &str, version: &str) -> Result<()> {
    let chart: Value =
        serde_saphyr::from_str(chart).with_context(|| format!("read {CHART}/Chart.yaml as YAML"))?;
    for field in ["version", "appVersion"] {
        let found = chart[field].as_str().unwrap_or("missing");
        ensure!(
            found == version,
            "{field} in {CHART}/Chart.yaml is {found}, and the workspace's version in Cargo.toml is {version}: \
             a release has one version, so set both to it"
        );
    }
    Ok(())
}

/// Fails unless a page that tells people to install the chart names this version of it.
fn refuse_page_of_another_version(page: &str, text: &str, version: &str) -> Result<()> {
    let command = format!("/charts/{CHART_NAME} --version ");
    let named: Vec<&str> = text
        .split(&command)
        .skip(1)
        .filter_map(|rest| rest.split_whitespace().next())
        .collect();
    ensure!(
        !named.is_empty() && named.iter().all(|named| *named == version),
        "{page} installs {CHART_NAME} of version {named:?}, and {version} is released: write `{command}{version}` there"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_of_another_version_is_refused_with_both() {
        refuse_other_versions("version: 0.1.0\nappVersion: \"0.1.0\"\n", "0.1.0").unwrap();
        for chart in [
            "version: 0.2.0\nappVersion: \"0.1.0\"\n",
            "version: 0.1.0\nappVersion: \"0.2.0\"\n",
        ] {
            let error = refuse_other_versions(chart, "0.1.0").unwrap_err().to_string();
            assert!(
                error.contains("0.2.0") && error.contains("0.1.0") && error.contains("Cargo.toml"),
                "{error}"
            );
        }
        let error = refuse_other_versions("version: 0.1.0\n", "0.1.0")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("appVersion") && error.contains("missing"),
            "{error}"
        );
    }

    #[test]
    fn a_page_that_installs_another_version_is_refused() {
        let page = |version: &str| {
            format!("helm install cocoon oci://r/charts/cocoon-farm --version {version} \\\n --wait")
        };
        refuse_page_of_another_version("a.md", &page("0.1.0"), "0.1.0").unwrap();
        for text in [page("0.0.9"), page("0.1.0") + &page("0.0.9"), String::new()] {
            let error = refuse_page_of_another_version("a.md", &text, "0.1.0")
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("a.md installs"), "{error}");
        }
    }

    #[test]
    fn a_repository_has_an_owner_and_a_name() {
        assert!(is_repository("Some-Owner/cocoon.k8s"));
        for text in [
            "",
            "owner",
            "/name",
            "owner/",
            "owner/name/more",
            "owner/na me",
            "https://host/owner",
        ] {
            assert!(!is_repository(text), "{text}");
        }
    }
}
