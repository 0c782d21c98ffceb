//! Metadata values, narrowed to what models use: scalars, strings and flat arrays.

use std::io::Read;

use super::reader::{HeaderError, HeaderReader};

/// Most elements of one array: eight times the largest vocabulary in use.
const MAX_ARRAY_ELEMENTS: u64 = 1 << 21;
/// Value type code of an array.
const ARRAY: u32 = 9;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any of the integer types.
    Integer(i128),
    /// Either float type.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A string.
    Text(String),
    /// A flat array.
    Array(Array),
}

/// A flat array of one element type.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// Strings, such as the vocabulary.
    Text(Vec<String>),
    /// Integers that fit 64 bits, such as token types.
    Integers(Vec<i64>),
    /// Floats, such as token scores.
    Floats(Vec<f64>),
    /// Booleans, such as a per-layer pattern.
    Bools(Vec<bool>),
}

impl Value {
    /// The value as an unsigned 32-bit integer, if it is one.
    pub fn as_u32(&self) -> Option<u32> {
        let Self::Integer(value) = self else { return None };
        u32::try_from(*value).ok()
    }

    /// The value as a finite float, if it is one.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "converters store metadata floats as f32"
    )]
    pub fn as_f32(&self) -> Option<f32> {
        let Self::Float(value) = self else { return None };
        let narrowed = *value as f32;
        narrowed.is_finite().then_some(narrowed)
    }

    /// The value as a boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        let Self::Bool(value) = self else { return None };
        Some(*value)
    }

    /// The value as a string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        let Self::Text(value) = self else { return None };
        Some(value)
    }

    /// The value as a list of strings, if it is one.
    pub fn as_strings(&self) -> Option<&[String]> {
        let Self::Array(Array::Text(values)) = self else {
            return None;
        };
        Some(values)
    }

    /// The value as a list of integers, if it is one.
    pub fn as_integers(&self) -> Option<&[i64]> {
        let Self::Array(Array::Integers(values)) = self else {
            return None;
        };
        Some(values)
    }

    pub(super) fn read(reader: &mut HeaderReader<impl Read>, key: &str) -> Result<Self, HeaderError> {
        let code = reader.u32(key)?;
        if code == ARRAY {
            return Array::read(reader, key).map(Self::Array);
        }
        read_scalar(reader, key, code)
    }
}

fn read_scalar(reader: &mut HeaderReader<impl Read>, key: &str, code: u32) -> Result<Value, HeaderError> {
    Ok(match code {
        0 => Value::Integer(u8::from_le_bytes(reader.bytes(key)?).into()),
        1 => Value::Integer(i8::from_le_bytes(reader.bytes(key)?).into()),
        2 => Value::Integer(u16::from_le_bytes(reader.bytes(key)?).into()),
        3 => Value::Integer(i16::from_le_bytes(reader.bytes(key)?).into()),
        4 => Value::Integer(reader.u32(key)?.into()),
        5 => Value::Integer(i32::from_le_bytes(reader.bytes(key)?).into()),
        6 => Value::Float(f32::from_le_bytes(reader.bytes(key)?).into()),
        7 => match reader.bytes::<1>(key)? {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            [other] => {
                return Err(HeaderError::field(
                    key,
                    &format!("has {other} where a boolean belongs"),
                ));
            }
        },
        8 => Value::Text(reader.string(key)?),
        10 => Value::Integer(reader.u64(key)?.into()),
        11 => Value::Integer(i64::from_le_bytes(reader.bytes(key)?).into()),
        12 => Value::Float(f64::from_le_bytes(reader.bytes(key)?)),
        _ => {
            return Err(HeaderError::field(
                key,
                &format!("has the unknown value type {code}; known are 0 to 12"),
            ));
        }
    })
}

impl Array {
    fn read(reader: &mut HeaderReader<impl Read>, key: &str) -> Result<Self, HeaderError> {
        let code = reader.u32(key)?;
        let length = reader.count(key, MAX_ARRAY_ELEMENTS)?;
        let mut array = match code {
            8 => Self::Text(Vec::new()),
            6 | 12 => Self::Floats(Vec::new()),
            7 => Self::Bools(Vec::new()),
            0..=5 | 10 | 11 => Self::Integers(Vec::new()),
            _ => {
                return Err(HeaderError::field(
                    key,
                    &format!(
                        "is an array of the unsupported type {code}; supported are numbers, booleans and strings"
                    ),
                ));
            }
        };
        for _ in 0..length {
            match (&mut array, read_scalar(reader, key, code)?) {
                (Self::Text(values), Value::Text(value)) => values.push(value),
                (Self::Floats(values), Value::Float(value)) => values.push(value),
                (Self::Bools(values), Value::Bool(value)) => values.push(value),
                (Self::Integers(values), Value::Integer(value)) => {
                    let too_large =
                        |_| HeaderError::field(key, &format!("holds {value}, which is too large"));
                    values.push(i64::try_from(value).map_err(too_large)?);
                }
                _ => return Err(HeaderError::field(key, "mixes element types")),
            }
        }
        Ok(array)
    }
}
