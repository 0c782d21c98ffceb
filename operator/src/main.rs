//! The operator's process: starts, waits to lead, runs the controllers, stops.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use clap::Parser as _;
use cocoon_api::crash;
use cocoon_core::scope::scope;
use cocoon_operator::{
    chain::Networks,
    channel,
    config::Config,
    context::Context,
    error, health, job,
    leader::{Leadership, lease_name},
    metrics::Metrics,
    page::{self, Page, Stores},
    provider, requests,
    rivals::Rivals,
    settlement, telemetry,
    tls::AgentTls,
    watch::Watches,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

#[tokio::main]
async fn main() -> ExitCode {
    if let Err(error) = crash::leave_nothing_private() {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    let config = Config::parse();
    telemetry::start(config.log_json);
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            error!(error = error::chain(cause.as_ref()), "the operator stops");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider is installed already"))?;
    let metrics = Arc::new(Metrics::new().context("could not register metrics")?);
    let networks = Networks::load(&config.networks, &metrics)
        .with_context(|| format!("could not read the networks file {}", config.networks.display()))?;
    let cluster = kube::Config::infer()
        .await
        .context("could not find out how to reach the Kubernetes API")?;
    let client = requests::counted(cluster, &metrics.kubernetes_requests)
        .context("could not make a client of the Kubernetes API")?;
    let stop = CancellationToken::new();
    let probes = tokio::spawn(health::serve(
        config.health_address,
        metrics.clone(),
        stop.child_token(),
    ));
    let page = Arc::new(Page::default());
    if let Some(address) = config.page_address {
        tokio::spawn(serve_page(address, page.clone(), stop.child_token()));
    }
    let lease = lease_name(&config.watch_namespaces);
    let mut leadership = Leadership::campaign(client.clone(), &config.namespace, &lease, &config.identity)
        .await
        .context("could not take part in the leader election")?;
    info!(identity = %config.identity, "waiting to lead");
    let mut interrupt = signal(SignalKind::interrupt()).context("could not listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("could not listen for SIGTERM")?;
    let rivals = Rivals {
        client: client.clone(),
        namespace: &config.namespace,
        lease: &lease,
        scope: scope(&config.watch_namespaces),
    };
    let turn = tokio::select! {
        turn = turn(&mut leadership, &rivals, &metrics) => turn,
        _ = interrupt.recv() => Ok(false),
        _ = terminate.recv() => Ok(false),
    };
    if !matches!(turn, Ok(true)) {
        leadership.resign().await;
        return turn.map(drop);
    }
    info!("leading");
    metrics.leader.set(1);
    let tls = AgentTls::load(client.clone(), &config.namespace)
        .await
        .context("could not load the certificate authority")?;
    let watches = Watches::start(&client, config.scope(), &stop.child_token());
    let ctx = Arc::new(Context::new(
        client,
        config,
        metrics.clone(),
        networks,
        tls,
        watches,
    ));
    let controllers = tokio::spawn(controllers(ctx, page, stop.child_token()));
    let lost = tokio::select! {
        () = leadership.lost() => true,
        _ = interrupt.recv() => false,
        _ = terminate.recv() => false,
    };
    info!(lost, "stopping");
    metrics.leader.set(0);
    stop.cancel();
    controllers.await.context("a controller panicked")?;
    leadership.resign().await;
    probes
        .await
        .context("the probe server panicked")?
        .context("could not serve probes")?;
    anyhow::ensure!(!lost, "the lease was lost: start again and wait for it");
    Ok(())
}

/// Waits until this process leads its release, and no other release's operator serves the same. `false` where the
/// election broke off.
async fn turn(leadership: &mut Leadership, rivals: &Rivals<'_>, metrics: &Metrics) -> anyhow::Result<bool> {
    if !leadership.won().await {
        return Ok(false);
    }
    tokio::select! {
        gone = rivals.gone(metrics) => gone
            .map(|()| true)
            .context("could not find out whether another operator serves the same"),
        () = leadership.lost() => anyhow::bail!("the lease was lost: start again and wait for it"),
    }
}

/// An operator whose page cannot be served does its work all the same.
async fn serve_page(address: SocketAddr, page: Arc<Page>, stop: CancellationToken) {
    match TcpListener::bind(address).await {
        Ok(listener) => page::serve(listener, page, stop).await,
        Err(cause) => error!(%address, error = error::chain(&cause), "could not serve the page"),
    }
}

async fn controllers(ctx: Arc<Context>, page: Arc<Page>, stop: CancellationToken) {
    let filled = stop.run_until_cancelled(ctx.watches.filled()).await;
    if filled != Some(true) {
        return;
    }
    page.show(Stores::of(&ctx.watches));
    tokio::join!(
        provider::run(ctx.clone(), stop.clone()),
        job::run(ctx.clone(), stop.clone()),
        channel::run(ctx.clone(), stop.clone()),
        settlement::run(ctx, stop),
    );
}
