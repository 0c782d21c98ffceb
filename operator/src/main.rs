//! Reconciles Cocoon resources, dispatches jobs to agents and settles usage in TON.
fn main() {}
