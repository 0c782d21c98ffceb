//! How a command prints what it found.

use clap::ValueEnum;
use serde_json::Value;

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Aligned columns, for people.
    #[default]
    Table,
    /// One JSON document.
    Json,
}

/// Prints one JSON document.
pub fn json(value: &Value) {
    println!("{value:#}");
}
