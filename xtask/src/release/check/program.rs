//! Starts the programs of a release: those for another processor in an emulator, on the files of their images.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use flate2::read::GzDecoder;

use super::layout::Layout;
use crate::image::{self, Architecture};
use crate::release::folder::names;
use crate::release::identity::Release;
use crate::release::plugin;

/// Fails unless an image's program for each processor that this machine lacks starts. Those for its own are what the
/// end-to-end tests run.
pub(super) fn images_start(release: &Release, layout: &Layout) -> Result<()> {
    for architecture in release.architectures.iter().filter(|each| !each.is_here()) {
        let root = tempfile::tempdir().context("create a temporary folder")?;
        let program = layout.unpack(*architecture, root.path())?;
        says_version(release, &mut emulated(*architecture, root.path(), &program))?;
    }
    Ok(())
}

/// The archive holds the program and the licence, and the program says its version.
pub(super) fn plugin_runs(release: &Release, architecture: Architecture, bytes: &[u8]) -> Result<()> {
    let folder = tempfile::tempdir().context("create a temporary folder")?;
    tar::Archive::new(GzDecoder::new(bytes))
        .unpack(folder.path())
        .context("unpack the archive")?;
    let found = names(folder.path())?;
    let wanted = ["LICENSE", plugin::PROGRAM];
    ensure!(found == wanted, "it holds {found:?}");
    let program = folder.path().join(plugin::PROGRAM);
    if architecture.is_here() {
        return says_version(release, &mut Command::new(program));
    }
    // It is linked as the images' programs are, so that their files stand for a machine of that processor.
    let root = tempfile::tempdir().context("create a temporary folder")?;
    tar::Archive::new(image::base(architecture)?.to_tar()?.as_slice())
        .unpack(root.path())
        .context("unpack the images' files")?;
    says_version(release, &mut emulated(architecture, root.path(), &program))
}

fn emulated(architecture: Architecture, root: &Path, program: &Path) -> Command {
    let mut emulator = Command::new(architecture.emulator());
    emulator.arg("-L").arg(root).arg(program);
    emulator
}

fn says_version(release: &Release, program: &mut Command) -> Result<()> {
    let name = program.get_program().display().to_string();
    let output = program
        .arg("--version")
        .output()
        .with_context(|| format!("start {name}; where it is an emulator, Debian's qemu-user has it"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && said.trim().ends_with(&format!(" {}", release.version)),
        "--version says {said:?}, and {:?}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
