//! Release binaries that do not depend on where they were built.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

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
pub(crate) fn build(package: &str, binary: &str) -> Result<PathBuf> {
    eprintln!("building {binary}");
    let output = workspace::cargo()
        .args([
            "build",
            "--release",
            "--locked",
            "--message-format=json-render-diagnostics",
        ])
        .args(["--package", package, "--bin", binary])
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags()?)
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

/// Flags that replace this machine's folders in panic messages by fixed names, in cargo's own separated form.
fn rust_flags() -> Result<String> {
    let cargo_home = match std::env::var_os("CARGO_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(&std::env::var_os("HOME").context("find cargo's folder: set CARGO_HOME or HOME")?)
            .join(".cargo"),
    };
    let folders = [
        (cargo_home, "/cargo"),
        (workspace::root().to_path_buf(), "/source"),
        (target_folder(), "/target"),
    ];
    let flags: Vec<String> = folders
        .iter()
        .map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display()))
        .collect();
    Ok(flags.join("\u{1f}"))
}
