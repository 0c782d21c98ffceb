//! A farm's day as tables, for people.

use std::fmt::Write as _;

use super::report::Report;
use crate::{amount, table::Table};

impl Report {
    /// For people.
    pub fn render(&self, with_namespace: bool) -> String {
        let mut text = self.provider_table(with_namespace).to_string();
        if self.providers.iter().any(|provider| !provider.models.is_empty()) {
            write!(text, "\n{}", self.model_table(with_namespace)).expect("a String takes all text");
        }
        for provider in &self.providers {
            if let Some(message) = &provider.message {
                writeln!(text, "\n{} is not ready: {message}", provider.name)
                    .expect("a String takes all text");
            }
        }
        if !self.waiting.is_empty() {
            write!(text, "\n{}", self.waiting_table(with_namespace)).expect("a String takes all text");
        }
        text
    }

    fn provider_table(&self, with_namespace: bool) -> Table {
        let headings = [
            "NAMESPACE",
            "PROVIDER",
            "READY",
            "GPUS-FREE",
            "RUNNING",
            "WAITING",
            "FINISHED-TODAY",
            "TOKENS-TODAY",
            "EARNED-TON",
            "PENDING-TON",
            "LAST-SETTLEMENT",
        ];
        let mut table = Table::new(&headings[usize::from(!with_namespace)..]);
        for provider in &self.providers {
            let finished = match provider.jobs.failed_today {
                0 => provider.jobs.finished_today.to_string(),
                failed => format!("{} ({failed} failed)", provider.jobs.finished_today),
            };
            let cells = [
                provider.name.clone(),
                if provider.ready { "True" } else { "False" }.to_owned(),
                format!("{}/{}", provider.gpus_free, provider.gpus_total),
                provider.jobs.running.to_string(),
                provider.jobs.waiting.to_string(),
                finished,
                provider.jobs.tokens_today.to_string(),
                provider.earned_nano.to_ton_string(),
                provider.pending_nano.to_ton_string(),
                provider.last_settled_at.clone().unwrap_or_default(),
            ];
            table.row(place(with_namespace, &provider.namespace).chain(cells));
        }
        table
    }

    fn model_table(&self, with_namespace: bool) -> Table {
        let headings = [
            "NAMESPACE",
            "MODEL",
            "PROVIDER",
            "PHASE",
            "AGENTS",
            "TOK/S",
            "QUEUED",
        ];
        let mut table = Table::new(&headings[usize::from(!with_namespace)..]);
        for provider in &self.providers {
            for model in &provider.models {
                let cells = [
                    model.name.clone(),
                    provider.name.clone(),
                    model.phase.map(|phase| format!("{phase:?}")).unwrap_or_default(),
                    format!("{}/{}", model.ready, model.replicas),
                    model.tokens_per_second.to_string(),
                    model.queued.to_string(),
                ];
                table.row(place(with_namespace, &provider.namespace).chain(cells));
            }
        }
        table
    }

    fn waiting_table(&self, with_namespace: bool) -> Table {
        let headings = ["NAMESPACE", "WAITING-JOB", "MODEL", "AGE", "QUEUE", "WAITS-FOR"];
        let mut table = Table::new(&headings[usize::from(!with_namespace)..]);
        for job in &self.waiting {
            let cells = [
                job.name.clone(),
                job.model.clone(),
                amount::span(job.since_seconds),
                job.queue_position
                    .map(|position| position.to_string())
                    .unwrap_or_default(),
                job.need.clone(),
            ];
            table.row(place(with_namespace, &job.namespace).chain(cells));
        }
        table
    }
}

fn place(with_namespace: bool, namespace: &str) -> impl Iterator<Item = String> {
    with_namespace.then(|| namespace.to_owned()).into_iter()
}
