//! Messages as a template is shown them.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

use super::message::Message;

/// In what form a template is shown calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// An assistant's message of calls alone has none for its content, and an empty text otherwise.
    none: bool,
    /// Arguments are a text of JSON, and an object otherwise.
    text: bool,
}

/// The forms in which a template of this source may take calls, the likeliest first: templates differ, and one that is
/// shown the wrong form fails. It is shown no content where it asks whether there is any.
pub(super) fn forms(messages: &[Message], source: &str) -> Vec<Form> {
    static ASKS_FOR_CONTENT: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"\bcontent(['"]\])?\s+is\s+(not\s+)?none\b"#).expect("a valid pattern")
    });
    let form = |none, text| Form { none, text };
    if messages.iter().all(|message| message.tool_calls.is_none()) {
        vec![form(false, false)]
    } else if ASKS_FOR_CONTENT.is_match(source) {
        vec![
            form(true, false),
            form(true, true),
            form(false, false),
            form(false, true),
        ]
    } else {
        vec![form(false, false), form(false, true)]
    }
}

/// Shows messages in a form.
///
/// `developer` is what the `OpenAI` API now calls `system`: a template that does not know it either drops the message
/// or shows the model a role that it was never trained on.
pub(super) fn shown(messages: &[Message], source: &str, form: Form) -> serde_json::Result<Vec<Value>> {
    let knows_developer = source.contains("developer");
    let show = |message: &Message| {
        let mut shown = serde_json::to_value(message)?;
        if message.role == "developer" && !knows_developer {
            shown["role"] = json!("system");
        }
        let Some(calls) = shown.get_mut("tool_calls").and_then(Value::as_array_mut) else {
            return Ok(shown);
        };
        for arguments in calls
            .iter_mut()
            .filter_map(|call| call.pointer_mut("/function/arguments"))
        {
            if form.text && !arguments.is_string() {
                *arguments = Value::String(serde_json::to_string(arguments)?);
            }
        }
        if form.none && message.content.is_empty() {
            shown["content"] = Value::Null;
        }
        Ok(shown)
    };
    messages.iter().map(show).collect()
}
