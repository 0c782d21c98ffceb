//! Serves a network: listeners and block production, until told to stop.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::network::{Network, NetworkError};
use crate::server::router;

/// Why a network stopped being served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener failed.
    #[error("failed to serve HTTP")]
    Listener(#[from] io::Error),
    /// A block could not be made or the state not be written.
    #[error("failed to go on with the network")]
    Network(#[from] NetworkError),
    /// A fault of this program.
    #[error("a task of the network panicked")]
    Panicked(#[from] JoinError),
}

/// Serves on every listener and makes blocks at this interval (none: on request only), until cancelled or until
/// either fails; then the state is written in one piece. Needs a multi-threaded runtime: making a block takes a thread.
///
/// # Errors
///
/// Fails if a listener or the disk does.
pub async fn serve(
    network: Arc<Network>,
    listeners: Vec<TcpListener>,
    block_interval: Option<Duration>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let mut tasks: JoinSet<Result<(), ServeError>> = JoinSet::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let served = axum::serve(listener, router(network.clone()))
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        tasks.spawn(async move { Ok(served.await?) });
    }
    if let Some(interval) = block_interval {
        let made = network.clone().make_blocks(interval, stop.clone());
        tasks.spawn(async move { Ok(made.await?) });
    }
    let mut outcome = Ok(());
    while let Some(finished) = tasks.join_next().await {
        let finished = finished.map_err(ServeError::from).flatten();
        outcome = outcome.and(finished);
        stop.cancel();
    }
    outcome.and_then(|()| Ok(network.flush()?))
}
