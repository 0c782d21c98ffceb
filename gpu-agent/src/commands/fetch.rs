//! `gpu-agent fetch`: downloads a model onto its node.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use axum::{Json, Router, extract::State, routing::get};
use cocoon_api::agent::{FetchFault, FetchProgress, FetchStage, PROGRESS_PATH};
use gpu_agent::{
    cache::{Cache, ROOT},
    fetch::{FetchError, Order, Patience, Progress, Source, from_folder, onto_node},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::sleep,
};

/// How long a file that had another digest is not asked for again: it would most likely come as it was, in full.
/// Whoever corrects the offer has another download at once.
const HOLD: Duration = Duration::from_mins(30);
/// File that says, by its time, when the file had another digest.
const MISMATCH: &str = "mismatch";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the model is.
    #[arg(long, env = "COCOON_FETCH_URL")]
    url: String,
    /// SHA-256 that it must have, in hexadecimal.
    #[arg(long, value_parser = super::parse_digest)]
    sha256: [u8; 32],
    /// The node's folder of models.
    #[arg(long)]
    cache: PathBuf,
    /// Bytes that all models of the node may take.
    #[arg(long)]
    limit: u64,
    /// Folder with headers for the server: a file for each, as a Secret is mounted.
    #[arg(long)]
    headers: Option<PathBuf>,
    /// Folder of this pod, in which it notes that the file had another digest.
    #[arg(long)]
    state: Option<PathBuf>,
    /// Address at which it says how far it is.
    #[arg(long, default_value = "[::]:8080")]
    probe_listen: SocketAddr,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    super::start_logs();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(until_done(arguments))
}

async fn until_done(arguments: &Arguments) -> anyhow::Result<()> {
    let progress = Arc::new(Progress::default());
    let listener = cocoon_api::listen::on(arguments.probe_listen, TcpListener::bind)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.probe_listen))?;
    let router = Router::new()
        .route(PROGRESS_PATH, get(told))
        .with_state(Arc::clone(&progress));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    tokio::select! {
        done = download(arguments, &progress) => Ok(done?),
        _ = terminate.recv() => anyhow::bail!("asked to stop; what has come stays, and the next download goes on with it"),
    }
}

async fn told(State(progress): State<Arc<Progress>>) -> Json<FetchProgress> {
    Json(progress.now())
}

async fn download(arguments: &Arguments, progress: &Progress) -> Result<(), FetchError> {
    let mismatch = arguments.state.as_ref().map(|state| state.join(MISMATCH));
    if let Some(left) = mismatch.as_deref().and_then(held_back) {
        progress.enter(FetchStage::HeldBack, 0);
        tracing::info!(
            seconds = left.as_secs(),
            "the file had another digest; it is asked for later"
        );
        sleep(left).await;
    }
    let patience = Patience::default();
    let headers = arguments.headers.as_deref().map(from_folder).transpose()?;
    let order = Order {
        source: Source::new(&arguments.url, headers.unwrap_or_default(), &patience)?,
        sha256: arguments.sha256,
        limit: arguments.limit,
    };
    let cache = Cache::open(&arguments.cache, ROOT)?;
    tracing::info!(host = order.source.host(), "downloading the model");
    let done = onto_node(&order, &cache, &patience, progress).await;
    if let (Err(error), Some(path)) = (&done, mismatch)
        && error.fault() == FetchFault::DigestMismatch
        && let Err(error) = fs::write(&path, "")
    {
        tracing::warn!(%error, "cannot note that the file had another digest");
    }
    done
}

/// How long the file is still not to be asked for.
fn held_back(mismatch: &Path) -> Option<Duration> {
    let since = fs::metadata(mismatch).ok()?.modified().ok()?;
    let age = SystemTime::now().duration_since(since).unwrap_or_default();
    HOLD.checked_sub(age).filter(|left| !left.is_zero())
}
