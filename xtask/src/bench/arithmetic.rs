//! What the one arithmetic costs a processor: the agent beside one whose vectors fuse multiply-adds and leave out
//! segments.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use crate::{image, workspace};

/// Runs of each program, in turn, so that a busy machine slows both; the best of each figure counts.
const ROUNDS: usize = 7;
/// Tokens of the prompt that is measured: long enough that attention counts.
const PREFILL: &str = "512";

/// Measures every model with both programs and sets their figures in relation.
pub(super) fn run(models: &[PathBuf]) -> Result<Value> {
    let free = build("free-order", &["--features", "free-order"])?;
    let defined = build("defined-order", &[])?;
    let results = models.iter().map(|model| {
        let figures = compare(&defined, &free, model)?;
        Ok((model.display().to_string(), figures))
    });
    results.collect::<Result<Map<_, _>>>().map(Value::Object)
}

/// Builds the agent and keeps its program under a name of its own.
fn build(name: &str, features: &[&str]) -> Result<PathBuf> {
    let folder = image::target_folder();
    let status = workspace::cargo()
        .args(["build", "--quiet", "--release", "--package", "gpu-agent"])
        .arg("--target-dir")
        .arg(&folder)
        .args(features)
        .status()
        .context("run cargo build")?;
    ensure!(status.success(), "the agent does not build");
    let programs = folder.join("bench");
    fs::create_dir_all(&programs).with_context(|| format!("create {}", programs.display()))?;
    let path = programs.join(format!("gpu-agent-{name}"));
    let built = folder.join("release/gpu-agent");
    fs::copy(&built, &path).with_context(|| format!("copy {}", built.display()))?;
    Ok(path)
}

/// Tokens per second in both orders, and how many times the free order's the defined order's are.
fn compare(defined: &Path, free: &Path, model: &Path) -> Result<Value> {
    let mut best: [Map<String, Value>; 2] = Default::default();
    for round in 0..ROUNDS {
        // Each goes first as often as the other.
        for which in [round % 2, (round + 1) % 2] {
            let program = [defined, free][which];
            for (name, figure) in measure(program, model)? {
                let known = best[which].get(&name).and_then(Value::as_f64).unwrap_or(0.0);
                best[which].insert(name, figure.max(known).into());
            }
        }
    }
    let [defined, free] = best;
    let ratios = defined.iter().filter_map(|(name, figure)| {
        let ratio = figure.as_f64()? / free.get(name)?.as_f64()?;
        Some((name.clone(), Value::from((ratio * 1000.0).round() / 1000.0)))
    });
    let ratios: Map<String, Value> = ratios.collect();
    Ok(json!({"definedTokensPerSecond": defined, "freeTokensPerSecond": free, "ratio": ratios}))
}

/// One run of the agent's own benchmark.
fn measure(program: &Path, model: &Path) -> Result<Vec<(String, f64)>> {
    let output = Command::new(program)
        .arg("bench")
        .arg("--model")
        .arg(model)
        .args(["--prefill", PREFILL, "--rounds", "1"])
        .output()
        .with_context(|| format!("run {}", program.display()))?;
    ensure!(
        output.status.success(),
        "gpu-agent bench failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let figures: Value = serde_json::from_slice(&output.stdout).context("read the agent's figures")?;
    let figure = |value: &Value| value.as_f64().context("a figure is missing");
    let mut result = vec![("prefill".to_owned(), figure(&figures["prefillTokensPerSecond"])?)];
    let decode = figures["decodeTokensPerSecond"]
        .as_object()
        .context("the figures of decoding are missing")?;
    for (sequences, value) in decode {
        result.push((format!("decode{sequences}"), figure(value)?));
    }
    Ok(result)
}
