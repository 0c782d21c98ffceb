//! Cuts the names of control tokens that stand in what people say.

use aho_corasick::AhoCorasick;
use serde_json::{Map, Value};

use super::message::Message;

/// Characters of which one marks cuts: the first that no message holds. Private use plane 15 has more of them than a
/// job's input has room for.
pub(super) const MARKS: std::ops::RangeInclusive<char> = '\u{F0000}'..='\u{FFFFD}';

/// Finds the names of control tokens.
#[derive(Debug)]
pub(super) struct Cutter {
    names: Vec<String>,
    finder: Option<AhoCorasick>,
}

impl Cutter {
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
        let finder = AhoCorasick::new(&names).ok().filter(|_| !names.is_empty());
        Self { names, finder }
    }

    /// The messages, with a mark behind the first character of every name in them, and the mark where there is one.
    /// Text that is split at the mark holds no name. `None` where no mark is left.
    pub(super) fn cut(&self, messages: &[Message]) -> Option<(Vec<Message>, Option<char>)> {
        let mut cuts = false;
        let mut look = |text: &str| cuts |= !self.places(text).is_empty();
        visit(messages, &mut look);
        if !cuts {
            return Some((messages.to_vec(), None));
        }
        let mark = MARKS.clone().find(|mark| {
            let mut free = true;
            let mut look = |text: &str| free &= !text.contains(*mark);
            visit(messages, &mut look);
            free
        })?;
        let cut = messages.iter().map(|message| self.marked_message(message, mark));
        Some((cut.collect(), Some(mark)))
    }

    fn marked_message(&self, message: &Message, mark: char) -> Message {
        let text = |text: &String| self.marked(text, mark);
        Message {
            role: text(&message.role),
            content: text(&message.content),
            name: message.name.as_ref().map(text),
            tool_calls: message
                .tool_calls
                .as_ref()
                .map(|calls| calls.iter().map(|call| self.marked_value(call, mark)).collect()),
            tool_call_id: message.tool_call_id.as_ref().map(text),
        }
    }

    fn marked_value(&self, value: &Value, mark: char) -> Value {
        match value {
            Value::String(text) => Value::String(self.marked(text, mark)),
            Value::Array(values) => values
                .iter()
                .map(|value| self.marked_value(value, mark))
                .collect(),
            Value::Object(fields) => {
                let marked = |(name, value): (&String, &Value)| {
                    (self.marked(name, mark), self.marked_value(value, mark))
                };
                Value::Object(fields.iter().map(marked).collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }

    fn marked(&self, text: &str, mark: char) -> String {
        let mut marked = String::with_capacity(text.len());
        let mut from = 0;
        for place in self.places(text) {
            marked.push_str(&text[from..place]);
            marked.push(mark);
            from = place;
        }
        marked.push_str(&text[from..]);
        marked
    }

    /// Where a text is cut, ascending: behind the first character of each name, and at the end of a text whose last
    /// characters begin a name, which the text behind it might complete. Templates take white space away from the ends
    /// of texts, so that the end may be before it as well.
    fn places(&self, text: &str) -> Vec<usize> {
        let Some(finder) = &self.finder else {
            return Vec::new();
        };
        let behind_first = |start: usize| start + text[start..].chars().next().map_or(0, char::len_utf8);
        let mut places: Vec<usize> = finder
            .find_overlapping_iter(text)
            .map(|found| behind_first(found.start()))
            .collect();
        for text in [text, text.trim_end()] {
            let begins_a_name = |name: &String| {
                (1..name.len()).any(|length| name.is_char_boundary(length) && text.ends_with(&name[..length]))
            };
            if self.names.iter().any(begins_a_name) {
                places.push(text.len());
            }
        }
        places.sort_unstable();
        places.dedup();
        places
    }
}

/// Shows every text of a conversation.
fn visit(messages: &[Message], look: &mut impl FnMut(&str)) {
    for message in messages {
        look(&message.role);
        look(&message.content);
        for text in message.name.iter().chain(&message.tool_call_id) {
            look(text);
        }
        for call in message.tool_calls.iter().flatten() {
            visit_value(call, look);
        }
    }
}

fn visit_value(value: &Value, look: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => look(text),
        Value::Array(values) => {
            for value in values {
                visit_value(value, look);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                look(name);
                visit_value(value, look);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
