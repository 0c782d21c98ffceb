//! How a landing is stored: one text for each key of a page's Secret, one JSON object a line.

use cocoon_api::{json, receipt::Sha256Digest};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::LandingError;

const PAGE_TAG: &[u8] = b"cocoon.farm/page/v1";

/// The texts of one page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageText {
    /// One result a line, by index.
    pub results: String,
    /// One receipt of a delivered result a line, in the order of landing.
    pub receipts: String,
    /// One receipt of a result that was not delivered a line, in the order in which they came.
    pub undelivered: String,
    /// The tokens of one delivered result a line, by index.
    pub tokens: String,
}

/// The texts of the open page, which also lists those that are closed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeadText {
    /// What came last.
    pub page: PageText,
    /// One closed page a line.
    pub pages: String,
}

impl PageText {
    /// Bytes of all texts.
    pub fn len(&self) -> usize {
        self.texts().iter().map(|text| text.len()).sum()
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// SHA-256 over the tag and the texts, each after its length in eight bytes, big-endian.
    pub fn digest(&self) -> Sha256Digest {
        let mut hasher = Sha256::new();
        let texts = self.texts().map(str::as_bytes);
        for part in std::iter::once(PAGE_TAG).chain(texts) {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Sha256Digest(hasher.finalize().into())
    }

    fn texts(&self) -> [&str; 4] {
        let Self {
            results,
            receipts,
            undelivered,
            tokens,
        } = self;
        [results, receipts, undelivered, tokens]
    }
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
