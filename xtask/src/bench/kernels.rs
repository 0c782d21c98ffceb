//! How well the GPU kernels use their cards, without a card: registers, spills and occupancy by NVIDIA's assembler, and
//! what the machine of PTX counts.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::kernels::ptxas::{self, Assembled};
use crate::{image, workspace};

/// Tells the kernels' tests where to write what they counted; `gpu-agent/tests/kernels/efficiency.rs` knows it.
const FIGURES: &str = "KERNEL_FIGURES";

/// Warps that a multiprocessor is to hold of every kernel: one for each scheduler, which otherwise issues nothing.
const LEAST_WARPS: u32 = 4;

/// Assembles and counts. A figure beyond its gate is an error that names it.
pub(super) fn run() -> Result<Value> {
    let assembled = ptxas::assemble()?;
    let folder = image::target_folder().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let counted = count(&folder.join("kernels-counted.json"))?;
    ptxas::gate(&assembled)?;
    let occupancy = occupancy(&assembled, &counted)?;
    gate(&occupancy)?;
    let assembled: Vec<Value> = assembled.iter().map(figures).collect();
    let occupancy: Vec<Value> = occupancy.iter().map(Occupancy::figures).collect();
    Ok(json!({"assembled": assembled, "occupancy": occupancy, "counted": counted}))
}

/// Warps that a multiprocessor holds of a launch that was counted.
struct Occupancy<'a> {
    of: &'a Assembled,
    launch: &'a Value,
    warps: u32,
    most: u32,
}

impl Occupancy<'_> {
    fn figures(&self) -> Value {
        json!({
            "module": self.of.module,
            "kernel": self.of.kernel,
            "architecture": format!("sm_{}", self.of.architecture),
            "threads": self.launch["threads"],
            "dynamicSharedBytes": self.launch["dynamicSharedBytes"],
            "warps": self.warps,
            "share": f64::from(self.warps) / f64::from(self.most),
        })
    }
}

/// Of every launch that was counted, on every architecture that takes its module.
fn occupancy<'a>(assembled: &'a [Assembled], counted: &'a Value) -> Result<Vec<Occupancy<'a>>> {
    let mut all = Vec::new();
    for launch in ["streaming", "between"]
        .into_iter()
        .filter_map(|part| counted[part].as_array())
        .flatten()
    {
        let size = |name: &str| -> Result<u32> {
            let value = launch[name]
                .as_u64()
                .with_context(|| format!("a launch without {name}"))?;
            u32::try_from(value).context("a launch beyond any card")
        };
        let (threads, shared) = (size("threads")?, size("dynamicSharedBytes")?);
        let before = all.len();
        for of in assembled
            .iter()
            .filter(|of| launch["module"] == of.module && launch["kernel"] == of.kernel)
        {
            let (warps, most) = of.occupancy(threads, shared);
            all.push(Occupancy {
                of,
                launch,
                warps,
                most,
            });
        }
        ensure!(
            all.len() > before,
            "{} of {} was counted and not assembled",
            launch["kernel"],
            launch["module"]
        );
    }
    Ok(all)
}

/// Refuses launches of which a multiprocessor holds fewer warps than hide the latency of memory.
fn gate(all: &[Occupancy<'_>]) -> Result<()> {
    let few: Vec<String> = all
        .iter()
        .filter(|of| of.warps < LEAST_WARPS)
        .map(|of| {
            format!(
                "  {} of {}: {} warps on sm_{}",
                of.of.kernel, of.of.module, of.warps, of.of.architecture
            )
        })
        .collect();
    ensure!(
        few.is_empty(),
        "a multiprocessor holds fewer than {LEAST_WARPS} warps of\n{}",
        few.join("\n")
    );
    Ok(())
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
