//! How a landing is stored: one text for each key of the job's Secret, one JSON object a line.

use cocoon_api::json;
use serde::{Deserialize, Serialize};

use super::error::LandingError;

/// The texts of the Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LandedText {
    /// One result a line, by index.
    pub results: String,
    /// One receipt of a delivered result a line, in the order of landing.
    pub receipts: String,
    /// One receipt of a result that was not delivered a line, in the order in which they came.
    pub undelivered: String,
    /// The latest statement of each chain.
    pub statements: String,
}

pub(super) fn lines<'a, T: Deserialize<'a>>(
    what: &'static str,
    text: &'a str,
) -> impl Iterator<Item = Result<T, LandingError>> {
    text.lines().enumerate().map(move |(index, line)| {
        json::read(line.as_bytes()).map_err(|fault| LandingError::Stored {
            what,
            line: index + 1,
            source: fault.at_line(index + 1),
        })
    })
}

pub(super) fn jsonl<T: Serialize>(items: impl IntoIterator<Item = T>) -> String {
    let mut text = String::new();
    for item in items {
        text.push_str(&serde_json::to_string(&item).expect("records are JSON"));
        text.push('\n');
    }
    text
}
