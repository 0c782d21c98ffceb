//! The demo: a farm offers a software GPU, a payer opens a channel, a job runs and is paid, and every step shows.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Parser;
use cocoon_api::crd::provider::Backend;
use e2e::{
    demo::{self, Summary},
    stack::Stack,
};

#[derive(Parser)]
#[command(about)]
struct Args {
    /// Description of the running stack
    #[arg(long)]
    stack: PathBuf,
    /// The job to run
    #[arg(long)]
    example: PathBuf,
    /// Run the same job on a GPU afterwards, and compare
    #[arg(long)]
    cuda: bool,
    /// How long it took to start the stack
    #[arg(long, default_value_t = 0.0)]
    setup_seconds: f64,
    /// Also write the summary as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let start = Instant::now();
    let stack = Stack::open(&args.stack).await?;
    let example = std::fs::read_to_string(&args.example)
        .with_context(|| format!("could not read {}", args.example.display()))?;
    let (mut summary, namespace) = if args.cuda {
        (on_gpu(&stack, &example).await?, demo::CUDA_NAMESPACE)
    } else {
        (demo::run(&stack, &example, Backend::CPU).await?, demo::NAMESPACE)
    };
    summary.phase("setup", Duration::from_secs_f64(args.setup_seconds));
    summary.seconds = args.setup_seconds + start.elapsed().as_secs_f64();
    println!("{summary}");
    println!("\nLook around:");
    println!("  export KUBECONFIG={}", stack.description.kubeconfig.display());
    println!(
        "  export PATH={}:{}:$PATH",
        parent(&stack.description.kubectl),
        parent(&stack.description.plugin)
    );
    println!("  kubectl get cocoon -n {namespace}");
    println!("  kubectl cocoon status -n {namespace}");
    println!("  kubectl cocoon results {} -n {namespace}", summary.job);
    println!("  ./x down                    # removes everything");
    if let Some(path) = args.json {
        let text = serde_json::to_string_pretty(&summary)?;
        std::fs::write(&path, text + "\n").with_context(|| format!("could not write {}", path.display()))?;
    }
    Ok(())
}

/// The job on the CPU, and then on a GPU, which must give and cost the same.
async fn on_gpu(stack: &Stack, example: &str) -> Result<Summary> {
    let start = Instant::now();
    let mut reference = demo::run(stack, example, Backend::CPU).await?;
    reference.seconds = start.elapsed().as_secs_f64();
    println!("{reference}\n");
    println!("· the same on a GPU");
    let summary = demo::run(stack, example, Backend::CUDA).await?;
    summary
        .ensure_equal(&reference)
        .context("the GPU did not do what the CPU did")?;
    println!(
        "· the GPU's {} answers are the CPU's to the byte, and so is the bill to the nanoTON",
        summary.requests
    );
    Ok(summary)
}

fn parent(path: &std::path::Path) -> String {
    path.parent()
        .map(|folder| folder.display().to_string())
        .unwrap_or_default()
}
