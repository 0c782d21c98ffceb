//! The requests of a job: inline bodies, or `OpenAI` batch JSONL from a `ConfigMap` or Secret.

use std::collections::BTreeSet;

use cocoon_api::{
    agent::{Endpoint, MAX_REQUESTS, RequestItem},
    crd::job::RequestBody,
    receipt::Sha256Digest,
};
use serde::Deserialize;
use serde_json::Value;

/// Bytes of input at most: what fits beside everything else in an object of the API server.
pub const MAX_INPUT_BYTES: usize = 256 * 1024;
/// Characters of a `custom_id` at most, as in the `OpenAI` API.
const MAX_CUSTOM_ID_CHARS: usize = 512;

/// The requests of a job, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Requests {
    /// Bodies with their index.
    pub items: Vec<RequestItem>,
    /// The name that the user gave each request, by index.
    pub custom_ids: Vec<String>,
    /// Digest over names and bodies.
    pub digest: Sha256Digest,
}

/// Why an input cannot be read as requests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// No request.
    #[error("{source_name} holds no request")]
    Empty {
        /// The field or object.
        source_name: String,
    },
    /// More than the limit.
    #[error("{source_name} holds more than {MAX_REQUESTS} requests: split it into several jobs")]
    TooMany {
        /// The field or object.
        source_name: String,
    },
    /// Larger than the limit.
    #[error(
        "{source_name} holds {bytes} bytes, more than the {MAX_INPUT_BYTES} of one job: split it into several jobs"
    )]
    TooLarge {
        /// The field or object.
        source_name: String,
        /// Its size.
        bytes: usize,
    },
    /// One line or item is not a request.
    #[error("{place}: {problem}")]
    Malformed {
        /// The line or item.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// One line of `OpenAI` batch JSONL.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchLine {
    custom_id: Option<String>,
    method: Option<String>,
    url: Option<String>,
    body: serde_json::Map<String, Value>,
}

/// Reads inline bodies.
pub fn inline(bodies: &[RequestBody], endpoint: Endpoint) -> Result<Requests, InputError> {
    let named = bodies.iter().enumerate().map(|(index, body)| {
        check_body(&body.0, endpoint).map_err(|problem| InputError::Malformed {
            place: format!("spec.input.inline[{index}]"),
            problem,
        })?;
        Ok((format!("request-{index}"), Value::Object(body.0.clone())))
    });
    collect("spec.input.inline", named)
}

/// Reads batch JSONL; `source_name` is the object and key, for messages.
pub fn batch(text: &str, source_name: &str, endpoint: Endpoint) -> Result<Requests, InputError> {
    if text.len() > MAX_INPUT_BYTES {
        return Err(InputError::TooLarge {
            source_name: source_name.to_owned(),
            bytes: text.len(),
        });
    }
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let named = lines.enumerate().map(|(index, (line_index, line))| {
        let malformed = |problem| InputError::Malformed {
            place: format!("{source_name} line {}", line_index + 1),
            problem,
        };
        let line: BatchLine = serde_json::from_str(line).map_err(|error| malformed(error.to_string()))?;
        check_line(&line, endpoint).map_err(malformed)?;
        let custom_id = line.custom_id.unwrap_or_else(|| format!("request-{index}"));
        Ok((custom_id, Value::Object(line.body)))
    });
    collect(source_name, named)
}

fn check_line(line: &BatchLine, endpoint: Endpoint) -> Result<(), String> {
    if line.method.as_deref().is_some_and(|method| method != "POST") {
        return Err("`method` must be POST".into());
    }
    if line.url.as_deref().is_some_and(|url| url != endpoint.path()) {
        return Err(format!("`url` must be the job's endpoint {}", endpoint.path()));
    }
    if line
        .custom_id
        .as_ref()
        .is_some_and(|id| id.is_empty() || id.chars().count() > MAX_CUSTOM_ID_CHARS)
    {
        return Err(format!(
            "`custom_id` must have 1 to {MAX_CUSTOM_ID_CHARS} characters"
        ));
    }
    check_body(&line.body, endpoint)
}

