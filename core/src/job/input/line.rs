//! One line of `OpenAI` batch JSONL: what it says of a request, and the request.

use std::{borrow::Cow, fmt};

use cocoon_api::{
    agent::Endpoint,
    json::{Fault, FaultKind, Payload},
};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::problem::{MAX_CUSTOM_ID_CHARS, Problem};

/// Reads line `number` of a text: the name that it gives its request, and the body.
pub(super) fn read(
    line: &[u8],
    number: usize,
    endpoint: Endpoint,
) -> Result<(Option<String>, Payload), Problem> {
    let text = std::str::from_utf8(line).map_err(|error| {
        Problem::Fault(Fault {
            kind: FaultKind::Encoding,
            line: number,
            column: error.valid_up_to() + 1,
        })
    })?;
    let fields: Fields<'_> = serde_json::from_str(text).map_err(|error| match Fault::of(&error) {
        // Every object is taken, whatever its fields.
        Fault {
            kind: FaultKind::Shape,
            ..
        } => Problem::Line,
        fault => Problem::Fault(fault.at_line(number)),
    })?;
    let body = fields.body.ok_or(Problem::NoBody)?;
    if fields.has_others {
        return Err(Problem::Field);
    }
    if fields.is_twofold {
        return Err(Problem::TwiceNamed);
    }
    if text_of(fields.method, Problem::Method)?.is_some_and(|method| method != "POST") {
        return Err(Problem::Method);
    }
    if text_of(fields.url, Problem::Url(endpoint))?.is_some_and(|url| url != endpoint.path()) {
        return Err(Problem::Url(endpoint));
    }
    let custom_id = text_of(fields.custom_id, Problem::CustomId)?;
    let is_name = |id: &String| (1..=MAX_CUSTOM_ID_CHARS).contains(&id.chars().count());
    if !custom_id.as_ref().is_none_or(is_name) {
        return Err(Problem::CustomId);
    }
    Ok((custom_id, body))
}

/// A text; none where the field is absent or null.
fn text_of(field: Option<&RawValue>, otherwise: Problem) -> Result<Option<String>, Problem> {
    let read = |raw: &RawValue| serde_json::from_str(raw.get()).map_err(|_| otherwise);
    field.map_or(Ok(None), read)
}

/// The fields of a line. One that is null equals one that is absent.
#[derive(Default)]
struct Fields<'a> {
    custom_id: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    url: Option<&'a RawValue>,
    body: Option<Payload>,
    /// Some field has another name.
    has_others: bool,
    /// Two fields have one name.
    is_twofold: bool,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(Name(name)) = map.next_key()? {
            let field = match name.as_ref() {
                "custom_id" => &mut fields.custom_id,
                "method" => &mut fields.method,
                "url" => &mut fields.url,
                "body" => {
                    fields.is_twofold |= fields.body.is_some();
                    fields.body = map.next_value()?;
                    continue;
                }
                _ => {
                    fields.has_others |= map.next_value::<Option<IgnoredAny>>()?.is_some();
                    continue;
                }
            };
            fields.is_twofold |= field.is_some();
            *field = map.next_value()?;
        }
        Ok(fields)
    }
}

/// A field's name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
