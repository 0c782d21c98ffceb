//! `cargo xtask bench`: the figures of the README's table, each as one JSON file under `target/bench`.

mod arithmetic;
mod jobs;
mod kernels;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{image, model, stack, workspace};

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure [default: all]
    #[arg(value_enum)]
    what: Vec<What>,
    /// Jobs of `jobs`, and finished jobs after which `memory` reads the operator's
    #[arg(long, default_value_t = 1000)]
    jobs: usize,
    /// Start the first demo with empty caches of our own, of cargo's builds and of go: tens of minutes
    #[arg(long)]
    cold: bool,
    /// Model files that `arithmetic` measures [default: the test model]
    #[arg(long, value_name = "PATH")]
    model: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Bytes of the images
    Images,
    /// The demo, twice: its own phases, and the whole command
    Demo,
    /// Memory of the operator, idle and after finished jobs
    Memory,
    /// Jobs a second and requests to the Kubernetes API for each, in batches and all at once
    Jobs,
    /// Tokens per second of the agent's CPU backend
    Agent,
    /// What the defined order of sums costs the CPU backend, as a ratio
    Arithmetic,
    /// How the GPU kernels use their cards, as far as it can be counted; fails where a gate does not hold
    Kernels,
}

/// Measures and writes.
pub(crate) fn run(args: &Args) -> Result<()> {
    let all = [
        What::Images,
        What::Agent,
        What::Arithmetic,
        What::Kernels,
        What::Demo,
        What::Memory,
        What::Jobs,
    ];
    for what in if args.what.is_empty() {
        &all[..]
    } else {
        &args.what
    } {
        let (name, figures) = match what {
            What::Images => ("images", images()?),
            What::Agent => ("agent", agent()?),
            What::Arithmetic => ("arithmetic", arithmetic(&args.model)?),
            What::Kernels => ("kernels", kernels::run()?),
            What::Demo => ("demo", demo(args.cold)?),
            What::Memory => ("memory", jobs::run(jobs::Of::Memory, args.jobs)?),
            What::Jobs => ("jobs", jobs::run(jobs::Of::Rate, args.jobs)?),
        };
        let folder = image::target_folder().join("bench");
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let path = folder.join(format!("{name}.json"));
        fs::write(
            &path,
            serde_json::to_vec_pretty(&figures).context("encode figures")?,
        )
        .with_context(|| format!("write {}", path.display()))?;
        println!("{name}: {figures}");
    }
    Ok(())
}

fn images() -> Result<Value> {
    let images = image::build(&image::Args::default())?;
    images
        .iter()
        .map(|image| serde_json::to_value(image).context("encode an image"))
        .collect()
}

fn agent() -> Result<Value> {
    image::build(&image::Args::default())?;
    let program = image::target_folder().join("release/gpu-agent");
    let output = Command::new(&program)
        .arg("bench")
        .arg("--model")
        .arg(model::fetch()?)
        .output()
        .context("run gpu-agent bench")?;
    ensure!(
        output.status.success(),
        "gpu-agent bench failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("read the agent's figures")
}

fn arithmetic(models: &[PathBuf]) -> Result<Value> {
    if models.is_empty() {
        return arithmetic::run(&[model::fetch()?]);
    }
    arithmetic::run(models)
}

/// Caches that a first run fills, each by the variable that says where it is. Downloaded crates and installed packages
/// stay where they are: what fetching them takes is the network's figure, not ours.
const CACHES: [&str; 4] = ["COCOON_CACHE", "CARGO_TARGET_DIR", "GOCACHE", "GOMODCACHE"];

/// Runs `./x demo` twice; the second run is warm. The first one is cold when it starts with empty caches.
fn demo(cold: bool) -> Result<Value> {
    let mut caches = Vec::new();
    let folder = tempfile::tempdir().context("create a folder for empty caches")?;
    if cold {
        stack::down()?;
        caches.extend(CACHES.map(|name| (name, folder.path().join(name.to_lowercase()))));
    }
    let first = one_demo(&caches)?;
    let warm = one_demo(&caches)?;
    if cold {
        stack::down()?;
    }
    let name = if cold { "cold" } else { "first" };
    Ok(json!({name: first, "warm": warm}))
}

fn one_demo(caches: &[(&str, PathBuf)]) -> Result<Value> {
    let file = tempfile::NamedTempFile::new().context("create a file for the summary")?;
    let start = Instant::now();
    let mut command = Command::new(workspace::root().join("x"));
    let status = command
        .arg("demo")
        .arg("--json")
        .arg(file.path())
        .envs(caches.iter().map(|(name, folder)| (name, folder)))
        .status()
        .context("run ./x demo")?;
    ensure!(status.success(), "./x demo failed");
    Ok(json!({"seconds": start.elapsed().as_secs_f64(), "summary": read(file.path())?}))
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))
}
