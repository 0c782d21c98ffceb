//! What templates call, as Hugging Face's `transformers` gives it to them.

use std::{io, sync::LazyLock};

use jiff::Zoned;
use minijinja::{Environment, Error, ErrorKind, Value, value::Kwargs};
use regex::Regex;
use serde::Serialize as _;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

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
}

/// Whether an error is one that the template raised itself.
pub(super) fn is_raised(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<Raised>)
}

/// The template without the tags of `{% generation %}` blocks, which mark an assistant's words for training: what is between them
/// stands as it is, and so does the tags' control of white space.
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

/// JSON as Python's `json.dumps` writes it: nothing is escaped for HTML or ASCII, with spaces behind `:` and `,`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "filters take their options by value"
)]
fn to_json(value: &Value, indent: Option<usize>, options: Kwargs) -> Result<Value, Error> {
    let indent = match options.get::<Option<usize>>("indent")? {
        Some(indent) => Some(indent),
        None => indent,
    };
    // Python's other options change nothing that templates rely on, or are its default.
    let _: (Option<bool>, Option<bool>) = (options.get("ensure_ascii")?, options.get("sort_keys")?);
    let _: Option<Value> = options.get("separators")?;
    options.assert_all_used()?;
    let mut text = Vec::new();
    let written = match indent {
        Some(indent) => {
            let spaces = " ".repeat(indent.min(MAX_INDENT));
            let formatter = PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut text, formatter))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut text, Spaced)),
    };
    let failed = |_| Error::new(ErrorKind::InvalidOperation, "a value cannot be written as JSON");
    written.map_err(failed)?;
    let text = String::from_utf8(text).expect("JSON is UTF-8");
    Ok(Value::from_safe_string(text))
}

/// One line, with a space behind each `,` and `:`.
struct Spaced;

impl Spaced {
    fn behind<W: ?Sized + io::Write>(writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
}

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        Self::behind(writer, first)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        Self::behind(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}
