//! The kubectl plugin: channels, jobs, results and a farm at a glance.
fn main() {}
