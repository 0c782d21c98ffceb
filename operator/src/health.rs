//! `/healthz`, `/readyz` and `/metrics`.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use cocoon_api::listen;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Serves probes and metrics until `stop`. A process that waits to lead is ready: it takes over when it must.
pub async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ok\n" }))
        .route("/metrics", get(render))
        .with_state(metrics);
    let listener = listen::on(address, TcpListener::bind).await?;
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

async fn render(State(metrics): State<Arc<Metrics>>) -> Result<String, (StatusCode, String)> {
    metrics.render().map_err(|error| {
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("could not render metrics: {error}\n"),
        )
    })
}
