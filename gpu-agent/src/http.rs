//! What the agent says to the operator: jobs in, results and signed receipts out, over mutual TLS.
//!
//! The protocol and its limits are those of [`cocoon_api::agent`].

mod connections;
mod credential;
mod metrics;
mod probes;
mod protocol;
pub mod service;
mod tls;

pub use connections::{Listeners, Mounted, serve};

pub use tls::TlsError;
