//! `cargo xtask cluster`: the Kubernetes of the testbed, built from `testbed/cluster` on first use.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::{cache, workspace};

/// The Debian packages that the cluster's nodes run on.
pub(crate) const PACKAGES: &[&str] = &[
    "containerd",
    "runc",
    "containernetworking-plugins",
    "nftables",
    "iproute2",
];

/// The program, and the one that it expects beside itself.
const PROGRAM: &str = "testbed-cluster";
const PAUSE: &str = "pause";

/// The version that the components report: that of the `k8s.io/kubernetes` requirement in go.mod.
const KUBERNETES: (&str, &str, &str) = ("1", "35", "4");

/// How many hex digits of the sources' digest name a build: 64 bits, never the same for two of one machine's builds.
const KEY_DIGITS: usize = 16;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// up [--nodes 1|2] [--ip-family ipv4|ipv6|dual], down, status [--json], load IMAGE.tar…, exec [--node N] -- CMD,
    /// or kubectl …
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    arguments: Vec<OsString>,
}

/// Becomes the cluster's program with these arguments. `up` installs the Debian packages that are missing.
pub(crate) fn run(args: &Args) -> Result<()> {
    let starts = args.arguments.first().is_some_and(|command| command == "up");
    if starts {
        install_packages(PACKAGES)?;
    }
    let program = match running_program() {
        Some(running) if !starts => running,
        _ if args.arguments == ["down"] && !traces() => return Ok(()),
        _ => program()?,
    };
    let error = Command::new(&program).args(&args.arguments).exec();
    Err(error).with_context(|| format!("run {}", program.display()))
}

/// Ends the cluster and removes its state folder, with what others have put there. Nothing to end is no error, and
/// builds nothing.
pub(crate) fn down() -> Result<()> {
    if !traces() {
        return Ok(());
    }
    let program = running_program().map_or_else(program, Ok)?;
    let output = Command::new(&program)
        .arg("down")
        .output()
        .with_context(|| format!("run {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} down failed: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    // The cluster removes what is its own; what is left was started beside it.
    let state = state();
    if state.exists() {
        fs::remove_dir_all(&state).with_context(|| format!("remove {}", state.display()))?;
    }
    Ok(())
}

/// The program that the cluster was started by, which knows best how to deal with it.
fn running_program() -> Option<PathBuf> {
    fs::canonicalize(state().join("bin").join("kubectl")).ok()
}

/// Whether there is anything of a cluster to end: its folder, or the link that is the last thing to go without one.
pub(crate) fn traces() -> bool {
    state().exists() || Path::new("/sys/class/net/cocoon-testbed").exists()
}

/// The state folder of the testbed.
fn state() -> PathBuf {
    env::var_os("COCOON_TESTBED_DIR")
        .filter(|dir| !dir.is_empty())
        .map_or_else(|| PathBuf::from("/var/lib/cocoon-testbed"), PathBuf::from)
}

/// Installs those of the Debian packages that are missing. Without apt, it is left to the programs that need them to
/// say what is missing.
pub(crate) fn install_packages(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|name| !installed(name)).collect();
    if missing.is_empty() || !Path::new("/usr/bin/apt-get").exists() {
        return Ok(());
    }
    eprintln!("installing Debian packages: {}", missing.join(" "));
    apt_get(&["update"])?;
    let install = ["install", "--yes", "--no-install-recommends"];
    apt_get(&[&install[..], &missing].concat())
}

fn installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|query| query.stdout == b"installed")
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("run apt-get")?;
    ensure!(
        output.status.success(),
        "apt-get {} failed, run it by hand as root to see why: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Returns the cluster's program, building it first when the cache has none of the same sources.
pub(crate) fn program() -> Result<PathBuf> {
    let sources = workspace::root().join("testbed/cluster");
    let builds = cache::folder("cluster")?;
    let build = builds.join(key(&sources)?);
    let _lock = cache::lock("cluster")?;
    if !build.exists() {
        eprintln!("building Kubernetes {}: minutes the first time", version());
        let unfinished = tempfile::tempdir_in(&builds).context("create a folder for the build")?;
        build_with_go(&sources, ".", &unfinished.path().join(PROGRAM))?;
        build_with_go(&sources, "./pause", &unfinished.path().join(PAUSE))?;
        let finished = unfinished.keep();
        fs::rename(&finished, &build)
            .with_context(|| format!("move the finished build to {}", build.display()))?;
    }
    Ok(build.join(PROGRAM))
}

/// The program that holds a pod's namespaces, beside the cluster's.
pub(crate) fn pause(program: &Path) -> PathBuf {
    program.with_file_name(PAUSE)
}

/// The Kubernetes that is built, as in `v1.35.4`.
pub(crate) fn version() -> String {
    format!("v{}.{}.{}", KUBERNETES.0, KUBERNETES.1, KUBERNETES.2)
}

fn build_with_go(sources: &Path, package: &str, output: &Path) -> Result<()> {
    let status = Command::new("go")
        .current_dir(sources)
        .args(["build", "-trimpath", "-ldflags", &linker_flags(), "-o"])
        .args([output, Path::new(package)])
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env("GOFLAGS", "-mod=readonly -buildvcs=false")
        .status()
        .context("run go: install Go 1.25 or later from https://go.dev/dl")?;
    ensure!(
        status.success(),
        "go build of {package} in {} failed",
        sources.display()
    );
    Ok(())
}

fn linker_flags() -> String {
    let (major, minor, patch) = KUBERNETES;
    let version = "k8s.io/component-base/version";
    format!(
        "-s -w -X {version}.gitVersion=v{major}.{minor}.{patch} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    )
}

/// Names a build by everything that goes into it: the module's files other than tests and pages, and the linker's
/// flags.
fn key(sources: &Path) -> Result<String> {
    let mut files = Vec::new();
    collect(sources, &mut files)?;
    files.sort();
    let mut digest = Sha256::new();
    digest.update(linker_flags());
    for file in files {
        let name = file.strip_prefix(sources).unwrap_or(&file);
        let content = cache::sha256_file(&file)?;
        digest.update(format!("{} {content}\n", name.display()));
    }
    let mut key = hex::encode(digest.finalize());
    key.truncate(KEY_DIGITS);
    Ok(key)
}

fn is_input(path: &Path) -> bool {
    let name = path.to_string_lossy();
    !name.ends_with("_test.go") && !name.ends_with(".md")
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("list {}", folder.display()))?
            .path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if is_input(&path) {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    #[test]
    fn a_build_is_named_by_its_sources_and_not_by_its_tests() {
        let key_of = |files: &[(&str, &str)]| key(module(files).path()).unwrap();
        let plain = key_of(&[("go.sum", "a"), ("internal/x.go", "b")]);
        let tested = key_of(&[("go.sum", "a"), ("internal/x.go", "b"), ("x_test.go", "c")]);
        let changed = key_of(&[("go.sum", "a"), ("internal/x.go", "c")]);
        let renamed = key_of(&[("go.sum", "a"), ("internal/y.go", "b")]);
        assert_eq!(plain.len(), KEY_DIGITS);
        assert_eq!(plain, tested);
        assert_ne!(plain, changed);
        assert_ne!(plain, renamed);
    }

    #[test]
    fn the_reported_version_is_the_one_that_is_built() {
        let (major, minor, patch) = KUBERNETES;
        let module = workspace::root().join("testbed/cluster/go.mod");
        let requirement = format!("k8s.io/kubernetes v{major}.{minor}.{patch}\n");
        assert!(fs::read_to_string(module).unwrap().contains(&requirement));
    }
}
