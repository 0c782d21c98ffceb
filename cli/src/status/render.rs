//! A farm's day on one screen, for people.

use std::fmt::Write as _;

use super::report::{Provider, Report};
use crate::{amount, table::Table};

/// Columns of the screen: a terminal beside a browser.
pub(super) const WIDTH: usize = 100;
/// Waiting jobs that are shown, the longest wait first; the rest are counted.
const WAITING: usize = 10;

impl Report {
    /// For people: offers, their models, what is wrong, and what waits for what. No line is longer than [`WIDTH`]
    /// columns.
    pub fn render(&self) -> String {
        let mut text = self.provider_table().within(WIDTH);
        if self.providers.iter().any(|provider| !provider.models.is_empty()) {
            write!(text, "\n{}", self.model_table().within(WIDTH)).expect("a String takes all text");
        }
        for provider in &self.providers {
            if let Some(message) = &provider.message {
                let words = format!("{} is not ready: {message}", provider.path());
                write!(text, "\n{}", wrapped(&words)).expect("a String takes all text");
            }
        }
        if !self.waiting.is_empty() {
            write!(text, "\n{}", self.waiting_table().within(WIDTH)).expect("a String takes all text");
        }
        if let Some(more) = self.waiting.len().checked_sub(WAITING).filter(|more| *more > 0) {
            writeln!(text, "and {more} more that wait: `-o json` has them all")
                .expect("a String takes all text");
        }
        text
    }

    fn provider_table(&self) -> Table {
        let mut table = Table::new(&[
            "PROVIDER",
            "NAMESPACE",
            "READY",
            "GPUS",
            "CARDS",
            "RUN",
            "WAIT",
            "DONE-TODAY",
            "TOKENS",
            "EARNED",
            "PENDING",
        ]);
        for provider in &self.providers {
            let finished = match provider.jobs.failed_today {
                0 => provider.jobs.finished_today.to_string(),
                failed => format!("{} ({failed} failed)", provider.jobs.finished_today),
            };
            table.row([
                provider.name.clone(),
                provider.namespace.clone(),
                if provider.ready { "True" } else { "False" }.to_owned(),
                format!("{}/{}", provider.gpus_free, provider.gpus_total),
                provider.cards(),
                provider.jobs.running.to_string(),
                provider.jobs.waiting.to_string(),
                finished,
                provider.jobs.tokens_today.to_string(),
                provider.earned_nano.to_ton_string(),
                provider.pending_nano.to_ton_string(),
            ]);
        }
        table
    }

    fn model_table(&self) -> Table {
        let mut table = Table::new(&["MODEL", "OF", "PHASE", "AGENTS", "TOK/S", "QUEUED"]);
        for provider in &self.providers {
            for model in &provider.models {
                table.row([
                    model.name.clone(),
                    provider.path(),
                    model.phase.map(|phase| format!("{phase:?}")).unwrap_or_default(),
                    format!("{}/{}", model.ready, model.replicas),
                    model.tokens_per_second.to_string(),
                    model.queued.to_string(),
                ]);
            }
        }
        table
    }

    fn waiting_table(&self) -> Table {
        let mut table = Table::new(&["WAITING-JOB", "NAMESPACE", "MODEL", "AGE", "QUEUE", "WAITS-FOR"]);
        for job in self.waiting.iter().take(WAITING) {
            table.row([
                job.name.clone(),
                job.namespace.clone(),
                job.model.clone(),
                amount::span(job.since_seconds),
                job.queue_position
                    .map(|position| position.to_string())
                    .unwrap_or_default(),
                job.need.clone(),
            ]);
        }
        table
    }
}

impl Provider {
    fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Kinds of cards, such as `2 NVIDIA-A10`.
    fn cards(&self) -> String {
        let kinds: Vec<String> = self
            .products
            .iter()
            .map(|product| format!("{} {}", product.count, product.name))
            .collect();
        kinds.join(", ")
    }
}

/// Words on lines of [`WIDTH`] columns, all but the first indented. What is longer than a line, such as the name of an
/// image with its digest, is cut into pieces.
fn wrapped(words: &str) -> String {
    const INDENT: usize = 2;
    let mut text = String::new();
    let mut column = 0;
    let letters: Vec<Vec<char>> = words
        .split_whitespace()
        .map(|word| word.chars().collect())
        .collect();
    for word in letters.iter().flat_map(|word| word.chunks(WIDTH - INDENT)) {
        let length = word.len();
        if column > 0 && column + 1 + length > WIDTH {
            text.push('\n');
            text.push_str(&" ".repeat(INDENT));
            column = INDENT;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.extend(word);
        column += length;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_wrapped_between_words() {
        let text = wrapped(&"word ".repeat(60));
        assert!(text.lines().count() > 2, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert_eq!(text.split_whitespace().count(), 60);
    }

    #[test]
    fn a_word_that_is_longer_than_a_line_is_cut() {
        let image = format!("registry.example/farm/gpu-agent@sha256:{}", "ab".repeat(32));
        let text = wrapped(&format!("m: cannot pull {image}: not found"));
        assert!(image.len() > WIDTH, "{image}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(
            text.split_whitespace().collect::<String>().contains(&image),
            "{text}"
        );
    }
}
