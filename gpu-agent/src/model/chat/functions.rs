//! What templates call, as Hugging Face's `transformers` gives it to them.

use std::{fmt::Write as _, io, sync::LazyLock};

use jiff::Zoned;
use minijinja::{
    Environment, Error, ErrorKind, Value,
    value::{Kwargs, ValueKind},
};
use regex::Regex;
use serde::Serialize as _;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::turns::MARKS;

/// The code that marks an exception of a template's own, in the place of a source.
#[derive(Debug, thiserror::Error)]
#[error("raised by the template")]
struct Raised;

/// Most spaces of indentation.
const MAX_INDENT: usize = 16;

pub(super) fn add(environment: &mut Environment<'_>) {
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message).with_source(Raised))
    });
    environment.add_function("strftime_now", |format: String| -> Result<String, Error> {
        jiff::fmt::strtime::format(&format, &Zoned::now())
            .map_err(|_| Error::new(ErrorKind::InvalidOperation, "strftime_now has a bad format"))
    });
    environment.add_filter("tojson", to_json);
    // What has a length and items by number or name, as Python has it.
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map)
    });
}

/// Whether an error is one that the template raised itself.
pub(super) fn is_raised(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<Raised>)
}

/// The template without the tags of `{% generation %}` blocks, which mark an assistant's words for training: what is
/// between them stands as it is, and so does the tags' control of white space.
pub(super) fn without_generation_blocks(source: &str) -> String {
    static TAG: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").expect("a valid pattern"));
    let tag = |found: &regex::Captures<'_>| {
        let statement = if found.get(2).is_some() {
            "endif"
        } else {
            "if true"
        };
        format!("{{%{} {statement} {}%}}", &found[1], &found[3])
    };
    TAG.replace_all(source, tag).into_owned()
}

/// JSON as Python's `json.dumps` writes it, with its options; nothing is escaped for HTML, and for ASCII only where
/// that is asked for.
#[expect(
    clippy::needless_pass_by_value,
    reason = "filters take their options by value"
)]
fn to_json(value: &Value, indent: Option<usize>, options: Kwargs) -> Result<Value, Error> {
    let indent = options.get::<Option<usize>>("indent")?.or(indent);
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or_default();
    let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or_default();
    let separators = options.get::<Option<Value>>("separators")?;
    options.assert_all_used()?;
    if separators.is_some() && indent.is_some() {
        let message = "tojson takes indent or separators, not both";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    let failed = |_| Error::new(ErrorKind::InvalidOperation, "a value cannot be written as JSON");
    let mut tree = serde_json::to_value(value).map_err(failed)?;
    if sorted {
        tree.sort_all_objects();
    }
    let mut text = Vec::new();
    let written = match indent {
        Some(indent) => {
            let spaces = " ".repeat(indent.min(MAX_INDENT));
            let formatter = PrettyFormatter::with_indent(spaces.as_bytes());
            tree.serialize(&mut Serializer::with_formatter(&mut text, formatter))
        }
        None => tree.serialize(&mut Serializer::with_formatter(
            &mut text,
            OneLine::of(separators)?,
        )),
    };
    written.map_err(failed)?;
    let mut text = String::from_utf8(text).expect("JSON is UTF-8");
    if ascii {
        text = in_ascii(&text);
    }
    Ok(Value::from_safe_string(text))
}

/// Characters beyond ASCII stand in JSON's strings alone, where they may be written as units of UTF-16. What marks cuts
/// is no part of the text and stays.
fn in_ascii(text: &str) -> String {
    let mut units = [0; 2];
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() || MARKS.contains(&character) {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut units) {
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

/// One line, with these between items, and between names and values.
struct OneLine {
    items: String,
    names: String,
}

impl OneLine {
    fn of(separators: Option<Value>) -> Result<Self, Error> {
        let Some(separators) = separators else {
            return Ok(Self {
                items: ", ".to_owned(),
                names: ": ".to_owned(),
            });
        };
        let mut given = separators
            .try_iter()?
            .map(|separator| separator.as_str().map(str::to_owned));
        match (given.next(), given.next(), given.next()) {
            (Some(Some(items)), Some(Some(names)), None) => Ok(Self { items, names }),
            _ => Err(Error::new(
                ErrorKind::InvalidOperation,
                "tojson takes two texts as separators",
            )),
        }
    }

    fn between<W: ?Sized + io::Write>(&self, writer: &mut W, first: bool) -> io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(self.items.as_bytes())
        }
    }
}

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.between(writer, first)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.between(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.names.as_bytes())
    }
}
