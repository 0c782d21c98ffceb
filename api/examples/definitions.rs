//! Prints the custom resource definitions as one JSON array, for `cargo xtask codegen`.
//!
//! It stands here, and not in xtask, so that xtask compiles in seconds on a fresh machine.

use std::io::{Write as _, stdout};

use cocoon_api::crd::definitions;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    serde_json::to_writer(stdout().lock(), &definitions())?;
    stdout().flush()?;
    Ok(())
}
