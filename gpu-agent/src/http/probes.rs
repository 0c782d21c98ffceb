//! Plain HTTP for the kubelet and Prometheus: liveness, readiness, metrics. Nothing here is private.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};

use super::service::Service;

pub(super) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/healthz", get(healthy))
        .route("/readyz", get(healthy))
        .route("/metrics", get(metrics))
        .with_state(service)
}

/// The model is loaded before anything listens, so an agent is ready while its engine lives.
async fn healthy(State(service): State<Arc<Service>>) -> (StatusCode, &'static str) {
    if service.engine.is_alive() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, "the engine has stopped\n")
    }
}

async fn metrics(State(service): State<Arc<Service>>) -> Response {
    match service.metrics.render(&service.engine) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot render metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
