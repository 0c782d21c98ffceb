//! `cargo xtask e2e`: the end-to-end tests on a running stack.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::{stack, workspace};

/// Nodes of the testbed unless asked otherwise: agents on two are one of the tests. The second costs about 50 MB.
const NODES: u8 = 2;

/// Arguments of `cargo xtask e2e`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    stack: stack::Up,
    /// End the stack afterwards
    #[arg(long)]
    down: bool,
    /// Names of tests, or parts of names [default: all]
    tests: Vec<String>,
}

/// Starts the stack and runs the tests on it, one after the other.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let description = stack::up_for_tests(&args.stack.clone().or_nodes(NODES))?;
    let code = on(&description, &args.tests, Ignored::Skip)?;
    if args.down {
        stack::down()?;
    }
    Ok(code)
}

/// What becomes of tests that are marked as ignored: they need what the testbed lacks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ignored {
    /// They are named as such, with what they need.
    Skip,
    /// They run.
    Run,
}

/// Runs the tests of these names, or all, on the stack that a file describes.
pub(crate) fn on(description: &Path, names: &[String], ignored: Ignored) -> Result<ExitCode> {
    let mut tests = workspace::cargo();
    tests
        .args([
            "test",
            "--workspace",
            "--no-fail-fast",
            "--test",
            "e2e",
            "--test",
            "attacks",
            "--test",
            "field",
            "--",
        ])
        .args(names);
    if ignored == Ignored::Run {
        tests.arg("--include-ignored");
    }
    tests
        .args(["--test-threads", "1"])
        .env("COCOON_STACK", description);
    let status = tests.status().context("run cargo test")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
