//! The operator: reconciles the four kinds of `cocoon.farm`, dispatches jobs to agents and settles usage in TON.
//!
//! Every controller has the same five stages, one file each: *observe* the world, *validate* it into typed
//! values, *plan* with `cocoon-core`, *apply* the plan, and write the *status* that follows from it.
//! Decisions live in `cocoon-core`; this crate only looks and acts.

pub mod config;
pub mod context;
pub mod error;
pub mod health;
pub mod leader;
pub mod metrics;
pub mod status;
pub mod telemetry;
