//! `cargo xtask kernels`: compiles `gpu-agent/kernels/*.cu` to the PTX that is committed beside them.
//!
//! The compiler is NVIDIA's NVRTC, pinned by digest. It needs neither a GPU nor a driver. The agent's build takes the
//! PTX as it lies in the repository and needs neither.

mod modules;
mod nvrtc;
pub(crate) mod ptxas;
mod rules;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace;
use modules::Module;

/// Arguments of `cargo xtask kernels`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing, and fail with the list of files that are not what the kernels compile to
    #[arg(long)]
    check: bool,
}

/// Where the kernels lie.
const SOURCES: &str = "gpu-agent/kernels";
/// Where their PTX lies, and nothing else.
const COMPILED: &str = "gpu-agent/kernels/ptx";

/// Compiles, then writes or compares.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.check {
        check()?;
        println!("the committed PTX is what the kernels compile to");
        return Ok(());
    }
    let wanted = compile()?;
    let folder = workspace::root().join(COMPILED);
    fs::create_dir_all(&folder).with_context(|| format!("create folder {}", folder.display()))?;
    for path in drift(&folder, &wanted)? {
        let full = folder.join(&path);
        match wanted.get(&path) {
            Some(ptx) => fs::write(&full, ptx).with_context(|| format!("write {}", full.display()))?,
            None => fs::remove_file(&full).with_context(|| format!("remove {}", full.display()))?,
        }
        println!("wrote {COMPILED}/{}", path.display());
    }
    let bytes: usize = wanted.values().map(String::len).sum();
    println!(
        "{} modules of PTX are up to date, {} kB",
        wanted.len(),
        bytes / 1000
    );
    Ok(())
}

/// Compiles and compares.
///
/// # Errors
/// A kernel does not compile or breaks a rule, or the committed PTX is another. [`crate::pypi::Unreachable`] is in the
/// chain where the compiler could not be fetched.
pub(crate) fn check() -> Result<()> {
    let wanted = compile()?;
    let drift = drift(&workspace::root().join(COMPILED), &wanted)?;
    if drift.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = drift.iter().map(|path| format!("  {}", path.display())).collect();
    bail!(
        "these files in {COMPILED} are not what `cargo xtask kernels` writes: run it and commit them\n{}",
        list.join("\n")
    )
}

/// PTX of every module, by its file's name.
type Compiled = BTreeMap<PathBuf, String>;

fn compile() -> Result<Compiled> {
    let libraries = nvrtc::fetch()?;
    let folder = workspace::root().join(SOURCES);
    let modules = modules::all();
    let results = nvrtc::compile(&libraries, &folder, &modules)?;
    let mut compiled = Compiled::new();
    for (module, ptx) in modules.iter().zip(results) {
        let ptx = rules::tidy(&ptx);
        rules::check(&ptx).with_context(|| format!("check the PTX of {}", module.name()))?;
        compiled.insert(file_name(module).into(), ptx);
    }
    Ok(compiled)
}

fn file_name(module: &Module) -> String {
    format!("{}.ptx", module.name())
}

/// Files that differ from what is wanted: changed, missing, or left over.
fn drift(folder: &Path, wanted: &Compiled) -> Result<Vec<PathBuf>> {
    let mut drift: Vec<PathBuf> = wanted
        .iter()
        .filter(|(path, ptx)| fs::read_to_string(folder.join(path)).ok().as_ref() != Some(*ptx))
        .map(|(path, _)| path.clone())
        .collect();
    if folder.is_dir() {
        for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
            let name = PathBuf::from(entry.context("list the compiled modules")?.file_name());
            if !wanted.contains_key(&name) {
                drift.push(name);
            }
        }
    }
    drift.sort();
    Ok(drift)
}

#[cfg(test)]
mod tests;
