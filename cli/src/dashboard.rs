//! `kubectl cocoon dashboard`: the operator's page in a browser, through a port of this machine.

mod forward;
mod operator;

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::net::TcpListener;

use crate::{kubernetes, output};
use forward::Forward;

/// Where the chart's documentation installs the operator.
const NAMESPACE: &str = "cocoon-system";

/// Where to show it.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Port of this machine; 0 takes a free one.
    #[arg(long, value_name = "N", default_value_t = 8088)]
    port: u16,
}

/// Forwards the port until interrupted.
pub async fn run(arguments: Arguments, cluster: kubernetes::Arguments) -> Result<()> {
    let namespace = cluster.named_namespace().unwrap_or(NAMESPACE).to_owned();
    let cluster = cluster.connect().await?;
    let Arguments { port } = arguments;
    let forward = Forward::to(cluster.client, namespace).await?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await.with_context(|| {
        format!("could not take port {port} of this machine: give another with --port, or 0 for a free one")
    })?;
    let address = listener.local_addr().context("could not tell the port")?;
    output::print(&format!("http://localhost:{}\n", address.port()))?;
    eprintln!("shows the page of {forward}; end it with Ctrl-C");
    tokio::select! {
        () = forward.serve(listener) => Ok(()),
        ended = interrupted() => ended,
    }
}

/// Waits for Ctrl-C, or for the word to end that a service manager gives.
async fn interrupted() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("could not listen for signals")?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt.context("could not listen for interrupts"),
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests;
