//! Whatever stands in an object, it is text.

use proptest::prelude::*;
use serde_json::Value;

use super::objects::{Objects, views};

/// Fields whose texts are of a closed list, or times.
const CLOSED: [&str; 10] = [
    "apiVersion",
    "kind",
    "type",
    "status",
    "state",
    "phase",
    "backend",
    "mode",
    "lastTransitionTime",
    "creationTimestamp",
];

/// Has every text of an object changed but those of a closed list.
fn change(value: &mut Value, change_text: &mut impl FnMut(&str) -> String) {
    match value {
        Value::String(text) => *text = change_text(text),
        Value::Array(items) => items.iter_mut().for_each(|item| change(item, change_text)),
        Value::Object(fields) => {
            for (name, field) in fields {
                if !(CLOSED.contains(&name.as_str()) && field.is_string()) {
                    change(field, change_text);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn changed(mut change_text: impl FnMut(&str) -> String) -> Objects {
    let mut objects = Objects::farm();
    for list in [
        &mut objects.providers,
        &mut objects.jobs,
        &mut objects.channels,
        &mut objects.settlements,
    ] {
        for object in list.iter_mut() {
            change(object, &mut change_text);
        }
    }
    objects
}

/// All tags of a document, in the order of their texts.
fn tags(html: &str) -> Vec<&str> {
    let (_, body) = html.split_once("</style>").expect("a document has a style");
    let mut tags: Vec<&str> = body
        .split('<')
        .skip(1)
        .map(|tag| {
            tag.split_once('>')
                .unwrap_or_else(|| panic!("<{tag} has no end"))
                .0
        })
        .collect();
    tags.sort_unstable();
    tags
}

#[test]
fn a_script_in_any_name_reason_or_message_is_shown_and_not_run() {
    let script = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let objects = changed(|_| script.to_owned());
    for (view, html) in views(&objects.snapshot()) {
        assert!(
            !html.contains("<script") && !html.contains("<img"),
            "{view}: {html}"
        );
        assert!(
            html.contains("&lt;script&gt;alert(1)"),
            "{view} shows nothing of it"
        );
    }
}

/// Letters that mean something in HTML, and some that do not. None is a capital letter.
const LETTERS: &[char] = &[
    '<', '>', '"', '\'', '&', '/', '=', '!', '-', ' ', ';', '#', 's', 'c', '\u{0}', '\u{202e}', 'ä', '\n',
];

/// The same text without meaning: each letter that has one becomes a capital letter of its own.
fn harmless(text: &str) -> String {
    let letter = |letter| match letter {
        '<' => 'A',
        '>' => 'B',
        '"' => 'C',
        '\'' => 'D',
        '&' => 'E',
        other => other,
    };
    text.chars().map(letter).collect()
}

proptest! {
    #[test]
    fn no_text_of_an_object_changes_a_documents_tags(
        texts in proptest::collection::vec(proptest::collection::vec(proptest::sample::select(LETTERS), 1..40), 1..12)
    ) {
        let texts: Vec<String> = texts.into_iter().map(String::from_iter).collect();
        let each = |show: fn(&str) -> String| {
            let mut next = texts.iter().cycle();
            changed(move |_| show(next.next().expect("there are some")))
        };
        let meant = views(&each(str::to_owned).snapshot());
        let harmless = views(&each(harmless).snapshot());
        for ((view, meant), (_, harmless)) in meant.iter().zip(&harmless) {
            prop_assert_eq!(tags(meant), tags(harmless), "view {}", view);
        }
    }
}
