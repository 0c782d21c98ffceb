//! Release binaries that do not depend on where they were built.
//!
//! For another processor than this machine's, the pinned compiler needs its standard library ([`super::library`]) and
//! a C compiler ([`cross`]).

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::architecture::Architecture;
use super::cross::{self, SEPARATOR, cargo_home, remap};
use super::library::Library;
use crate::workspace;

/// A line of `cargo build --message-format=json`, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Cargo's target folder.
pub(crate) fn target_folder() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => workspace::root().join(folder),
        None => workspace::root().join("target"),
    }
}

/// Builds the release binary `binary` of the workspace package `package` and returns its path.
///
/// Packages are built one by one: building two at once would give each the dependency features of the other.
pub(crate) fn build(package: &str, binary: &str, architecture: Architecture) -> Result<PathBuf> {
    eprintln!("building {binary} for {}", architecture.name());
    let mut flags = remapped()?;
    let mut cargo = workspace::cargo();
    cargo
        .args([
            "build",
            "--release",
            "--locked",
            "--message-format=json-render-diagnostics",
        ])
        .args(["--package", package, "--bin", binary]);
    if !architecture.is_here() {
        flags.extend(Library::of(architecture)?.flag());
        cross::set(&mut cargo, architecture)?;
    }
    let output = cargo
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join(SEPARATOR))
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo")?;
    ensure!(
        output.status.success(),
        "building {binary} failed with {}; its messages are above",
        output.status
    );
    for line in output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let message: Message = serde_json::from_slice(line).context("read a message of cargo build")?;
        if let (Some(target), Some(executable)) = (message.target, message.executable)
            && target.name == binary
        {
            return Ok(executable);
        }
    }
    anyhow::bail!("cargo build reported no executable {binary}")
}

/// Flags that replace this machine's folders in panic messages by fixed names.
fn remapped() -> Result<Vec<String>> {
    let folders = [
        (cargo_home()?, "/cargo"),
        (workspace::root().to_path_buf(), "/source"),
        (target_folder(), "/target"),
    ];
    Ok(folders.iter().map(|(folder, name)| remap(folder, name)).collect())
}
