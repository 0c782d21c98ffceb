//! promtool, which checks alerting rules and tells what they say of given series.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::output;
use crate::cache;

/// Debian's package. Installing it would start a server, so it is only unpacked.
const PACKAGE: &str = "prometheus";
/// Where the package has it.
const MEMBER: &str = "usr/bin/promtool";

/// Checks `rules` and runs the tests in the file `tests`, which name them `rules.yaml`.
pub(super) fn test(rules: &Value, tests: &Path) -> Result<()> {
    let promtool = promtool()?;
    let folder = tempfile::tempdir().context("create a temporary folder")?;
    let yaml = serde_saphyr::to_string(rules).context("write the rules as YAML")?;
    fs::write(folder.path().join("rules.yaml"), yaml).context("write the rules")?;
    fs::copy(tests, folder.path().join("tests.yaml")).with_context(|| format!("copy {}", tests.display()))?;
    let run = |arguments: &[&str]| output(Command::new(&promtool).args(arguments).current_dir(folder.path()));
    run(&["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"])?;
    run(&["test", "rules", "tests.yaml"])?;
    Ok(())
}

/// Checks that `rules` are what Prometheus understands.
pub(super) fn check(rules: &Value) -> Result<()> {
    let promtool = promtool()?;
    let folder = tempfile::tempdir().context("create a temporary folder")?;
    let yaml = serde_saphyr::to_string(rules).context("write the rules as YAML")?;
    fs::write(folder.path().join("rules.yaml"), yaml).context("write the rules")?;
    output(
        Command::new(&promtool)
            .args(["check", "rules", "rules.yaml"])
            .current_dir(folder.path()),
    )
    .map(drop)
}

/// The promtool that is installed, or else the one of Debian's package, unpacked into the cache.
fn promtool() -> Result<PathBuf> {
    let installed = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| {
            std::env::split_paths(&path)
                .map(|folder| folder.join("promtool"))
                .collect::<Vec<_>>()
        })
        .find(|path| path.is_file());
    if let Some(path) = installed {
        return Ok(path);
    }
    let folder = cache::folder("tools")?.join("promtool");
    let path = folder.join(MEMBER);
    let _lock = cache::lock("promtool")?;
    if path.is_file() {
        return Ok(path);
    }
    unpack(&folder).with_context(|| {
        format!("unpack promtool from Debian's package {PACKAGE}; without Debian, put promtool on the PATH")
    })?;
    Ok(path)
}

fn unpack(folder: &Path) -> Result<()> {
    let parent = folder.parent().context("find the cache folder")?;
    let scratch = tempfile::tempdir_in(parent).context("create a temporary folder in the cache")?;
    eprintln!("downloading Debian's package {PACKAGE}");
    output(
        Command::new("apt-get")
            .args(["download", PACKAGE])
            .current_dir(scratch.path()),
    )?;
    let archive = fs::read_dir(scratch.path())
        .and_then(|mut entries| entries.next().transpose())
        .context("list what apt-get downloaded")?
        .context("find what apt-get downloaded")?
        .path();
    let content = scratch.path().join("content");
    output(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(&archive)
            .arg(&content),
    )?;
    // Only the one program is kept: the package also holds the server.
    let kept = scratch.path().join("kept");
    let program = kept.join(MEMBER);
    fs::create_dir_all(program.parent().context("find promtool's folder")?)
        .context("create promtool's folder")?;
    fs::rename(content.join(MEMBER), &program)
        .with_context(|| format!("find {MEMBER} in {}", archive.display()))?;
    fs::rename(&kept, folder).with_context(|| format!("move promtool to {}", folder.display()))
}
