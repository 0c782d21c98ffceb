//! How well the GPU kernels use their cards, without a card: registers, spills and occupancy by NVIDIA's assembler, and what the
//! machine of PTX counts.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::kernels::ptxas::{self, Assembled};
use crate::{image, workspace};

/// Tells the kernels' tests where to write what they counted; `gpu-agent/tests/kernels/efficiency.rs` knows it.
const FIGURES: &str = "KERNEL_FIGURES";

/// Assembles and counts. A figure beyond its gate is an error that names it.
pub(super) fn run() -> Result<Value> {
    let assembled = ptxas::assemble()?;
    let folder = image::target_folder().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let counted = count(&folder.join("kernels-counted.json"))?;
    ptxas::gate(&assembled)?;
    let assembled: Vec<Value> = assembled.iter().map(figures).collect();
    Ok(json!({"assembled": assembled, "counted": counted}))
}

/// Runs the tests of the kernels' efficiency, which fail where a gate does not hold.
fn count(path: &Path) -> Result<Value> {
    let output = workspace::cargo()
        .args([
            "test",
            "--quiet",
            "--package",
            "gpu-agent",
            "--test",
            "kernels",
            "efficiency",
        ])
        .env(FIGURES, path)
        .output()
        .context("run cargo test")?;
    ensure!(
        output.status.success(),
        "a kernel is beyond its gate, or is wrong:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).context("read what the kernels counted")
}

fn figures(of: &Assembled) -> Value {
    json!({
        "module": of.module,
        "kernel": of.kernel,
        "architecture": format!("sm_{}", of.architecture),
        "registers": of.registers,
        "spilledBytes": of.spilled,
        "sharedBytes": of.shared,
        "warpsByRegisters": of.warps(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_know_the_same_variable() {
        let path = workspace::root().join("gpu-agent/tests/kernels/efficiency.rs");
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(&format!("\"{FIGURES}\"")));
    }
}
