//! Plain HTTP for the kubelet and Prometheus: liveness, readiness, metrics. Nothing here is private.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};

use cocoon_api::agent::Devices;

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
/// does not come back: the agent must be started again, which is what failing liveness asks for. While some of its
/// devices serve, it goes on with them.
async fn healthy(State(service): State<Arc<Service>>) -> (StatusCode, String) {
    match service.serving.engine.health() {
        Health::Serving => (StatusCode::OK, serving(&service.serving.devices())),
        ended => {
            let reason = ended.reason();
            (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{reason}: the engine has ended\n"),
            )
        }
    }
}

/// What an agent that serves says of its devices: `ok: 1 of 2 devices have ended: DeviceLost`.
fn serving(devices: &Devices) -> String {
    if devices.ended.is_empty() {
        return "ok\n".to_owned();
    }
    let mut words: Vec<&str> = devices.ended.iter().map(|end| end.word()).collect();
    words.dedup();
    let (ended, given) = (devices.ended.len(), devices.given);
    format!(
        "ok: {ended} of {given} devices have ended: {}\n",
        words.join(", ")
    )
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
