//! Headers of requests, as a Secret's keys and texts give them.

use std::{fs, path::Path};

use cocoon_api::agent::FetchFault;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::FetchError;

/// Headers at most: a request has a handful.
const MAX_HEADERS: usize = 16;
/// Headers that the request itself sets, or that say where it ends.
const OWN: [&str; 10] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "if-range",
    "range",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// A header of this name and text; a byte order mark before the text and the end of a line behind it are none of it.
///
/// # Errors
/// It is no header, or one that requests set themselves. The text is not quoted.
pub fn header(name: &str, text: &[u8]) -> Result<(HeaderName, HeaderValue), FetchError> {
    let refused = |problem: &str| {
        FetchError::new(
            FetchFault::HeadersUnusable,
            format!("the key {name:?} of the Secret of headers {problem}"),
        )
    };
    let key = HeaderName::try_from(name).map_err(|_| refused("is no name of a header"))?;
    if OWN.contains(&key.as_str()) {
        return Err(refused("names a header that the download sets itself"));
    }
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let mut value = HeaderValue::from_bytes(text).map_err(|_| refused("holds a text that is no header's"))?;
    value.set_sensitive(true);
    Ok((key, value))
}

/// The headers of a mounted Secret: a file for each. What begins with a dot is Kubernetes' own.
///
/// # Errors
/// The folder cannot be read, or holds something else.
pub fn from_folder(folder: &Path) -> Result<HeaderMap, FetchError> {
    let unreadable = |error: &std::io::Error| {
        FetchError::new(
            FetchFault::HeadersUnusable,
            format!("cannot read the headers in {}: {error}", folder.display()),
        )
    };
    let mut headers = HeaderMap::new();
    for entry in fs::read_dir(folder).map_err(|error| unreadable(&error))? {
        let entry = entry.map_err(|error| unreadable(&error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let text = fs::read(entry.path()).map_err(|error| unreadable(&error))?;
        let (key, value) = header(&name, &text)?;
        headers.insert(key, value);
        if headers.len() > MAX_HEADERS {
            let words = format!("the Secret of headers has more than {MAX_HEADERS} keys");
            return Err(FetchError::new(FetchFault::HeadersUnusable, words));
        }
    }
    Ok(headers)
}
