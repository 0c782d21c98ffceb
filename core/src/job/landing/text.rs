//! How a landing is stored: one text for each key of the job's Secret, one JSON object a line.

use std::collections::BTreeMap;

use cocoon_api::receipt::UsageStatement;
use serde::{Deserialize, Serialize};

use super::{Landing, LandingError, ResultRecord, room::MAX_STATEMENT_BYTES};

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

impl Landing {
    /// Reads what was stored.
    pub fn parse(text: &LandedText) -> Result<Self, LandingError> {
        let LandedText {
            results,
            receipts,
            undelivered,
            statements,
        } = text;
        let records: BTreeMap<u32, ResultRecord> = lines("results", results)
            .map(|record| record.map(|record: ResultRecord| (record.index, record)))
            .collect::<Result<_, _>>()?;
        let statements: BTreeMap<_, _> = lines("statements", statements)
            .map(|statement| statement.map(|statement: UsageStatement| (statement.chain.clone(), statement)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            bytes: results.len()
                + receipts.len()
                + undelivered.len()
                + statements.len() * MAX_STATEMENT_BYTES,
            records,
            receipts: lines("receipts", receipts).collect::<Result<_, _>>()?,
            undelivered: lines("undelivered", undelivered).collect::<Result<_, _>>()?,
            statements,
        })
    }

    /// The texts to store.
    pub fn render(&self) -> LandedText {
        LandedText {
            results: jsonl(self.records.values()),
            receipts: jsonl(&self.receipts),
            undelivered: jsonl(&self.undelivered),
            statements: jsonl(self.statements.values()),
        }
    }
}

fn lines<'a, T: Deserialize<'a>>(
    what: &'static str,
    text: &'a str,
) -> impl Iterator<Item = Result<T, LandingError>> {
    text.lines().enumerate().map(move |(index, line)| {
        serde_json::from_str(line).map_err(|source| LandingError::Stored {
            what,
            line: index + 1,
            source,
        })
    })
}

fn jsonl<T: Serialize>(items: impl IntoIterator<Item = T>) -> String {
    let mut text = String::new();
    for item in items {
        text.push_str(&serde_json::to_string(&item).expect("records are JSON"));
        text.push('\n');
    }
    text
}
