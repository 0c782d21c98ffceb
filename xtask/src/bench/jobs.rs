//! Figures of the operator under many jobs, on the running stack.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{image, stack, workspace};

/// What of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of {
    /// Jobs a second and requests to the Kubernetes API.
    Rate,
    /// Memory, idle and after the jobs.
    Memory,
}

/// Starts the stack where none runs, and finishes so many jobs on it.
pub(super) fn run(of: Of, jobs: usize) -> Result<Value> {
    let description: PathBuf = stack::up(&stack::Up::default())?;
    let mut build = workspace::cargo();
    let status = build
        .args(["build", "--quiet", "--package", "e2e", "--bin", "bench"])
        .status()
        .context("run cargo build")?;
    ensure!(status.success(), "the bench does not build");
    let mut bench = Command::new(image::target_folder().join("debug/bench"));
    let output = bench
        .arg(match of {
            Of::Rate => "jobs",
            Of::Memory => "memory",
        })
        .arg("--stack")
        .arg(description)
        .args(["--jobs", &jobs.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .context("run the bench")?;
    ensure!(output.status.success(), "the bench failed");
    serde_json::from_slice(&output.stdout).context("read the bench's figures")
}
