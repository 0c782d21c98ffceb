//! How a command prints what it found.

use std::io;

use anyhow::{Context as _, Result};
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
pub fn json(value: &Value) -> Result<()> {
    print(&format!("{value:#}\n"))
}

/// Prints text to standard output. A reader that has seen enough closes the pipe; that is no failure.
pub fn print(text: &str) -> Result<()> {
    print_on(text).map(drop)
}

/// Prints text of which more follows; answers whether somebody still reads.
pub fn print_on(text: &str) -> Result<bool> {
    write_on(&mut io::stdout(), text)
}

fn write_on(to: &mut impl io::Write, text: &str) -> Result<bool> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("could not write to standard output"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_seen_enough_ends_what_is_printed_again_and_again() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        assert!(write_on(&mut writer, "first").expect("written"));
        drop(reader);
        assert!(!write_on(&mut writer, "second").expect("no failure"));
    }
}