/// Checks what the operator can tell without the model; the agent checks the rest.
fn check_body(body: &serde_json::Map<String, Value>, endpoint: Endpoint) -> Result<(), String> {
    match endpoint {
        Endpoint::ChatCompletions => match body.get("messages").and_then(Value::as_array) {
            Some(messages) if !messages.is_empty() => {}
            _ => return Err("`messages` must be a list of at least one message".into()),
        },
        Endpoint::Completions => match body.get("prompt") {
            Some(Value::String(prompt)) if !prompt.is_empty() => {}
            _ => return Err("`prompt` must be a text that is not empty".into()),
        },
    }
    if body
        .get("stream")
        .is_some_and(|stream| stream != &Value::Bool(false))
    {
        return Err("`stream` is not possible in a batch".into());
    }
    Ok(())
}

fn collect(
    source_name: &str,
    named: impl Iterator<Item = Result<(String, Value), InputError>>,
) -> Result<Requests, InputError> {
    let (mut items, mut custom_ids, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut canonical = Vec::new();
    for (index, request) in (0u32..).zip(named) {
        if items.len() == MAX_REQUESTS {
            return Err(InputError::TooMany {
                source_name: source_name.to_owned(),
            });
        }
        let (custom_id, body) = request?;
        if !seen.insert(custom_id.clone()) {
            return Err(InputError::Malformed {
                place: format!("{source_name} request {index}"),
                problem: format!("`custom_id` {custom_id:?} occurs twice"),
            });
        }
        let text = serde_json::json!([custom_id, body]).to_string();
        canonical.extend_from_slice(text.as_bytes());
        canonical.push(b'\n');
        if canonical.len() > 2 * MAX_INPUT_BYTES {
            return Err(InputError::TooLarge {
                source_name: source_name.to_owned(),
                bytes: canonical.len(),
            });
        }
        items.push(RequestItem { index, body });
        custom_ids.push(custom_id);
    }
    if items.is_empty() {
        return Err(InputError::Empty {
            source_name: source_name.to_owned(),
        });
    }
    Ok(Requests {
        items,
        custom_ids,
        digest: Sha256Digest::of(&canonical),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATH: Endpoint = Endpoint::Completions;

    fn problem(text: &str) -> String {
        batch(text, "ConfigMap in key jobs", PATH)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn batch_lines_keep_their_names_and_order() {
        let text = "{\"custom_id\":\"b\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"x\"}}\n\n{\"body\":{\"prompt\":\"y\"}}\n";
        let requests = batch(text, "s", PATH).unwrap();
        assert_eq!(requests.custom_ids, ["b", "request-1"]);
        assert_eq!(requests.items[1].body["prompt"], "y");
    }

    #[test]
    fn errors_name_the_line_and_the_field() {
        assert_eq!(problem(""), "ConfigMap in key jobs holds no request");
        assert!(problem("{\"body\":{\"prompt\":\"x\"}}\n{").starts_with("ConfigMap in key jobs line 2: "));
        assert!(problem("{\"body\":{\"prompt\":\"\"}}").contains("`prompt`"));
        assert!(problem("{\"body\":{\"prompt\":\"x\"},\"url\":\"/v1/embeddings\"}").contains("`url`"));
        assert!(problem("{\"body\":{\"prompt\":\"x\",\"stream\":true}}").contains("`stream`"));
        let twice = "{\"custom_id\":\"a\",\"body\":{\"prompt\":\"x\"}}\n".repeat(2);
        assert!(problem(&twice).contains("occurs twice"));
    }

    #[test]
    fn limits_are_named() {
        let many = "{\"body\":{\"prompt\":\"x\"}}\n".repeat(MAX_REQUESTS + 1);
        assert!(problem(&many).contains("more than 256 requests"));
        assert!(problem(&" ".repeat(MAX_INPUT_BYTES + 1)).contains("bytes, more than"));
    }

    #[test]
    fn the_digest_covers_every_body() {
        let one = batch("{\"body\":{\"prompt\":\"x\"}}", "s", PATH).unwrap();
        let other = batch("{\"body\":{\"prompt\":\"z\"}}", "s", PATH).unwrap();
        assert_ne!(one.digest, other.digest);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,300}") {
            let _ = batch(&text, "s", PATH);
        }
    }
}
