//! `cargo xtask fuzz`: the fuzz targets of all crates, with the compiler that the workspace is built with.
//!
//! cargo-fuzz asks for a nightly compiler, because it adds a sanitizer. The targets are of safe code, which panics
//! where it is wrong: the coverage that guides libFuzzer is enough for them, and a stable compiler has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use crate::{image, workspace};

/// Crates with fuzz targets, each in the folder `fuzz` beside it.
const CRATES: [&str; 8] = [
    "cli",
    "core",
    "gpu-agent",
    "operator",
    "testbed/chain",
    "testbed/gpu/libcuda",
    "testbed/gpu/ptx",
    "ton",
];
/// Counts the edges that an input takes and the values that it compares, as libFuzzer reads them (LLVM,
/// `SanitizerCoverage`), and keeps the checks of a debug build.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks";
/// Named, so that build scripts and macros are compiled without [`FLAGS`].
const PLATFORM: &str = "x86_64-unknown-linux-gnu";
/// How libFuzzer says on how many inputs it ran.
const INPUTS: &str = "stat::number_of_executed_units:";
/// Bytes of an input at most.
const MAX_BYTES: u32 = 65_536;

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Targets, as CRATE or CRATE/TARGET [default: all]
    targets: Vec<String>,
}

/// Builds and runs the targets one after the other. What they find is kept under `target/fuzz` and named.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut failed = Vec::new();
    let mut ran = 0;
    for folder in CRATES {
        let targets = wanted(folder, &args.targets)?;
        if targets.is_empty() {
            continue;
        }
        build(folder)?;
        for target in targets {
            ran += 1;
            let name = format!("{folder}/{target}");
            if !fuzz(&name, &target, args.seconds)? {
                failed.push(name);
            }
        }
    }
    ensure!(ran > 0, "no fuzz target is named {}", args.targets.join(" or "));
    println!("{ran} fuzz targets ran for {} s each", args.seconds);
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("failed: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

/// Targets of a crate that are asked for.
fn wanted(folder: &str, asked: &[String]) -> Result<Vec<String>> {
    let sources = workspace::root().join(folder).join("fuzz/fuzz_targets");
    let mut found = Vec::new();
    for entry in fs::read_dir(&sources).with_context(|| format!("read {}", sources.display()))? {
        let path = entry
            .with_context(|| format!("read {}", sources.display()))?
            .path();
        let Some(target) = path.file_stem().and_then(|stem| stem.to_str()) else {
            bail!("{} is no name of a fuzz target", path.display());
        };
        let is_asked = |name: &String| *name == folder || *name == format!("{folder}/{target}");
        if asked.is_empty() || asked.iter().any(is_asked) {
            found.push(target.to_owned());
        }
    }
    found.sort();
    Ok(found)
}

fn root() -> PathBuf {
    image::target_folder().join("fuzz")
}

fn build(folder: &str) -> Result<()> {
    let manifest = workspace::root().join(folder).join("fuzz/Cargo.toml");
    let status = workspace::cargo()
        .args(["build", "--quiet", "--release", "--bins", "--target", PLATFORM])
        .arg("--target-dir")
        .arg(root())
        .arg("--manifest-path")
        .arg(&manifest)
        .env("RUSTFLAGS", FLAGS)
        .status()
        .context("run cargo build")?;
    ensure!(status.success(), "{} does not build", manifest.display());
    Ok(())
}

/// Runs one target; `false` where it found something.
fn fuzz(name: &str, target: &str, seconds: u32) -> Result<bool> {
    let folder = |kind: &str| -> Result<PathBuf> {
        let folder = root().join(kind).join(name);
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(folder)
    };
    let (corpus, found, log) = (folder("corpus")?, folder("found")?, folder("log")?.join("last"));
    let program: &Path = &root().join(PLATFORM).join("release").join(target);
    let said = fs::File::create(&log).with_context(|| format!("create {}", log.display()))?;
    let status = std::process::Command::new(program)
        .arg(&corpus)
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={MAX_BYTES}"))
        .args(["-verbosity=0", "-print_final_stats=1"])
        .stderr(said)
        .status()
        .with_context(|| format!("run {}", program.display()))?;
    let said = fs::read(&log).with_context(|| format!("read {}", log.display()))?;
    let said = String::from_utf8_lossy(&said);
    if status.success() {
        let inputs = said.lines().find_map(|line| line.strip_prefix(INPUTS));
        println!("{name}: {} inputs", inputs.map_or("?", str::trim));
    } else {
        eprintln!(
            "{name} ended with {status}. The input lies in {}, and what it said in {}",
            found.display(),
            log.display()
        );
    }
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_has_targets_and_each_can_be_named() {
        for folder in CRATES {
            let all = wanted(folder, &[]).expect("the sources are there");
            assert!(!all.is_empty(), "{folder}");
            let one = wanted(folder, &[format!("{folder}/{}", all[0])]).expect("the sources are there");
            assert_eq!(one, all[..1]);
            assert!(
                wanted(folder, &["nobody".to_owned()])
                    .expect("the sources are there")
                    .is_empty()
            );
        }
    }
}
