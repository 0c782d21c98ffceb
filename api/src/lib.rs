//! What Cocoon's processes say to each other: Kubernetes kinds, units of money and tokens, usage receipts
//! and the protocol between operator and agent.
//!
//! This crate holds types, their validation at construction and their canonical encodings. It decides nothing
//! (see `cocoon-core`) and performs no I/O.

pub mod agent;
pub mod crash;
pub mod json;
pub mod listen;
pub mod names;
pub mod receipt;
pub mod subject;
pub mod units;

#[cfg(feature = "crd")]
pub mod conditions;
#[cfg(feature = "crd")]
pub mod crd;

pub use subject::{Bill, Subject};
pub use units::{NanoTon, Prices, TokenCount, TokenPrice, Usage};
