//! The page: farms, cards, models, jobs, channels, settlements and earnings, for whoever may forward a port to this
//! pod.
//!
//! It is read-only and knows nothing but the stores that the controllers have: a look at it asks the API server for
//! nothing. It has no accounts, so it listens on the pod's loopback alone, and the API server decides who may forward a
//! port. What it shows and what it must not is `docs/decisions/0020-what-the-page-shows.md`.
//!
//! [`snapshot`] is what it knows at one moment; each view is a function of a snapshot; [`server`] brings them to a
//! browser.

mod channels;
mod earnings;
mod frame;
mod jobs;
mod listing;
mod offers;
mod overview;
mod server;
mod settlements;
mod snapshot;
mod table;
mod text;

pub use server::{Page, serve};
pub use snapshot::Stores;

#[cfg(test)]
mod tests;
