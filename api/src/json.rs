//! JSON from outside, read without repeating it: where it is wrong and how, and never what it says.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::receipt::Sha256Digest;

/// Why a text could not be read as JSON of some shape. `serde_json`'s own message quotes what it found; inputs, answers
/// and Secrets are private, so that only the place and the kind of the fault are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What kind of fault.
    pub kind: FaultKind,
    /// Line, from 1; 0 where the text was not read line by line.
    pub line: usize,
    /// Column in bytes, from 1; 0 where there is none.
    pub column: usize,
}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// It is no JSON.
    Syntax,
    /// It is JSON, and not of the shape that is wanted: a field is missing, unknown or of another type.
    Shape,
    /// It ends in the middle.
    End,
    /// It is no UTF-8.
    Encoding,
}

impl Fault {
    /// The fault behind an error of `serde_json`.
    pub fn of(error: &serde_json::Error) -> Self {
        let kind = match error.classify() {
            serde_json::error::Category::Syntax => FaultKind::Syntax,
            serde_json::error::Category::Data => FaultKind::Shape,
            serde_json::error::Category::Eof | serde_json::error::Category::Io => FaultKind::End,
        };
        Self {
            kind,
            line: error.line(),
            column: error.column(),
        }
    }

    /// The same fault of a text that is line `line` of another.
    #[must_use]
    pub fn at_line(self, line: usize) -> Self {
        Self { line, ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FaultKind::Syntax => "is no JSON",
            FaultKind::Shape => "has a field that is missing, unknown or of another type",
            FaultKind::End => "ends in the middle",
            FaultKind::Encoding => "is no UTF-8 text",
        };
        write!(f, "{what} (line {}, column {})", self.line, self.column)
    }
}

impl std::error::Error for Fault {}

/// Reads JSON from outside.
///
/// # Errors
/// Where it is wrong, without repeating it.
pub fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| Fault::of(&error))
}

/// One body of a request, as the bytes in which it came.
///
/// Only the agent looks into it. Everybody else carries it, counts its bytes and computes its digest: a body costs as
/// much memory as it has bytes, however many numbers or brackets it consists of.
#[derive(Clone)]
pub struct Payload(Box<RawValue>);

impl Payload {
    /// A body from its text.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn new(text: String) -> Result<Self, Fault> {
        RawValue::from_string(text)
            .map(Self)
            .map_err(|error| Fault::of(&error))
    }

    /// Its JSON text, byte by byte.
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// Bytes of its text.
    pub fn len(&self) -> usize {
        self.text().len()
    }

    /// Never: there is no JSON without text.
    pub fn is_empty(&self) -> bool {
        self.text().is_empty()
    }

    /// Whether it is a JSON object, as every body is.
    pub fn is_object(&self) -> bool {
        self.text().starts_with('{')
    }

    /// Whether it can be read as values: that it is JSON leaves open whether its escapes stand for characters, its
    /// numbers for numbers, and its brackets for no more levels than are read.
    ///
    /// # Errors
    /// Where it cannot.
    pub fn check(&self) -> Result<(), Fault> {
        read(self.text().as_bytes()).map(|Readable| ())
    }

    /// SHA-256 of its bytes.
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::of(self.text().as_bytes())
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Payload {}

/// Says how long it is: what it says is private.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self)
    }
}

/// Any value, which is looked through and not kept.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self, A::Error> {
        while values.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
        while fields.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CANARY: &str = "canary-7f3a";

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether it can be read is asked")]
    struct Shape {
        number: u32,
    }

    #[test]
    fn a_fault_says_where_and_never_what() {
        let texts = [
            format!("{{\"number\": \"{CANARY}\"}}"),
            format!("{{\"{CANARY}\": 1}}"),
            CANARY.to_owned(),
            format!("{{\"number\": 1}} {CANARY}"),
            format!("{{\"number\": [\"{CANARY}\""),
        ];
        for text in texts {
            let serde = serde_json::from_str::<Shape>(&text).unwrap_err().to_string();
            let fault = read::<Shape>(text.as_bytes()).unwrap_err();
            assert!(
                !format!("{fault} {fault:?}").contains(CANARY),
                "{fault} ({serde})"
            );
            assert!(fault.to_string().contains("line 1"), "{fault}");
        }
    }

    #[test]
    fn a_payload_keeps_its_bytes_and_hides_them() {
        let text = format!("{{ \"prompt\" :\"{CANARY}\",\"n\": 1.50e3 }}");
        let payload: Payload = serde_json::from_str(&text).unwrap();
        assert_eq!(payload.text(), text);
        assert_eq!(serde_json::to_string(&payload).unwrap(), text);
        assert_eq!(payload.digest(), Sha256Digest::of(text.as_bytes()));
        assert_eq!(format!("{payload:?}"), format!("Payload({} bytes)", text.len()));
        assert!(payload.is_object() && !Payload::new("[]".into()).unwrap().is_object());
    }

    #[test]
    fn depth_and_numbers_cost_no_more_than_their_bytes() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Payload::new(deep.clone()).unwrap().len(), deep.len());
        let numbers = format!("[{}1]", "1,".repeat(100_000));
        let read: Payload = serde_json::from_str(&numbers).unwrap();
        assert_eq!(
            size_of_val(read.text()) + size_of::<Payload>(),
            numbers.len() + 16
        );
    }

    #[test]
    fn a_payload_is_checked_for_what_nobody_can_read() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        for text in [
            "{\"a\": [null, true, -1, 1e0, \"\\ud83d\\ude00\\u0000\"]}".to_owned(),
            nested(100),
        ] {
            let payload = Payload::new(text.clone()).unwrap();
            assert_eq!(payload.check(), Ok(()), "{text}");
            assert!(read::<serde_json::Value>(text.as_bytes()).is_ok());
        }
        for text in [
            format!("{{\"a\": \"{CANARY}\\ud83d\"}}"),
            format!("{{\"a\": \"{CANARY}\\ude00\"}}"),
            format!("{{\"{CANARY}\\ud83d\": 1}}"),
            format!("{{\"a\": [\"{CANARY}\", 1e999]}}"),
            nested(200),
        ] {
            let payload = Payload::new(text.clone()).unwrap();
            let fault = payload.check().unwrap_err();
            assert!(fault.column > 0 && !fault.to_string().contains(CANARY), "{text}");
            assert!(read::<serde_json::Value>(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_the_check_is_read_as_values(text in "[\\[\\]{}\":,0-9e\\\\ud8a.-]{0,40}") {
            if let Ok(payload) = Payload::new(text) {
                let value = read::<serde_json::Value>(payload.text().as_bytes());
                prop_assert_eq!(payload.check().is_ok(), value.is_ok());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = read::<Payload>(&bytes).map(|payload| payload.digest());
            let _ = read::<Shape>(&bytes).map_err(|fault| fault.to_string());
        }
    }
}
