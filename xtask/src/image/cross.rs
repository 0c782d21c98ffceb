//! How cargo is told to build for another processor than this machine's: with Debian's C compiler for it, which
//! compiles the C in dependencies and links.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::architecture::Architecture;

/// Separates flags in `CARGO_ENCODED_RUSTFLAGS`.
pub(super) const SEPARATOR: &str = "\u{1f}";

/// Has a `cargo build` be for another processor than this machine's.
pub(super) fn set(cargo: &mut Command, architecture: Architecture) -> Result<()> {
    c_compiler_version(architecture)?;
    let compiler = c_compiler(architecture);
    let target = architecture.target();
    let variable = target.replace('-', "_");
    cargo
        .args(["--target", &target])
        .env(
            format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()),
            &compiler,
        )
        .env(format!("CC_{variable}"), &compiler)
        .env(
            format!("AR_{variable}"),
            format!("{}-ar", architecture.libraries()),
        );
    Ok(())
}

/// Debian's C compiler for a processor.
fn c_compiler(architecture: Architecture) -> String {
    format!("{}-gcc", architecture.libraries())
}

/// The line in which it says its version.
pub(crate) fn c_compiler_version(architecture: Architecture) -> Result<String> {
    let compiler = c_compiler(architecture);
    let output = Command::new(&compiler).arg("--version").output().ok();
    let output = output.filter(|output| output.status.success()).with_context(|| {
        format!(
            "{compiler} cannot be run, which compiles C and links for {name}; on Debian 12, as root: \
             apt-get install gcc-{} libc6-dev-{name}-cross",
            architecture.libraries(),
            name = architecture.name()
        )
    })?;
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

/// The flag that replaces one of this machine's folders in what the compiler writes.
pub(super) fn remap(folder: &Path, name: &str) -> String {
    format!("--remap-path-prefix={}={name}", folder.display())
}

/// Where cargo keeps what it downloads.
pub(super) fn cargo_home() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("CARGO_HOME") {
        return Ok(PathBuf::from(folder));
    }
    let home = std::env::var_os("HOME").context("find cargo's folder: set CARGO_HOME or HOME")?;
    Ok(Path::new(&home).join(".cargo"))
}
