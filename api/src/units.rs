//! Units as types: money in nanoTON, tokens, and prices per million tokens.
//!
//! All arithmetic is checked. A price turns into money in one place, [`Prices::cost`], which rounds up once a
//! request.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The largest amount that fits the `int64` of the Kubernetes API.
const MAX_AMOUNT: u64 = i64::MAX as u64;

/// Tokens to which a [`TokenPrice`] refers.
pub const TOKENS_PER_PRICE: u64 = 1_000_000;

/// Arithmetic on money or tokens left the range `0..=i64::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The result does not fit an `int64`.
    #[error("amount exceeds {MAX_AMOUNT}")]
    Overflow,
    /// The result would be below zero.
    #[error("amount would be negative")]
    Negative,
}

macro_rules! counted {
    ($(#[$doc:meta])* $name:ident, $make:ident, $get:ident, $description:literal) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        #[serde(try_from = "u64", into = "u64")]
        pub struct $name(u64);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);

            /// Makes an amount; fails beyond `i64::MAX`.
            pub const fn $make(value: u64) -> Result<Self, UnitError> {
                if value > MAX_AMOUNT { Err(UnitError::Overflow) } else { Ok(Self(value)) }
            }

            /// The plain integer.
            pub const fn $get(self) -> u64 {
                self.0
            }

            /// `self + other`, or an error beyond `i64::MAX`.
            pub fn checked_add(self, other: Self) -> Result<Self, UnitError> {
                self.0.checked_add(other.0).ok_or(UnitError::Overflow).and_then(Self::$make)
            }

            /// `self - other`, or an error below zero.
            pub fn checked_sub(self, other: Self) -> Result<Self, UnitError> {
                self.0.checked_sub(other.0).map(Self).ok_or(UnitError::Negative)
            }

            /// `self - other`, or zero where `other` is larger.
            #[must_use]
            pub const fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }

            /// Sum of many; fails beyond `i64::MAX`.
            pub fn sum(values: impl IntoIterator<Item = Self>) -> Result<Self, UnitError> {
                values.into_iter().try_fold(Self::ZERO, Self::checked_add)
            }
        }

        impl TryFrom<u64> for $name {
            type Error = UnitError;
            fn try_from(value: u64) -> Result<Self, UnitError> {
                Self::$make(value)
            }
        }

        impl From<$name> for u64 {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        #[cfg(feature = "crd")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "integer", "format": "int64", "minimum": 0, "description": $description,
                })
            }
        }
    };
}

counted!(
    /// Money: a whole number of nanoTON, `0..=i64::MAX`. One TON is 10⁹ nanoTON.
    NanoTon,
    from_nano,
    nano,
    "An amount in nanoTON (1 TON = 1,000,000,000 nanoTON)."
);
counted!(
    /// A number of tokens, `0..=i64::MAX`.
    TokenCount,
    new,
    get,
    "A number of tokens."
);
counted!(
    /// Price of one million tokens, in nanoTON.
    TokenPrice,
    from_nano_per_million,
    nano_per_million,
    "A price in nanoTON per million tokens."
);

impl NanoTon {
    /// Whole and fractional TON for people, with trailing zeros removed: `1.5`, `0.000001`.
    pub fn to_ton_string(self) -> String {
        let (whole, fraction) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if fraction == 0 {
            return whole.to_string();
        }
        format!("{whole}.{fraction:09}").trim_end_matches('0').to_owned()
    }

    /// Parses decimal TON with at most nine fraction digits: `2`, `0.05`, `.5`.
    pub fn parse_ton(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if text.is_empty() || text == "." || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let fraction: u64 = format!("{fraction:0<9}").parse().ok()?;
        Self::from_nano(whole.checked_mul(1_000_000_000)?.checked_add(fraction)?).ok()
    }
}

/// Tokens of one request or the sum of many, in the four classes that prices know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Prompt tokens that were computed.
    #[serde(default)]
    pub prompt_tokens: TokenCount,
    /// Prompt tokens whose keys and values came from the prefix cache.
    #[serde(default)]
    pub cached_prompt_tokens: TokenCount,
    /// Tokens sampled for the answer.
    #[serde(default)]
    pub completion_tokens: TokenCount,
    /// Tokens sampled for reasoning that precedes the answer.
    #[serde(default)]
    pub reasoning_tokens: TokenCount,
}

impl Usage {
    /// Sum by class.
    pub fn checked_add(self, other: Self) -> Result<Self, UnitError> {
        Ok(Self {
            prompt_tokens: self.prompt_tokens.checked_add(other.prompt_tokens)?,
            cached_prompt_tokens: self
                .cached_prompt_tokens
                .checked_add(other.cached_prompt_tokens)?,
            completion_tokens: self.completion_tokens.checked_add(other.completion_tokens)?,
            reasoning_tokens: self.reasoning_tokens.checked_add(other.reasoning_tokens)?,
        })
    }

    /// Tokens of all four classes.
    pub fn total(self) -> Result<TokenCount, UnitError> {
        TokenCount::sum([
            self.prompt_tokens,
            self.cached_prompt_tokens,
            self.completion_tokens,
            self.reasoning_tokens,
        ])
    }
}

/// What a provider asks for one model: nanoTON per million tokens of each class, and a floor per request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Prices {
    /// NanoTON per million computed prompt tokens.
    pub prompt: TokenPrice,
    /// NanoTON per million prompt tokens served from the prefix cache.
    pub cached_prompt: TokenPrice,
    /// NanoTON per million completion tokens.
    pub completion: TokenPrice,
    /// NanoTON per million reasoning tokens.
    pub reasoning: TokenPrice,
    /// The least that one request costs, in nanoTON.
    #[serde(default)]
    pub minimum_nano: NanoTon,
}

impl Prices {
    /// What one request costs: the exact sum over the four classes, rounded up once to a whole nanoTON, and at
    /// least [`Prices::minimum_nano`].
    ///
    /// This is the only place where tokens become money. Fails where the amount exceeds `i64::MAX`.
    pub fn cost(&self, usage: Usage) -> Result<NanoTon, UnitError> {
        let classes = [
            (self.prompt, usage.prompt_tokens),
            (self.cached_prompt, usage.cached_prompt_tokens),
            (self.completion, usage.completion_tokens),
            (self.reasoning, usage.reasoning_tokens),
        ];
        // Four products of 63-bit factors stay below 2^128.
        let millionths: u128 = classes
            .iter()
            .map(|(price, tokens)| u128::from(price.nano_per_million()) * u128::from(tokens.get()))
            .sum();
        let rounded_up = millionths.div_ceil(u128::from(TOKENS_PER_PRICE));
        let nano = u64::try_from(rounded_up).map_err(|_| UnitError::Overflow)?;
        Ok(NanoTon::from_nano(nano)?.max(self.minimum_nano))
    }
}

#[cfg(test)]
mod tests;
