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
use crate::engine::Health;

pub(super) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/healthz", get(healthy))
        .route("/readyz", get(healthy))
        .route("/metrics", get(metrics))
        .with_state(service)
}

/// The model is loaded before anything listens, so an agent is ready while its engine serves. An engine that has ended
/// does not come back: the agent must be started again, which is what failing liveness asks for. While some of its devices
/// serve, it goes on with them.
async fn healthy(State(service): State<Arc<Service>>) -> (StatusCode, String) {
    match service.serving.engine.health() {
        Health::Serving => match service.serving.engine.ended() {
            (0, _) => (StatusCode::OK, "ok\n".to_owned()),
            (ended, all) => (
                StatusCode::OK,
                format!("ok: {ended} of {all} devices have ended\n"),
            ),
        },
        ended => {
            let reason = ended.reason();
            (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{reason}: the engine has ended\n"),
            )
        }
    }
}

async fn metrics(State(service): State<Arc<Service>>) -> Response {
    match service.metrics.render(&service.serving) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot render metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
