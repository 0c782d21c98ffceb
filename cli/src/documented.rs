//! The commands of the documentation: every `kubectl cocoon` line of its code blocks is one that this program
//! understands.

use std::path::{Path, PathBuf};

use clap::Parser as _;
use cocoon_api::conditions::{
    Accepted, AgentsAvailable, ChildrenApplied, FundsReserved, InventoryReady, Reason as _, Scheduled,
    Settled, WalletReady,
};

use super::Arguments;

/// Where commands stand.
const DOCUMENTS: [&str; 5] = [
    "README.md",
    "docs/farm.md",
    "docs/payer.md",
    "examples/README.md",
    "charts/cocoon-farm/README.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The lines of the fenced blocks of a document, continued lines joined.
fn lines(markdown: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inside = false;
    let mut continued = String::new();
    for line in markdown.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if inside {
            match line.strip_suffix('\\') {
                Some(part) => continued.push_str(part),
                None => lines.push(std::mem::take(&mut continued) + line),
            }
        }
    }
    lines
}

/// Words as a shell splits them, without redirections and comments.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut is_word) = (String::new(), None, false);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '\'' | '"') => (quote, is_word) = (Some(letter), true),
            (None, '>' | '#') if !is_word => break,
            (None, ' ') if is_word => {
                words.push(std::mem::take(&mut word));
                is_word = false;
            }
            (None, ' ') => {}
            _ => {
                word.push(letter);
                is_word = true;
            }
        }
    }
    if is_word {
        words.push(word);
    }
    words
}

#[test]
fn every_command_of_the_documentation_is_understood() {
    let mut commands = 0;
    for document in DOCUMENTS {
        let path = root().join(document);
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for line in lines(&text) {
            let words = words(&line);
            if words.first().map(String::as_str) != Some("kubectl")
                || words.get(1).map(String::as_str) != Some("cocoon")
            {
                continue;
            }
            commands += 1;
            let call = ["kubectl-cocoon".to_owned()]
                .into_iter()
                .chain(words.into_iter().skip(2));
            if let Err(error) = Arguments::try_parse_from(call) {
                panic!("{document}: `{line}`: {error}");
            }
        }
    }
    assert!(commands >= 20, "only {commands} commands were found");
}

#[test]
fn every_file_that_a_command_applies_is_there() {
    for document in DOCUMENTS {
        let text = std::fs::read_to_string(root().join(document)).expect("reads");
        for word in lines(&text).iter().flat_map(|line| words(line)) {
            if word.starts_with("examples/") || word.starts_with("charts/") {
                assert!(root().join(&word).exists(), "{document}: {word} is not there");
            }
        }
    }
}

/// The words in the first column of a document's tables of reasons.
fn reasons(markdown: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut is_reasons = false;
    for line in markdown.lines() {
        if !line.starts_with('|') {
            is_reasons = false;
        } else if line.starts_with("| says |") {
            is_reasons = true;
        } else if is_reasons && let Some(cell) = line.split('|').nth(1) {
            found.extend(cell.split('`').skip(1).step_by(2));
        }
    }
    found
}

#[test]
fn every_reason_that_a_document_explains_is_one() {
    let known = [
        WalletReady::NAMES,
        ChildrenApplied::NAMES,
        InventoryReady::NAMES,
        AgentsAvailable::NAMES,
        Accepted::NAMES,
        FundsReserved::NAMES,
        Scheduled::NAMES,
        Settled::NAMES,
    ]
    .concat();
    for document in ["docs/farm.md", "docs/payer.md"] {
        let text = std::fs::read_to_string(root().join(document)).expect("reads");
        let explained = reasons(&text);
        assert!(explained.len() >= 10, "{document}: {explained:?}");
        for reason in explained {
            assert!(known.contains(&reason), "{document}: nothing says {reason}");
        }
    }
}

#[test]
fn words_are_those_of_a_shell() {
    assert_eq!(
        words("run --chat \"What is it?\" > file"),
        ["run", "--chat", "What is it?"]
    );
    assert_eq!(words("a 'b # c' # d"), ["a", "b # c"]);
    assert_eq!(lines("```\na \\\n  b\n```\nc\n"), ["a   b"]);
}
