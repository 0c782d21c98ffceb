//! `cargo xtask page`: the operator's page in a browser, checked and pictured.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace;

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

/// Path of Chromium, installed first where this is Debian and we are root; none where it cannot be had.
pub(crate) fn chromium() -> Option<PathBuf> {
    if let Some(found) = installed() {
        return Some(found);
    }
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    let works = |command: &mut Command| {
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    };
    if !is_root || !works(Command::new("apt-get").arg("--version")) {
        return None;
    }
    eprintln!("installing {}", PACKAGES.join(" and "));
    let mut install = Command::new("apt-get");
    install
        .args(["install", "--quiet", "--yes", "--no-install-recommends"])
        .args(PACKAGES)
        .env("DEBIAN_FRONTEND", "noninteractive");
    // A machine whose lists were never read knows no package.
    if !works(&mut install) {
        works(Command::new("apt-get").args(["update", "--quiet"]));
        works(&mut install);
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
