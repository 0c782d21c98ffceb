//! The agent of a farm: loads one model, serves it, meters it.
//!
//! ```text
//! http ──▶ attempts ──requests──▶ engine ──Batch──▶ backend (model::decoder over backend::ops)
//!             ▲                      │                 │
//!             └─────tokens, usage────┘◀─────tokens─────┘
//! ```
//!
//! The engine decides what runs next and counts; the backend computes and samples; attempts meter and sign what is
//! delivered; the server speaks to the operator. The agent holds no Kubernetes credentials and writes no file, and
//! neither prompts nor completions reach its logs. Models come onto a node by processes of their own: fetch, into
//! cache, which know nothing of the rest.

pub mod attempts;
pub mod backend;
pub mod cache;
pub mod engine;
pub mod evaluate;
pub mod fetch;
pub mod http;
pub mod model;
pub mod weights;
