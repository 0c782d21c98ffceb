//! Parameters of a method, from a query string or a JSON object; numbers may come as strings, as on the public
//! endpoint.

use axum::http::StatusCode;
use serde_json::{Map, Value};
use tycho_types::models::{StdAddr, StdAddrFormat};
use tycho_types::prelude::HashBytes;

use super::envelope::ApiError;

/// Named parameters.
#[derive(Debug, Clone, Default)]
pub(super) struct Params(Map<String, Value>);

impl Params {
    pub(super) const fn from_object(object: Map<String, Value>) -> Self {
        Self(object)
    }

    pub(super) fn from_query(pairs: Vec<(String, String)>) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name, Value::String(value)))
                .collect(),
        )
    }

    /// A parameter that is present and not null.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn required(&self, name: &str) -> Result<&Value, ApiError> {
        self.get(name)
            .ok_or_else(|| ApiError::validation(format!("parameter {name} is required")))
    }

    pub(super) fn text(&self, name: &str) -> Result<&str, ApiError> {
        self.required(name)?
            .as_str()
            .ok_or_else(|| ApiError::validation(format!("parameter {name} must be a string")))
    }

    /// An integer, given as a number or as decimal text.
    pub(super) fn integer<T: TryFrom<i128>>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = match value {
            Value::Number(number) => number
                .as_i64()
                .map(i128::from)
                .or_else(|| number.as_u64().map(i128::from)),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        match number.and_then(|number| T::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(ApiError::validation(format!(
                "parameter {name} must be an integer in range"
            ))),
        }
    }

    pub(super) fn required_integer<T: TryFrom<i128>>(&self, name: &str) -> Result<T, ApiError> {
        self.integer(name)?
            .ok_or_else(|| ApiError::validation(format!("parameter {name} is required")))
    }

    /// An account's address, raw or user-friendly.
    pub(super) fn address(&self, name: &str) -> Result<StdAddr, ApiError> {
        parse_address(self.text(name)?)
            .ok_or_else(|| ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "Incorrect address"))
    }

    /// A 256-bit hash, in hexadecimal or base64.
    pub(super) fn hash(&self, name: &str) -> Result<Option<HashBytes>, ApiError> {
        if self.get(name).is_none() {
            return Ok(None);
        }
        let text = self.text(name)?;
        parse_hash(text).map(Some).ok_or_else(|| {
            ApiError::validation(format!(
                "parameter {name} must be a hash in hexadecimal or base64"
            ))
        })
    }
}

/// Parses `0:<hex>` or 48 characters of base64.
pub(crate) fn parse_address(text: &str) -> Option<StdAddr> {
    if !text.is_ascii() {
        return None;
    }
    StdAddr::from_str_ext(text, StdAddrFormat::any())
        .ok()
        .map(|(address, _)| address)
}

fn parse_hash(text: &str) -> Option<HashBytes> {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let bytes = match text.len() {
        64 => hex::decode(text).ok()?,
        44 => BASE64_STANDARD
            .decode(text.replace('-', "+").replace('_', "/"))
            .ok()?,
        _ => return None,
    };
    Some(HashBytes(bytes.try_into().ok()?))
}
