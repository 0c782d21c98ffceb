//! Offers software GPUs to a kubelet as `nvidia.com/gpu`.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use testbed_device_plugin::driver::Driver;
use testbed_device_plugin::gpus::Gpus;
use testbed_device_plugin::labels::{ComputeCapability, Model, Product};
use testbed_device_plugin::{failures, labels, node, session};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(about, version)]
struct Args {
    /// The kubelet's root folder, whose device-plugins folder holds its socket
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet")]
    kubelet_dir: PathBuf,
    /// Credentials that may get, watch and patch the node
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// The node's name
    #[arg(long)]
    node: String,
    /// How many GPUs to offer
    #[arg(long, value_name = "N")]
    gpus: u16,
    /// Product name, which must contain "software"
    #[arg(long, default_value = "Software-RTX-3090")]
    product: Product,
    /// Memory of one GPU in MiB
    #[arg(long, value_name = "MIB", default_value_t = 24_576)]
    memory_mib: u64,
    /// CUDA compute capability
    #[arg(long, value_name = "MAJOR.MINOR", default_value = "8.6")]
    compute_capability: ComputeCapability,
    /// File with the indices of GPUs that have failed, followed as it changes
    #[arg(long, value_name = "FILE")]
    failures: Option<PathBuf>,
    /// File with the MiB that the driver in software gives each GPU of containers that start while the file is there
    #[arg(long, value_name = "FILE", requires = "driver")]
    driver_memory: Option<PathBuf>,
    /// The driver in software, mounted as libcuda.so.1 into containers that get GPUs; they get none without it
    #[arg(long, value_name = "FILE", requires = "driver_state")]
    driver: Option<PathBuf>,
    /// Folder that containers with GPUs share, in which the driver keeps what is taken of each GPU's memory
    #[arg(long, value_name = "DIR", requires = "driver")]
    driver_state: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    Box::pin(run(Args::parse())).await
}

async fn run(args: Args) -> Result<()> {
    let client = client(&args.kubeconfig).await?;
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;

    let gpus = Gpus::new(&args.node, args.gpus);
    let model = Model {
        product: args.product,
        memory_mib: args.memory_mib,
        compute: args.compute_capability,
    };
    let labels = labels::labels(&model, args.gpus.into());
    let driver = match args.driver.zip(args.driver_state) {
        Some((library, state)) => {
            Some(Driver::new(&library, &state, &model, args.driver_memory).context("offer the driver")?)
        }
        None => None,
    };
    let folder = args.kubelet_dir.join("device-plugins");

    let signals = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stop.cancelled() => {}
        }
        stop.cancel();
    };
    let plugin = async {
        let result = session::run(&folder, &gpus, driver.as_ref(), &stop).await;
        stop.cancel();
        result.context("offer the GPUs to the kubelet")
    };
    let health = async {
        let Some(path) = &args.failures else { return Ok(()) };
        let result = failures::follow(path, &gpus, &stop).await;
        // An early end is an error, which ends the plugin.
        if result.is_err() {
            stop.cancel();
        }
        result.context("follow the failures file")
    };
    let losses = async {
        let Some(driver) = &driver else { return Ok(()) };
        let result = driver.follow(&gpus, &stop).await;
        stop.cancel();
        result.context("have the driver lose failed GPUs")
    };
    let (plugin, health, losses, (), ()) = tokio::join!(
        plugin,
        health,
        losses,
        node::keep_labelled(client, &args.node, &labels, &stop),
        signals
    );
    plugin.and(health).and(losses)
}

async fn client(path: &std::path::Path) -> Result<Client> {
    let kubeconfig =
        Kubeconfig::read_from(path).with_context(|| format!("read kubeconfig {}", path.display()))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("use kubeconfig {}", path.display()))?;
    Client::try_from(config).with_context(|| format!("make a client from kubeconfig {}", path.display()))
}
