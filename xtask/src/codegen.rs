//! `cargo xtask codegen`: the files that are derived from other files, and whether they still agree.
//!
//! | written | from |
//! |---|---|
//! | `crds/*.yaml` | the Rust types of `api/src/crd` |
//! | `charts/cocoon-farm/templates/crds/*.yaml` | the same, behind the chart's switches |
//! | the table of values in `charts/cocoon-farm/README.md` | the comments in `values.yaml` |
//! | `charts/cocoon-farm/templates/_defaults.tpl` | `values.yaml` without its comments |
//! | the annotations at the end of `charts/cocoon-farm/Chart.yaml` | `crds/*.yaml` and `examples/` |
//!
//! What is written depends on nothing but these sources, so that a second run changes nothing.

pub(crate) mod annotations;
mod crds;
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Arguments of `cargo xtask codegen`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing, and fail with the list of files that are not what their sources give
    #[arg(long)]
    check: bool,
}

/// Content of every generated file, by its path in the workspace.
type Files = BTreeMap<PathBuf, String>;

/// Folders in which nothing but generated files lies: any other file in them is a leftover.
const GENERATED_FOLDERS: [&str; 2] = [crds::PLAIN, crds::CHART];

/// Writes the generated files, or compares them.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root();
    let mut wanted = crds::render()?;
    wanted.insert(values::README.into(), values::render(root)?);
    wanted.insert(values::DEFAULTS.into(), values::render_defaults(root)?);
    wanted.insert(annotations::CHART.into(), annotations::render(root, &wanted)?);
    let drift = drift(root, &wanted)?;
    if args.check {
        return report(&drift, wanted.len());
    }
    for path in &drift {
        let full = root.join(path);
        match wanted.get(path) {
            Some(content) => write(&full, content)?,
            None => fs::remove_file(&full).with_context(|| format!("remove {}", full.display()))?,
        }
        println!("wrote {}", path.display());
    }
    println!("{} generated files are up to date", wanted.len());
    Ok(())
}

fn report(drift: &[PathBuf], files: usize) -> Result<()> {
    if drift.is_empty() {
        println!("{files} generated files are up to date");
        return Ok(());
    }
    let list: Vec<String> = drift.iter().map(|path| format!("  {}", path.display())).collect();
    bail!(
        "these files are not what `cargo xtask codegen` writes: run it and commit them\n{}",
        list.join("\n")
    )
}

/// Files that differ from what is wanted: changed, missing, or left over.
fn drift(root: &Path, wanted: &Files) -> Result<Vec<PathBuf>> {
    let mut drift = Vec::new();
    for (path, content) in wanted {
        let full = root.join(path);
        match fs::read_to_string(&full) {
            Ok(found) if found == *content => {}
            Ok(_) => drift.push(path.clone()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => drift.push(path.clone()),
            Err(error) => return Err(error).with_context(|| format!("read {}", full.display())),
        }
    }
    for folder in GENERATED_FOLDERS {
        let full = root.join(folder);
        let entries = match fs::read_dir(&full) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("list {}", full.display())),
        };
        for entry in entries {
            let entry = entry.with_context(|| format!("list {}", full.display()))?;
            let path = Path::new(folder).join(entry.file_name());
            if !wanted.contains_key(&path) {
                drift.push(path);
            }
        }
    }
    drift.sort();
    Ok(drift)
}

fn write(path: &Path, content: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create folder {}", folder.display()))?;
    }
    fs::write(path, content).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests;
