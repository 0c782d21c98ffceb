//! The steps, in the order in which they run: cheap ones first, so that a slip shows early.

use std::fmt::Write as _;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result};

use super::capture::{capture, this_program};
use super::clusters::{e2e, e2e_on_kind, ipv6, kind_step};
use super::outcome::Outcome;
use super::{deny, tidy};
use crate::{chart, kernels, model, page, pypi, release, workspace};

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    /// What people type.
    pub(super) name: &'static str,
    /// What it proves.
    pub(super) about: &'static str,
    /// Whether it needs neither root nor a cluster, and is fast once built.
    pub(super) unit: bool,
    /// Runs it. An error is a failure of the step.
    pub(super) run: fn() -> Result<Outcome>,
    /// Runs it on a cluster that kind makes, where it needs one.
    pub(super) on_kind: Option<fn() -> Result<Outcome>>,
}

const fn step(name: &'static str, unit: bool, about: &'static str, run: fn() -> Result<Outcome>) -> Step {
    Step {
        name,
        about,
        unit,
        run,
        on_kind: None,
    }
}

/// All steps.
pub(super) const STEPS: [Step; 15] = [
    step("fmt", true, "Rust code is formatted", fmt),
    step(
        "tidy",
        true,
        "nothing is unfinished, and no file names one machine",
        tidy::check,
    ),
    step(
        "codegen",
        true,
        "generated files are what their sources give",
        codegen,
    ),
    step(
        "kernels",
        false,
        "committed PTX is what the CUDA kernels compile to, and spills no register",
        kernels_step,
    ),
    step("clippy", true, "no lint objects", clippy),
    step("rust", true, "unit and property tests of the workspace", rust),
    step("go", true, "the cluster's own Go packages", go),
    step(
        "deny",
        false,
        "licences, sources and advisories of the dependencies",
        deny::check,
    ),
    step(
        "contracts",
        false,
        "committed contract code is what its sources compile to",
        contracts,
    ),
    step(
        "chart",
        false,
        "the Helm chart renders, refuses, and gives the least rights",
        chart,
    ),
    step(
        "page",
        false,
        "the operator's page fits a phone, and a browser shows it under its policy",
        page_step,
    ),
    Step {
        on_kind: Some(e2e_on_kind),
        ..step("e2e", false, "the whole loop on the testbed", e2e)
    },
    step(
        "ipv6",
        false,
        "a slice of them on a testbed where nothing has an address of IPv4",
        ipv6,
    ),
    step(
        "release",
        false,
        "a release is complete and reproducible, its parts install, and the workflows are sound",
        release,
    ),
    step(
        "kind",
        false,
        "a slice of them on a cluster of kind's, which leaves nothing",
        kind_step,
    ),
];

fn fmt() -> Result<Outcome> {
    once(
        "fmt",
        workspace::cargo().args(["fmt", "--all", "--check", "--", "--files-with-diff"]),
    )
}

fn codegen() -> Result<Outcome> {
    once("codegen", this_program()?.args(["codegen", "--check"]))
}

fn kernels_step() -> Result<Outcome> {
    let checked = kernels::check()
        .and_then(|()| kernels::ptxas::assemble())
        .and_then(|assembled| kernels::ptxas::gate(&assembled));
    match checked {
        Ok(()) => Ok(Outcome::passed()),
        Err(error) if error.downcast_ref::<pypi::Unreachable>().is_some() => Ok(Outcome::skipped(
            "kernels",
            "the compiler's wheels could not be fetched, so the kernels were not compiled again",
        )),
        Err(error) => Err(error),
    }
}

fn clippy() -> Result<Outcome> {
    // Tests of clusters and browsers are no part of all targets, since they run only when they are asked for.
    let on_demand = [
        "--test", "e2e", "--test", "attacks", "--test", "field", "--test", "browser",
    ];
    for targets in [&["--all-targets"][..], &on_demand] {
        let mut cargo = workspace::cargo();
        cargo
            .args(["clippy", "--workspace"])
            .args(targets)
            .args(["--", "--deny", "warnings"]);
        let (status, output) = capture(&mut cargo)?;
        if !status.success() {
            return Ok(Outcome::failed("clippy", output));
        }
    }
    Ok(Outcome::passed())
}

/// Folder whose packages the ignored tests use, and nothing but ignored tests: they need Node.
const NODE_TESTS: &str = "testbed/chain/tests/ton-client";

