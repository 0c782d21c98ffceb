//! The requests of a job: inline bodies, or `OpenAI` batch JSONL from a `ConfigMap` or Secret.
//!
//! Bodies are bytes here ([`Payload`]): they are counted, digested and handed on, and only the agent looks into them.
//! Sizes are limited before anything is parsed, and nothing that is said about an input repeats a byte of it.

use std::{borrow::Cow, collections::BTreeMap};

use cocoon_api::{
    agent::{Endpoint, MAX_REQUESTS, RequestItem},
    json::{Fault, FaultKind, Payload},
    receipt::Sha256Digest,
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Bytes of input at most: what fits beside everything else in an object of the API server.
pub const MAX_INPUT_BYTES: usize = 256 * 1024;
/// Characters of a `custom_id` at most, as in the `OpenAI` API.
const MAX_CUSTOM_ID_CHARS: usize = 512;

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

/// What bytes are instead of UTF-8 text, as far as they tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Encoding {
    /// They begin with a byte order mark of UTF-16.
    #[error("is UTF-16 text")]
    Utf16,
    /// They begin with a byte order mark of UTF-32.
    #[error("is UTF-32 text")]
    Utf32,
    /// There are NUL bytes, which JSON never has: UTF-16 without a byte order mark, or no text at all.
    #[error("holds NUL bytes (the first one in line {0})")]
    Nul(usize),
}

/// What is wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It cannot be read.
    #[error("it {0}")]
    Fault(Fault),
    /// `method` is not POST.
    #[error("`method` must be POST")]
    Method,
    /// `url` is another endpoint's.
    #[error("`url` must be the job's endpoint {}", .0.path())]
    Url(Endpoint),
    /// `custom_id` is empty or too long.
    #[error("`custom_id` must have 1 to {MAX_CUSTOM_ID_CHARS} characters")]
    CustomId,
    /// Another request has the same `custom_id`.
    #[error("its `custom_id` is that of request {0} as well")]
    Twice(u32),
    /// The body is no object.
    #[error("the body must be a JSON object")]
    Body,
}

/// One line of `OpenAI` batch JSONL.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchLine<'a> {
    custom_id: Option<String>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    url: Option<Cow<'a, str>>,
    body: Payload,
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

/// Reads batch JSONL; `source_name` is the object and key, for messages.
///
/// A byte order mark of UTF-8 is passed over. Lines end with LF or CRLF, and with CR where no LF is in the text.
pub fn batch(bytes: &[u8], source_name: &str, endpoint: Endpoint) -> Result<Requests, InputError> {
    within_limit(source_name, bytes.len())?;
    let text = as_text(bytes).map_err(|encoding| InputError::NoText {
        source_name: source_name.to_owned(),
        encoding,
    })?;
    let end = if text.contains(&b'\n') { b'\n' } else { b'\r' };
    let lines = (1..)
        .zip(text.split(|byte| *byte == end))
        .filter(|(_, line)| !line.trim_ascii().is_empty());
    let named = lines.map(|(number, line): (usize, &[u8])| {
        let place = format!("{source_name} line {number}");
        let malformed = |problem| InputError::Malformed {
            place: place.clone(),
            problem,
        };
        let text = std::str::from_utf8(line).map_err(|error| {
            malformed(Problem::Fault(Fault {
                kind: FaultKind::Encoding,
                line: number,
                column: error.valid_up_to() + 1,
            }))
        })?;
        let line: BatchLine<'_> = serde_json::from_str(text)
            .map_err(|error| malformed(Problem::Fault(Fault::of(&error).at_line(number))))?;
        check_line(&line, endpoint).map_err(malformed)?;
        Ok((place, line.custom_id, line.body))
    });
    collect(source_name, named)
}

/// The bytes behind a byte order mark, where they may be UTF-8 text. Each line is checked by itself, so that a fault
/// has its place.
fn as_text(bytes: &[u8]) -> Result<&[u8], Encoding> {
    const UTF8_MARK: &[u8] = &[0xEF, 0xBB, 0xBF];
    const UTF16_MARKS: [&[u8]; 2] = [&[0xFF, 0xFE], &[0xFE, 0xFF]];
    const UTF32_MARKS: [&[u8]; 2] = [&[0xFF, 0xFE, 0, 0], &[0, 0, 0xFE, 0xFF]];
    let begins = |marks: [&[u8]; 2]| marks.iter().any(|mark| bytes.starts_with(mark));
    if begins(UTF32_MARKS) {
        return Err(Encoding::Utf32);
    }
    if begins(UTF16_MARKS) {
        return Err(Encoding::Utf16);
    }
    if let Some(place) = bytes.iter().position(|byte| *byte == 0) {
        let line = bytes[..place].split(|byte| *byte == b'\n').count();
        return Err(Encoding::Nul(line));
    }
    Ok(bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes))
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

fn check_line(line: &BatchLine<'_>, endpoint: Endpoint) -> Result<(), Problem> {
    if line.method.as_deref().is_some_and(|method| method != "POST") {
        return Err(Problem::Method);
    }
    if line.url.as_deref().is_some_and(|url| url != endpoint.path()) {
        return Err(Problem::Url(endpoint));
    }
    let is_name = |id: &String| (1..=MAX_CUSTOM_ID_CHARS).contains(&id.chars().count());
    if !line.custom_id.as_ref().is_none_or(is_name) {
        return Err(Problem::CustomId);
    }
    Ok(())
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
