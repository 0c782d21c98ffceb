//! Whether this machine runs containers at all, asked before anything of this project is put into one.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};

use super::engine::Engine;

/// Names of what is made for it.
const IMAGE: &str = "localhost/cocoon-kind-trial";
const NETWORK: &str = "cocoon-kind-trial";
/// Where the program lies in the container.
const PROGRAM: &str = "kind";

/// Runs kind's own program, which needs no library, with the rights and the kind of network that a node has.
pub(super) fn run(engine: &Engine, state: &Path, kind: &Path) -> Result<()> {
    let archive = state.join("trial.tar");
    let file = File::create(&archive).with_context(|| format!("create {}", archive.display()))?;
    let mut tar = tar::Builder::new(file);
    tar.append_path_with_name(kind, PROGRAM)
        .and_then(|()| tar.finish())
        .with_context(|| format!("write {}", archive.display()))?;
    engine.run(&["import", &archive.display().to_string(), IMAGE])?;
    fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))?;
    engine.run(&["network", "create", NETWORK])?;
    let program = format!("/{PROGRAM}");
    let ran = engine.run(&[
        "run",
        "--rm",
        "--privileged",
        "--network",
        NETWORK,
        IMAGE,
        &program,
        "version",
    ]);
    engine.run(&["network", "rm", NETWORK])?;
    engine.run(&["image", "rm", "--force", IMAGE])?;
    ran.map(drop)
}
