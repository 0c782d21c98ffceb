//! One message of a conversation, as SDKs write it.

use serde_json::{Map, Value, json};

use crate::model::chat::Message;

/// Longest role or name: templates know a few words.
const MAX_WORD_BYTES: usize = 256;

/// Reads a message.
///
/// # Errors
/// What is wrong, to be put behind the message's place: it names the field.
pub(super) fn read(message: &Value) -> Result<Message, &'static str> {
    let fields = message.as_object().ok_or(" must be an object")?;
    let tool_calls = tool_calls(fields)?;
    Ok(Message {
        role: word(fields, "role")
            .map_err(|()| ".role must be a short text")?
            .ok_or(".role is missing")?,
        content: content(fields, tool_calls.is_some())?,
        name: word(fields, "name").map_err(|()| ".name must be a short text")?,
        tool_calls,
        tool_call_id: word(fields, "tool_call_id").map_err(|()| ".tool_call_id must be a short text")?,
    })
    .and_then(|message| refuse_others(fields).map(|()| message))
}

/// A field; `null` counts as absent.
fn get<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

fn word(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, ()> {
    match get(fields, name) {
        None => Ok(None),
        Some(Value::String(word)) if word.len() <= MAX_WORD_BYTES => Ok(Some(word.clone())),
        Some(_) => Err(()),
    }
}

/// A string, or a list of text parts, joined. It may be missing where the assistant only made calls.
fn content(fields: &Map<String, Value>, has_calls: bool) -> Result<String, &'static str> {
    match get(fields, "content") {
        None if has_calls => Ok(String::new()),
        None => Err(".content is missing"),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => parts
            .iter()
            .map(part)
            .collect::<Option<String>>()
            .ok_or(".content has a part that is no text"),
        Some(_) => Err(".content must be text, or a list of text parts"),
    }
}

fn part(part: &Value) -> Option<String> {
    (part.get("type")? == "text").then(|| part.get("text")?.as_str().map(str::to_owned))?
}

/// Calls, with arguments as objects: the API has them as a text of JSON, and templates take objects.
fn tool_calls(fields: &Map<String, Value>) -> Result<Option<Vec<Value>>, &'static str> {
    let Some(calls) = get(fields, "tool_calls") else {
        return Ok(None);
    };
    let calls = calls.as_array().ok_or(".tool_calls must be a list")?;
    if calls.is_empty() {
        return Ok(None);
    }
    let read = |call: &Value| -> Option<Value> {
        let function = call.get("function")?;
        let arguments = match function.get("arguments") {
            // A call without arguments, as some servers write it.
            None | Some(Value::Null) => json!({}),
            Some(Value::String(text)) if text.trim().is_empty() => json!({}),
            Some(Value::String(text)) => serde_json::from_str(text).ok().filter(Value::is_object)?,
            Some(arguments @ Value::Object(_)) => arguments.clone(),
            Some(_) => return None,
        };
        let function = json!({"name": function.get("name")?.as_str()?, "arguments": arguments});
        Some(match call.get("id").and_then(Value::as_str) {
            Some(id) => json!({"id": id, "type": "function", "function": function}),
            None => json!({"type": "function", "function": function}),
        })
    };
    let calls: Option<Vec<Value>> = calls.iter().map(read).collect();
    calls
        .map(Some)
        .ok_or(".tool_calls must have functions with a name and arguments")
}

/// Fields that ask for nothing are passed over: `refusal`, `audio`, `prefix` and the like as `null`, empty or false.
fn refuse_others(fields: &Map<String, Value>) -> Result<(), &'static str> {
    let is_empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    let known = ["role", "content", "name", "tool_calls", "tool_call_id"];
    let taken = |(name, value): (&String, &Value)| known.contains(&name.as_str()) || is_empty(value);
    if fields.iter().all(taken) {
        Ok(())
    } else {
        Err(
            " has a field that is not supported; supported are role, content, name, tool_calls and tool_call_id",
        )
    }
}
