//! The operator: reconciles the four kinds of `cocoon.farm`, dispatches jobs to agents and settles usage in TON.
//!
//! Every controller has the same five stages, one file each: *observe* the world, *validate* it into typed
//! values, *plan* with `cocoon-core`, *apply* the plan, and write the *status* that follows from it.
//! Decisions live in `cocoon-core`; this crate only looks and acts.

pub mod agents;
pub mod chain;
pub mod channel;
pub mod config;
pub mod context;
pub mod dispatch;
pub mod error;
pub mod events;
pub mod finalizer;
pub mod health;
pub mod job;
pub mod leader;
pub mod ledger;
pub mod metrics;
pub mod page;
pub mod pages;
pub mod provider;
pub mod reconcile;
mod removal;
pub mod requests;
pub mod rivals;
pub mod scope;
pub mod settlement;
pub mod status;
pub mod telemetry;
pub mod tls;
pub mod toward;
pub mod watch;
