//! The requests of a job: inline bodies, or `OpenAI` batch JSONL from a `ConfigMap` or Secret.
//!
//! Bodies are bytes here ([`Payload`]): they are counted, digested and handed on, and only the agent looks into them.
//! Sizes are limited before anything is parsed, and nothing that is said about an input repeats a byte of it.

mod line;
mod problem;
mod text;

use std::collections::BTreeMap;

use cocoon_api::{
    agent::{Endpoint, MAX_REQUESTS, RequestItem},
    json::Payload,
    receipt::Sha256Digest,
};
pub use problem::Problem;
use sha2::{Digest as _, Sha256};
pub use text::Encoding;

/// Bytes of input at most: what fits beside everything else in an object of the API server.
pub const MAX_INPUT_BYTES: usize = 256 * 1024;

/// The requests of a job, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Requests {
    /// Bodies with their index.
    pub items: Vec<RequestItem>,
    /// The name that the user gave each request, by index.
    pub custom_ids: Vec<String>,
    /// Digest over names and bodies, byte by byte.
    pub digest: Sha256Digest,
}

/// What is known of an input without holding it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputSummary {
    /// Number of requests.
    pub total: u32,
    /// Digest over names and bodies.
    pub digest: Sha256Digest,
}

impl Requests {
    /// What is to be remembered of them.
    pub fn summary(&self) -> InputSummary {
        InputSummary {
            total: u32::try_from(self.items.len()).unwrap_or(u32::MAX),
            digest: self.digest,
        }
    }
}

/// Why an input cannot be read as requests. It names the place, and quotes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// No request.
    #[error("{source_name} holds no request")]
    Empty {
        /// The field or object.
        source_name: String,
    },
    /// More than the limit.
    #[error("{source_name} holds more than {MAX_REQUESTS} requests: split it into several jobs")]
    TooMany {
        /// The field or object.
        source_name: String,
    },
    /// Larger than the limit.
    #[error(
        "{source_name} holds {bytes} bytes, more than the {MAX_INPUT_BYTES} of one job: split it into several jobs"
    )]
    TooLarge {
        /// The field or object.
        source_name: String,
        /// Its size.
        bytes: usize,
    },
    /// Not a text that can be read line by line.
    #[error("{source_name} {encoding}: save it as UTF-8 text")]
    NoText {
        /// The field or object.
        source_name: String,
        /// What it is instead.
        encoding: Encoding,
    },
    /// One line or item is not a request.
    #[error("{place}: {problem}")]
    Malformed {
        /// The line or item.
        place: String,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// Takes inline bodies.
pub fn inline(bodies: Vec<Payload>) -> Result<Requests, InputError> {
    const SOURCE: &str = "spec.input.inline";
    let bytes = bodies.iter().map(Payload::len).sum();
    within_limit(SOURCE, bytes)?;
    let named = (0..)
        .zip(bodies)
        .map(|(index, body): (u32, Payload)| Ok((format!("{SOURCE}[{index}]"), None, body)));
    collect(SOURCE, named)
}

/// Reads batch JSONL; `source_name` is the object and key, for messages. [`text`] says which bytes are read.
pub fn batch(bytes: &[u8], source_name: &str, endpoint: Endpoint) -> Result<Requests, InputError> {
    within_limit(source_name, bytes.len())?;
    let lines = text::lines(bytes).map_err(|encoding| InputError::NoText {
        source_name: source_name.to_owned(),
        encoding,
    })?;
    let named = lines.map(|(number, line)| {
        let place = format!("{source_name} line {number}");
        match line::read(line, number, endpoint) {
            Ok((custom_id, body)) => Ok((place, custom_id, body)),
            Err(problem) => Err(InputError::Malformed { place, problem }),
        }
    });
    collect(source_name, named)
}

fn within_limit(source_name: &str, bytes: usize) -> Result<(), InputError> {
    if bytes <= MAX_INPUT_BYTES {
        return Ok(());
    }
    Err(InputError::TooLarge {
        source_name: source_name.to_owned(),
        bytes,
    })
}

/// Place, name where the user gave one, and body of each request.
type Named = Result<(String, Option<String>, Payload), InputError>;

fn collect(source_name: &str, named: impl Iterator<Item = Named>) -> Result<Requests, InputError> {
    let (mut items, mut ids) = (Vec::new(), Vec::new());
    let mut given: BTreeMap<String, u32> = BTreeMap::new();
    for (index, request) in (0u32..).zip(named) {
        if items.len() == MAX_REQUESTS {
            return Err(InputError::TooMany {
                source_name: source_name.to_owned(),
            });
        }
        let (place, custom_id, body) = request?;
        let malformed = |problem| InputError::Malformed { place, problem };
        if !body.is_object() {
            return Err(malformed(Problem::Body));
        }
        if let Err(fault) = body.check() {
            return Err(malformed(Problem::Unreadable(fault.column)));
        }
        if let Some(name) = &custom_id
            && let Some(first) = given.insert(name.clone(), index)
        {
            return Err(malformed(Problem::Twice(first)));
        }
        items.push(RequestItem { index, body });
        ids.push(custom_id);
    }
    if items.is_empty() {
        return Err(InputError::Empty {
            source_name: source_name.to_owned(),
        });
    }
    let custom_ids: Vec<String> = (0..)
        .zip(ids)
        .map(|(index, id)| id.unwrap_or_else(|| generated(index, &given)))
        .collect();
    let mut hash = Sha256::new();
    let mut feed = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for (name, item) in custom_ids.iter().zip(&items) {
        feed(name.as_bytes());
        feed(item.body.text().as_bytes());
    }
    Ok(Requests {
        items,
        custom_ids,
        digest: Sha256Digest(hash.finalize().into()),
    })
}

/// The name of a request without one: `request-1`, and where another request was given that name, the first of
/// `request-1-2`, `request-1-3` and so on that none was given.
fn generated(index: u32, given: &BTreeMap<String, u32>) -> String {
    let plain = format!("request-{index}");
    // One more than there are given names, so that one is free.
    let numbered = (2..).take(given.len()).map(|number| format!("{plain}-{number}"));
    std::iter::once(plain.clone())
        .chain(numbered)
        .find(|name| !given.contains_key(name))
        .unwrap_or(plain)
}

#[cfg(test)]
mod tests;
