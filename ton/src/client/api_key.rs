//! The key that an endpoint knows its customer by.

use std::fmt;

use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

use super::ClientError;

/// Longest key that is taken, in bytes: many times what providers give out, and far below what servers take as a
/// header.
const MAX_BYTES: usize = 1_024;

/// An API key. Goes into the header `X-API-Key` of requests to its endpoint, and nowhere else: it is never printed.
#[derive(Clone)]
pub struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// Reads a key as a file or a variable holds it; white space around it and a byte order mark are left out.
    pub fn parse(text: &str) -> Result<Self, ClientError> {
        let key = text.trim_start_matches('\u{feff}').trim();
        let invalid = |reason: &str| ClientError::InvalidEndpoint {
            reason: reason.to_owned(),
        };
        if key.is_empty() {
            return Err(invalid("its API key is empty"));
        }
        if key.len() > MAX_BYTES || HeaderValue::from_str(key).is_err() {
            return Err(invalid(
                "its API key is longer than 1,024 bytes or holds characters that no HTTP header may hold",
            ));
        }
        Ok(Self(Zeroizing::new(key.to_owned())))
    }

    /// The header's value, marked so that it is not printed with the others.
    pub(super) fn header(&self) -> Result<HeaderValue, ClientError> {
        let mut value = HeaderValue::from_str(&self.0).map_err(|_| ClientError::InvalidEndpoint {
            reason: "its API key holds characters that no HTTP header may hold".to_owned(),
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKey(..)")
    }
}
