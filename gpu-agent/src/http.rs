//! What the agent says to the operator: jobs in, results and signed receipts out, over mutual TLS.
//!
//! The protocol and its limits are those of [`cocoon_api::agent`]. Everything is kept in memory: an agent that dies
//! has delivered only what was read from it.

#[path = "attempts/attempt.rs"]
pub mod attempt;
mod body;
mod connections;
#[path = "attempts/driver.rs"]
mod driver;
mod metrics;
mod openai;
mod probes;
#[path = "attempts/registry.rs"]
mod registry;
mod routes;
pub mod service;
mod tls;

pub use body::{Body, Defaults, Input, Refusal};
pub use connections::{Listeners, serve};

pub use tls::{TlsError, TlsFiles};
