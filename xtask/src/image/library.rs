//! Rust's standard library for a processor that this machine does not have.
//!
//! `rustup target add` brings it. Where rustup's server is not reached, it is compiled from the sources that Debian has
//! of the pinned compiler's version, by that compiler, as the compiler's own build does. Both are the same library, and
//! not the same bytes: who compares two releases makes both in one way, and provenance says in which.
//!
//! Source: rustc development guide, "Building the standard library"; `src/bootstrap` of rustc.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::architecture::Architecture;
use super::cross::{self, cargo_home, remap};
use super::debian::{self, Source};
use crate::{cache, workspace};

/// Debian's sources of the pinned compiler. Its version is that of `rust-toolchain.toml`.
const SOURCE: Source = Source {
    name: "rust-src",
    version: "1.95.0+dfsg1-2~bpo13+1",
    sha256: "7b76db5b880a77f9e52975d2baa6209d2f76d2c9c2789515c3088cb960e2c83b",
    release: "trixie-backports",
    pinned_in: "xtask/src/image/library.rs",
};

/// What the compiler's own build gives each crate of it: what is not of the public interface stays unstable.
const FLAGS: [&str; 2] = ["-Zforce-unstable-if-unmarked", "--cap-lints=allow"];

/// The standard library for a processor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// The compiler has it.
    OfToolchain,
    /// It was compiled from [`SOURCE`] and lies in this folder.
    OfSource(PathBuf),
}

/// The package that a library which the compiler lacks is made from.
pub(crate) fn source() -> &'static Source {
    &SOURCE
}

impl Library {
    /// Finds the library, or makes it.
    pub(crate) fn of(architecture: Architecture) -> Result<Self> {
        let target = architecture.target();
        let folder = rustc(&["--print", "target-libdir", "--target", &target])?;
        if holds_std(Path::new(folder.trim())) {
            return Ok(Self::OfToolchain);
        }
        compiled(architecture).map(Self::OfSource).with_context(|| {
            format!(
                "the compiler has no standard library for {}; `rustup target add {target}` brings it, and without it one is \
                 compiled",
                architecture.name()
            )
        })
    }

    /// What tells the compiler where it is.
    pub(super) fn flag(&self) -> Option<String> {
        match self {
            Self::OfToolchain => None,
            Self::OfSource(folder) => Some(format!("--sysroot={}", folder.display())),
        }
    }
}

/// Runs the compiler that cargo runs.
pub(crate) fn rustc(arguments: &[&str]) -> Result<String> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(arguments)
        .current_dir(workspace::root())
        .stderr(Stdio::inherit())
        .output()
        .context("start rustc")?;
    ensure!(
        output.status.success(),
        "rustc {} failed with {}",
        arguments.join(" "),
        output.status
    );
    String::from_utf8(output.stdout).context("read what rustc printed as UTF-8")
}

/// Whether a folder has the crate `std`; toolchains name it with a hash.
fn holds_std(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name == "libstd.rlib" || name.starts_with("libstd-") && name.ends_with(".rlib")
        })
    })
}

/// The folder of a compiled library in the cache, as a compiler's root.
fn compiled(architecture: Architecture) -> Result<PathBuf> {
    let compiler = rustc(&["--version", "--verbose"])?;
    let version = SOURCE.upstream();
    ensure!(
        compiler.lines().any(|line| line == format!("release: {version}")),
        "{} pins the sources of rustc {version}, and this compiler is\n{compiler}",
        SOURCE.pinned_in
    );
    let target = architecture.target();
    let key = super::oci::sha256(format!("{compiler}{}{FLAGS:?}", SOURCE.sha256).as_bytes());
    let cached = cache::folder("rust")?;
    let root = cached.join(format!("{target}-{}", &key[..16]));
    let _lock = cache::lock("rust")?;
    if root.is_dir() {
        return Ok(root);
    }
    let work = tempfile::tempdir_in(&cached).context("create a temporary folder in the cache")?;
    let deb = {
        let _lock = cache::lock("debs")?;
        debian::fetch_source(&SOURCE, &cache::folder("debs")?)?
    };
    let below = format!("usr/src/rustc-{version}/library/");
    debian::unpack(&deb, &below, work.path())?;
    let library = work.path().join(&below);
    eprintln!("compiling Rust's standard library for {}", architecture.name());
    let target_folder = work.path().join("target");
    compile(architecture, &library, &target_folder)?;

    let unfinished = work.path().join("root");
    let folder = unfinished.join("lib/rustlib").join(&target).join("lib");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let made = target_folder.join(&target).join("release/deps");
    for entry in fs::read_dir(&made).with_context(|| format!("list {}", made.display()))? {
        let path = entry.with_context(|| format!("list {}", made.display()))?.path();
        if let (Some("rlib"), Some(name)) = (
            path.extension().and_then(|extension| extension.to_str()),
            path.file_name(),
        ) {
            fs::copy(&path, folder.join(name)).with_context(|| format!("copy {}", path.display()))?;
        }
    }
    ensure!(
        holds_std(&folder),
        "cargo left no standard library in {}",
        made.display()
    );
    fs::rename(&unfinished, &root).with_context(|| format!("move the library to {}", root.display()))?;
    Ok(root)
}

/// Has cargo build the crates of the library, whose dependencies its own lock file pins.
fn compile(architecture: Architecture, library: &Path, target_folder: &Path) -> Result<()> {
    let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
    flags.extend([
        remap(&cargo_home()?, "/cargo"),
        remap(library, "/library"),
        remap(target_folder, "/target"),
    ]);
    let mut cargo = workspace::cargo();
    cargo
        .args(["build", "--release", "--locked", "--package", "sysroot", "--features", "backtrace"])
        .current_dir(library)
        // The library is what may use what is unstable; programs are compiled without this.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", target_folder)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join(cross::SEPARATOR))
        .env_remove("RUSTFLAGS")
        .stdout(Stdio::null());
    // What a person set for a build of the programs is no part of the library, which is kept for others.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PROFILE_") {
            cargo.env_remove(name);
        }
    }
    cross::set(&mut cargo, architecture)?;
    let status = cargo.status().context("start cargo")?;
    ensure!(
        status.success(),
        "compiling Rust's standard library failed with {status}; its messages are above"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_are_those_of_the_pinned_compiler() {
        let path = workspace::root().join("rust-toolchain.toml");
        let pinned = fs::read_to_string(path).unwrap();
        let channel = format!("channel = \"{}\"", SOURCE.upstream());
        assert!(pinned.contains(&channel), "{} is of {channel}", SOURCE.pinned_in);
    }

    #[test]
    fn this_machines_own_library_is_the_toolchains() {
        let here = [Architecture::Amd64, Architecture::Arm64]
            .into_iter()
            .find(|architecture| architecture.is_here())
            .unwrap();
        assert_eq!(Library::of(here).unwrap(), Library::OfToolchain);
        assert_eq!(Library::OfToolchain.flag(), None);
    }
}
