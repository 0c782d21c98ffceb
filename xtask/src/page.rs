//! `cargo xtask page`: the operator's page in a browser, checked and pictured.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{cluster, workspace};

/// Chromium by the names that distributions give it, the smallest first.
const NAMES: [&str; 4] = [
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
];
/// What brings it on Debian, with a font to write in.
const PACKAGES: [&str; 2] = ["chromium-headless-shell", "fonts-dejavu-core"];
/// Where the documentation has its pictures.
const PICTURES: &str = "docs/images";

/// Arguments of `cargo xtask page`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Wanted,
}

#[derive(clap::Subcommand)]
enum Wanted {
    /// Look at every view in Chromium: none is wider than a phone, and its policy lets its style be applied
    Check,
    /// The same, and write the pictures of the documentation
    Screenshots,
}

/// Runs it; without Chromium that is an error.
pub(crate) fn run(args: &Args) -> Result<()> {
    let chromium = chromium().context(
        "Chromium is not installed, and could not be; on Debian, as root: apt-get install chromium-headless-shell",
    )?;
    let mut tests = tests(&chromium);
    if matches!(args.command, Wanted::Screenshots) {
        tests.env("COCOON_PAGE_PICTURES", workspace::root().join(PICTURES));
    }
    let status = tests.status().context("run cargo test")?;
    if !status.success() {
        bail!("the page is not as it should be");
    }
    Ok(())
}

/// The command that looks at the page with this Chromium.
pub(crate) fn tests(chromium: &Path) -> Command {
    let mut tests = workspace::cargo();
    tests
        .args(["test", "--workspace", "--test", "browser"])
        .env("COCOON_CHROMIUM", chromium);
    tests
}

/// Path of Chromium, installed first where apt can; none where it cannot be had.
pub(crate) fn chromium() -> Option<PathBuf> {
    if let Some(found) = installed() {
        return Some(found);
    }
    if let Err(error) = cluster::install_packages(&PACKAGES) {
        eprintln!("{error:#}");
    }
    installed()
}

fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let files = NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    files.into_iter().find(|file| file.is_file())
}
