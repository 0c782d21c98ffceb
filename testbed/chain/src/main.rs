//! `testbed-chain`: serves a TON network of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use testbed_chain::chain::TESTBED_GLOBAL_ID;
use testbed_chain::network::Network;
use testbed_chain::serve::serve;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// A TON network in one process, speaking the toncenter v2 HTTP API.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the network until SIGTERM or SIGINT.
    Serve(Serve),
}

#[derive(clap::Args)]
struct Serve {
    /// Address and port to listen on; may be repeated.
    #[arg(long, required = true, value_name = "ADDR:PORT")]
    listen: Vec<SocketAddr>,
    /// Folder of the network's state; created if it does not exist.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The network's global id; a state folder keeps the one that it was created with.
    #[arg(long, default_value_t = TESTBED_GLOBAL_ID, allow_negative_numbers = true)]
    global_id: i32,
    /// Milliseconds between blocks.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    block_millis: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments {
        command: Command::Serve(arguments),
    } = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .init();
    run(arguments).await
}

async fn run(arguments: Serve) -> Result<()> {
    let network = Network::open(arguments.global_id, Some(&arguments.state))
        .with_context(|| format!("failed to open the network in {}", arguments.state.display()))?;
    let mut listeners = Vec::with_capacity(arguments.listen.len());
    let mut endpoints = Vec::with_capacity(arguments.listen.len());
    for address in &arguments.listen {
        let listener = TcpListener::bind(address)
            .with_context(|| format!("failed to listen on {address}; is another network running there?"))?;
        endpoints.push(format!(
            "http://{}/api/v2",
            listener.local_addr().context("failed to read a port")?
        ));
        listeners.push(listener);
    }
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone())?);
    println!("toncenter v2 at {}", endpoints.join(" "));
    let interval = Duration::from_millis(arguments.block_millis);
    serve(Arc::new(network), listeners, Some(interval), stop).await?;
    tracing::info!("state written, stopped");
    Ok(())
}

fn stop_on_signal(stop: CancellationToken) -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to watch for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    })
}
