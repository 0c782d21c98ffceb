//! The protocol between operator and agent, spoken over real connections to a real model.

mod access;
mod agent;
mod answers;
mod attempts;
mod faults;
#[path = "../support/mod.rs"]
mod support;
