//! Go programs that this repository does not hold, each at one version whose content is pinned.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::cache;

/// kind, and the files that it expects in a node, which belong together.
pub(super) const KIND: Pinned = Pinned {
    module: "sigs.k8s.io/kind",
    package: "sigs.k8s.io/kind",
    version: "v0.33.0",
    sum: "h1:AjvDv3vOygb/VKLVQW87lfktIBzkxR8Ump9DjxC8+Lk=",
};
/// What enforces network policies in nodes, with iptables and sets of addresses.
pub(super) const KUBE_ROUTER: Pinned = Pinned {
    module: "github.com/cloudnativelabs/kube-router/v2",
    package: "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",
    version: "v2.1.0",
    sum: "h1:xWsptKtmZ44L+NjwFKoFAFlVdxCz8fka9A/eYJe95Ok=",
};

/// A program of a module.
pub(super) struct Pinned {
    module: &'static str,
    package: &'static str,
    version: &'static str,
    /// The module's digest, in the words of go.sum.
    pub(super) sum: &'static str,
}

/// What `go mod download` says about a module.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Downloaded {
    dir: PathBuf,
    sum: String,
}

impl Pinned {
    /// The program, built on first use.
    pub(super) fn program(&self) -> Result<PathBuf> {
        let name = Path::new(self.package)
            .file_name()
            .context("a package has a name")?;
        let folder = cache::folder("kind")?.join(self.version);
        let program = folder.join(name);
        let _lock = cache::lock(&name.to_string_lossy())?;
        if program.is_file() {
            return Ok(program);
        }
        self.sources()?;
        eprintln!("building {} {}", name.display(), self.version);
        let package = format!("{}@{}", self.package, self.version);
        let status = go()
            .args(["install", "-ldflags", "-s -w", &package])
            .env("GOBIN", &folder)
            .status()
            .context("run go: install Go 1.25 or later from https://go.dev/dl")?;
        ensure!(status.success(), "go install {package} failed");
        Ok(program)
    }

    /// The folder of the module's files, downloaded on first use.
    pub(super) fn sources(&self) -> Result<PathBuf> {
        let module = format!("{}@{}", self.module, self.version);
        let output = go()
            .args(["mod", "download", "-json", &module])
            .output()
            .context("run go: install Go 1.25 or later from https://go.dev/dl")?;
        ensure!(
            output.status.success(),
            "go mod download {module} failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let downloaded: Downloaded = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("read what go says about {module}"))?;
        ensure!(
            downloaded.sum == self.sum,
            "{module} has the digest {}, expected {}",
            downloaded.sum,
            self.sum
        );
        Ok(downloaded.dir)
    }
}

fn go() -> Command {
    let mut go = Command::new("go");
    go.env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env("GOFLAGS", "-buildvcs=false -trimpath")
        // Outside of any module, so that only the program's own requirements count.
        .current_dir("/");
    go
}
