//! What the head of a server's answer means. Every byte of it is the server's choice.

use cocoon_api::agent::FetchFault;
use reqwest::{
    Url,
    header::{
        CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED,
        LOCATION,
    },
};

/// Characters of a validator at most: it is sent back with every later request.
const MAX_VALIDATOR_CHARS: usize = 256;

/// What the head of an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The body is the file from `from` on, where 0 is its start.
    Take {
        /// Where it begins.
        from: u64,
        /// Bytes of the whole file, where they are said.
        total: Option<u64>,
    },
    /// What has come is no part of the file as it is now: begin again.
    Restart,
    /// Ask there.
    Redirect(Url),
    /// It may be otherwise later.
    Later(FetchFault),
    /// It stays so.
    Refused(FetchFault),
}

impl Answer {
    /// Reads an answer to a request at `url` for the file from `asked` on, of which `known` bytes were said before.
    pub fn read(url: &Url, status: u16, headers: &HeaderMap, asked: u64, known: Option<u64>) -> Self {
        match status {
            200 | 206 if is_encoded(headers) => Self::Refused(FetchFault::Encoded),
            200 => Self::Take {
                from: 0,
                total: number(headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes)),
            },
            206 => match range(headers) {
                Some((from, total)) if asked > 0 && from == asked => {
                    if total.zip(known).is_some_and(|(total, known)| total != known) {
                        return Self::Restart;
                    }
                    Self::Take {
                        from,
                        total: total.or(known),
                    }
                }
                _ => Self::Refused(FetchFault::Malformed),
            },
            416 if asked > 0 => Self::Restart,
            301 | 302 | 303 | 307 | 308 => {
                let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
                match location.and_then(|location| follow(url, location)) {
                    Some(next) => Self::Redirect(next),
                    None => Self::Refused(FetchFault::RedirectRefused),
                }
            }
            408 | 425 | 429 | 500..=599 => Self::Later(FetchFault::HttpStatus(status)),
            _ => Self::Refused(FetchFault::HttpStatus(status)),
        }
    }
}

/// Whether the body is another than the file, which identity alone leaves as it is: its digest would be another one.
fn is_encoded(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONTENT_ENCODING).into_iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| {
        let coding = coding.trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    })
}

/// Where a redirect from `url` leads; none where it may not be followed: from https to http, with credentials, or to
/// what is no address.
pub fn follow(url: &Url, location: &str) -> Option<Url> {
    let next = url.join(location).ok()?;
    let is_allowed = match (url.scheme(), next.scheme()) {
        (_, "https") => true,
        (before, "http") => before == "http",
        _ => false,
    };
    let has_credentials = !next.username().is_empty() || next.password().is_some();
    (is_allowed && !has_credentials && next.host_str().is_some()).then_some(next)
}

/// The strong validator of an answer, as `If-Range` takes it (RFC 9110, 13.1.5).
pub(super) fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| {
        let value = headers.get(name)?.to_str().ok()?;
        (value.len() <= MAX_VALIDATOR_CHARS).then(|| value.to_owned())
    };
    text(ETAG)
        .filter(|tag| tag.starts_with('"') && tag.ends_with('"') && tag.len() >= 2)
        .or_else(|| text(LAST_MODIFIED).filter(|time| time.ends_with(" GMT")))
}

/// First byte and whole length of `bytes FIRST-LAST/LENGTH` (RFC 9110, 14.4), where they do not contradict each other.
fn range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(Some(first.as_bytes()))?, number(Some(last.as_bytes()))?);
    let total = match length {
        "*" => None,
        length => Some(number(Some(length.as_bytes()))?),
    };
    (first <= last && total.is_none_or(|total| last < total)).then_some((first, total))
}

/// Digits and nothing else, so that no sign or space is taken.
fn number(text: Option<&[u8]>) -> Option<u64> {
    let text = std::str::from_utf8(text?).ok()?;
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits)
}
