//! The HTTP side: the toncenter v2 methods under `/api/v2`, the faucet, and the test surface under `/testbed`.
//!
//! The toncenter routes behave as the public endpoint does; whatever is only for tests has a route of its own.

mod accounts;
mod blocks;
mod envelope;
mod lies;
mod methods;
mod params;
mod send;
mod stack;
mod testbed;
#[cfg(test)]
mod tests;
mod transactions;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

pub use self::methods::{METHODS, answer_json_rpc};
pub(crate) use self::params::parse_address;
use crate::network::Network;

/// The longest request body in bytes: the largest external message (65,535 bytes) as base64 takes 87,380, and the
/// largest stack of a getter is of the same order.
pub const BODY_BYTES: usize = 256 * 1024;

/// All routes of one network.
pub fn router(network: Arc<Network>) -> Router {
    Router::new()
        .route("/api/v2/jsonRPC", post(methods::json_rpc))
        .route(
            "/api/v2/{method}",
            get(methods::get_method).post(methods::post_method),
        )
        .route("/faucet", post(testbed::faucet))
        .route("/testbed/status", get(testbed::status))
        .route("/testbed/blocks", post(testbed::blocks))
        .route("/testbed/advance", post(testbed::advance))
        .route(
            "/testbed/faults",
            get(testbed::faults).post(testbed::change_faults),
        )
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(network)
}