/// Names the file in which tests note that they checked nothing; `gpu-agent/tests/support/skip.rs` knows it.
pub(super) const SKIPPED: &str = "COCOON_SKIPPED_TESTS";

fn rust() -> Result<Outcome> {
    // Some tests run the demo's model. They name this fetch when it is missing.
    model::fetch().context("fetch the model that tests run")?;
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast"]);
    if node_is_there() {
        if !workspace::root().join(NODE_TESTS).join("node_modules").is_dir() {
            let (status, output) = npm_ci(NODE_TESTS)?;
            if !status.success() {
                return Ok(Outcome::failed("npm ci", output));
            }
        }
        cargo.args(["--", "--include-ignored"]);
    }
    let folder = tempfile::tempdir().context("make a folder for what tests skip")?;
    let skipped = folder.path().join("skipped");
    let (status, output) = capture(cargo.env(SKIPPED, &skipped))?;
    let mut outcome = Outcome::from_cargo_test("rust", status.success(), output);
    outcome.skip(&std::fs::read_to_string(&skipped).unwrap_or_default());
    Ok(outcome)
}

/// Packages that do not compile Kubernetes, which takes minutes and is done when a cluster is started.
const GO_PACKAGES: [&str; 2] = ["./internal/...", "./pause/..."];

fn go() -> Result<Outcome> {
    let folder = workspace::root().join("testbed/cluster");
    let go = |arguments: &[&str]| {
        let mut command = Command::new("go");
        command
            .args(arguments)
            .args(GO_PACKAGES)
            .current_dir(&folder)
            .env("CGO_ENABLED", "0");
        command
    };
    let (status, mut printed) = capture(&mut go(&["vet"]))?;
    if !status.success() {
        return Ok(Outcome::failed("go vet", printed));
    }
    let (status, unformatted) = capture(Command::new("gofmt").args(["-l", "."]).current_dir(&folder))?;
    if !status.success() || !unformatted.is_empty() {
        return Ok(Outcome::failed("gofmt", unformatted));
    }
    let (status, output) = capture(&mut go(&["test", "-v"]))?;
    printed.push_str(&output);
    Ok(Outcome::from_go_test("go", status.success(), printed))
}

fn contracts() -> Result<Outcome> {
    if !node_is_there() {
        return Ok(Outcome::skipped(
            "contracts",
            "node is not installed, so the contract was not compiled again",
        ));
    }
    let (status, output) = npm_ci("contracts")?;
    if !status.success() {
        return Ok(Outcome::failed("npm ci", output));
    }
    let folder = workspace::root().join("contracts");
    once(
        "contracts",
        Command::new("node")
            .args(["build.mjs", "--check"])
            .current_dir(folder),
    )
}

fn node_is_there() -> bool {
    let version = Command::new("node")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

/// Installs exactly what the lock file in `folder` names, and runs nothing of it.
fn npm_ci(folder: &str) -> Result<(ExitStatus, String)> {
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(workspace::root().join(folder));
    capture(&mut npm)
}

fn chart() -> Result<Outcome> {
    checked(chart::check()?)
}

fn release() -> Result<Outcome> {
    if std::env::consts::ARCH != "x86_64" {
        return Ok(Outcome::skipped(
            "release",
            "releases are made for linux/amd64, on such a machine",
        ));
    }
    checked(release::checks()?)
}

/// A step of several checks, each of which counts.
fn checked(checks: Vec<(String, Result<()>)>) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for (name, result) in checks {
        match result {
            Ok(()) => outcome.passed += 1,
            Err(error) => {
                writeln!(outcome.output, "{name}: {error:#}").context("keep an error")?;
                outcome.failed.push(name);
            }
        }
    }
    Ok(outcome)
}

fn page_step() -> Result<Outcome> {
    let Some(chromium) = page::chromium() else {
        return Ok(Outcome::skipped(
            "page",
            "Chromium is not installed, and could not be",
        ));
    };
    let (status, output) = capture(&mut page::tests(&chromium))?;
    Ok(Outcome::from_cargo_test("page", status.success(), output))
}

/// A step that is one command and counts once.
fn once(name: &str, command: &mut Command) -> Result<Outcome> {
    let (status, output) = capture(command)?;
    Ok(if status.success() {
        Outcome::passed()
    } else {
        Outcome::failed(name, output)
    })
}
