//! `cargo xtask demo`: the whole loop, from an empty machine to a job that is paid.

mod log;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::{image, kind, stack, workspace};

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also write the summary as one JSON object
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Run it on a cluster that kind makes
    #[arg(long, conflicts_with_all = ["kubeconfig", "ip_family"])]
    kind: bool,
    /// Run the same job on a GPU afterwards, and compare answers and bill
    #[arg(long)]
    cuda: bool,
    #[command(flatten)]
    stack: stack::Up,
}

/// Starts what the demo runs on.
fn start_stack(args: &Args) -> Result<PathBuf> {
    if !args.kind {
        return stack::up(&args.stack);
    }
    let asked = &args.stack;
    stack::up(&kind::up(&kind::Up {
        nodes: asked.nodes,
        gpus: asked.gpus.map(kind::Gpus::Software),
        operator_binary: asked.operator_binary.clone(),
        agent_binary: asked.agent_binary.clone(),
        ..kind::Up::default()
    })?)
}

/// Starts the stack and runs the demo on it. Where nobody watches, it says one line a phase, and keeps everything else
/// in a log.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if log::is_wanted() {
        return log::run();
    }
    let start = Instant::now();
    let description = start_stack(args)?;
    stack::say("building the demo");
    let mut build = workspace::cargo();
    let status = build
        .args(["build", "--quiet", "--workspace", "--bin", "demo"])
        .status()
        .context("run cargo build")?;
    ensure!(status.success(), "the demo does not build");
    let mut demo = Command::new(image::target_folder().join("debug/demo"));
    demo.arg("--stack")
        .arg(&description)
        .arg("--setup-seconds")
        .arg(format!("{:.1}", start.elapsed().as_secs_f64()));
    demo.arg("--example")
        .arg(workspace::root().join("examples/first-job.yaml"));
    if args.cuda {
        demo.arg("--cuda");
    }
    if let Some(file) = &args.json {
        demo.arg("--json")
            .arg(std::path::absolute(file).context("find the folder of the summary")?);
    }
    let status = demo.status().context("run the demo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
