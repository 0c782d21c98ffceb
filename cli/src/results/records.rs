//! What is in the pages of a job: results, receipts and tokens, one JSON object a line.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context as _, Result};
use cocoon_api::{
    agent::FailureCode,
    names::{RECEIPTS_KEY, RESULTS_KEY, TOKENS_KEY, UNDELIVERED_KEY},
    receipt::{AnswerTokens, Receipt},
};
use cocoon_core::job::landing::{PageText, TokensRecord};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// One line of `results.jsonl`.
#[derive(Debug, Deserialize)]
pub struct Record {
    /// Index in the job's input.
    pub index: u32,
    /// The name that the user gave the request.
    pub custom_id: String,
    /// The answer.
    pub response: Option<Response>,
    /// Or the failure.
    pub error: Option<Failure>,
}

/// An answer.
#[derive(Debug, Deserialize)]
pub struct Response {
    /// The body, byte by byte as delivered: its digest is in the receipt.
    pub body: Box<RawValue>,
}

/// A failure.
#[derive(Debug, Deserialize)]
pub struct Failure {
    /// For programs.
    pub code: FailureCode,
    /// For people.
    pub message: String,
}

/// Everything that has landed of a job.
#[derive(Debug)]
pub struct Delivered {
    /// By index.
    pub records: Vec<Record>,
    /// Of answers, in the order of landing: what is billed.
    pub receipts: Vec<Receipt>,
    /// Of answers that were not delivered, which nobody pays for.
    pub undelivered: Vec<Receipt>,
    /// The tokens of answers, by index.
    pub tokens: BTreeMap<u32, AnswerTokens>,
}

impl Delivered {
    /// Reads the texts of the pages.
    pub fn parse(text: &PageText) -> Result<Self> {
        let PageText {
            results,
            receipts,
            undelivered,
            tokens,
        } = text;
        let mut records: Vec<Record> = lines(results, RESULTS_KEY)?;
        records.sort_by_key(|record| record.index);
        Ok(Self {
            records,
            receipts: lines(receipts, RECEIPTS_KEY)?,
            undelivered: lines(undelivered, UNDELIVERED_KEY)?,
            tokens: lines(tokens, TOKENS_KEY)?
                .into_iter()
                .map(|record: TokensRecord| (record.index, record.tokens))
                .collect(),
        })
    }

    /// Each request's name and answer. On a terminal, control characters of an answer are shown and not obeyed.
    pub fn text(&self, is_terminal: bool) -> String {
        let mut text = String::new();
        for record in &self.records {
            let answer = match (&record.response, &record.error) {
                (Some(response), _) => answer(response.body.get()),
                (None, Some(Failure { code, message })) => {
                    format!("failed ({}): {message}", code_name(*code))
                }
                (None, None) => "failed without a reason".to_owned(),
            };
            let name = printable(&record.custom_id, true);
            let answer = printable(answer.trim_matches('\n'), is_terminal);
            if !text.is_empty() {
                text.push('\n');
            }
            writeln!(text, "── {name}\n{answer}").expect("a String takes all text");
        }
        text
    }
}

/// One JSON object a line; `key` names the text in errors.
pub fn lines<T: for<'a> Deserialize<'a>>(text: &str, key: &str) -> Result<Vec<T>> {
    let parse =
        |(index, line)| serde_json::from_str(line).with_context(|| format!("{key} line {}", index + 1));
    text.lines().enumerate().map(parse).collect()
}

/// The code as `OpenAI` clients know it: `context_length_exceeded`.
fn code_name(code: FailureCode) -> String {
    serde_json::to_value(code)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// The text of a chat completion or a completion; the whole body where it has neither.
fn answer(body: &str) -> String {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    let choice = &value["choices"][0];
    match choice["message"]["content"]
        .as_str()
        .or_else(|| choice["text"].as_str())
    {
        Some(text) => text.to_owned(),
        None => body.to_owned(),
    }
}

fn printable(text: &str, is_terminal: bool) -> String {
    if !is_terminal {
        return text.to_owned();
    }
    let shown = |letter: char| {
        if letter.is_control() && !matches!(letter, '\n' | '\t') {
            '\u{fffd}'
        } else {
            letter
        }
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers_come_in_the_order_of_the_input_with_their_names() {
        let results = concat!(
            r#"{"index":1,"custom_id":"b","response":null,"error":{"code":"context_length_exceeded","message":"too long"}}"#,
            "\n",
            r#"{"index":0,"custom_id":"a","response":{"status_code":200,"body":{"choices":[{"text":" Paris.\n"}]}},"error":null}"#,
            "\n",
            r#"{"index":2,"custom_id":"c","response":{"status_code":200,"body":{"choices":[{"message":{"content":"Hi"}}]}},"error":null}"#,
        );
        let delivered = Delivered::parse(&PageText {
            results: results.to_owned(),
            ..PageText::default()
        })
        .expect("parses");
        assert_eq!(
            delivered.text(false),
            "── a\n Paris.\n\n── b\nfailed (context_length_exceeded): too long\n\n── c\nHi\n"
        );
    }

    #[test]
    fn an_answer_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2J\tb\nc", true), "a\u{fffd}[2J\tb\nc");
        assert_eq!(printable("a\u{1b}[2J", false), "a\u{1b}[2J");
    }

    #[test]
    fn a_damaged_line_is_named() {
        let error = Delivered::parse(&PageText {
            receipts: "{}\n".to_owned(),
            ..PageText::default()
        })
        .expect_err("no receipt");
        assert!(
            format!("{error:#}").contains("receipts.jsonl line 1"),
            "{error:#}"
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(results in ".{0,80}", receipts in ".{0,80}", body in ".{0,40}") {
            let undelivered = receipts.clone();
            let _ = Delivered::parse(&PageText { results, tokens: receipts.clone(), receipts, undelivered }).map(|delivered| delivered.text(true));
            let _ = answer(&body);
        }
    }
}
