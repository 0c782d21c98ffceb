//! Runs a program and keeps what it prints.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result};

use crate::workspace;

/// Runs a command without input and returns what it printed, standard output and error in the order of writing.
pub(super) fn capture(command: &mut Command) -> Result<(ExitStatus, String)> {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut printed = tempfile::tempfile().context("create a temporary file")?;
    let copy = |file: &File| file.try_clone().context("share a temporary file");
    let status = command
        .env("CARGO_TERM_COLOR", "never")
        .env("RUST_BACKTRACE", "1")
        .env("RUST_LIB_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(copy(&printed)?)
        .stderr(copy(&printed)?)
        .status()
        .with_context(|| format!("start {program}"))?;
    printed.rewind().context("read a temporary file")?;
    let mut bytes = Vec::new();
    printed
        .read_to_end(&mut bytes)
        .with_context(|| format!("read what {program} printed"))?;
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

/// A command of this program, in the workspace.
pub(super) fn this_program() -> Result<Command> {
    let program = std::env::current_exe().context("find the path of this program")?;
    let mut command = Command::new(program);
    command.current_dir(workspace::root());
    Ok(command)
}
