//! The figures of a farm's day, from its objects.

use std::fmt::Write as _;

use cocoon_api::{
    conditions::{self, Ready, Reason as _},
    crd::{
        CocoonProvider, InferenceJob,
        job::JobPhase,
        provider::{ModelOffer, ModelPhase, ModelStatus},
    },
};
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde::Serialize;

use crate::{amount, table::Table};

/// Everything at a glance.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    providers: Vec<Provider>,
    /// Longest wait first.
    waiting: Vec<Waiting>,
}

/// One provider's day.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Provider {
    namespace: String,
    name: String,
    ready: bool,
    /// Why it is not ready.
    message: Option<String>,
    gpus_free: u32,
    gpus_total: u32,
    models: Vec<Model>,
    jobs: Jobs,
    earned_nano: u64,
    pending_nano: u64,
    last_settled_at: Option<String>,
    last_transaction: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Model {
    name: String,
    phase: Option<ModelPhase>,
    replicas: u32,
    ready: u32,
    queued: u32,
    tokens_per_second: i64,
}

/// Jobs of one provider.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Jobs {
    running: u32,
    waiting: u32,
    /// Since the day began, the failed ones included.
    finished_today: u32,
    failed_today: u32,
    /// Tokens of all four classes: of jobs that finished today, and of those that run.
    tokens_today: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    namespace: String,
    name: String,
    model: String,
    provider: Option<String>,
    since_seconds: i64,
    queue_position: Option<u32>,
    #[serde(rename = "waitingFor")]
    need: String,
}

impl Report {
    /// Counts; `today` is when the day began.
    pub fn of(providers: &[CocoonProvider], jobs: &[InferenceJob], today: Timestamp, now: Timestamp) -> Self {
        let mut waiting: Vec<Waiting> = jobs.iter().filter_map(|job| Waiting::of(job, now)).collect();
        waiting.sort_by(|a, b| {
            b.since_seconds
                .cmp(&a.since_seconds)
                .then_with(|| a.name.cmp(&b.name))
        });
        Self {
            providers: providers
                .iter()
                .map(|provider| Provider::of(provider, jobs, today))
                .collect(),
            waiting,
        }
    }

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
            "EARNED",
            "PENDING",
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
                ton(provider.earned_nano),
                ton(provider.pending_nano),
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

fn ton(nano: u64) -> String {
    cocoon_api::NanoTon::from_nano(nano)
        .map(cocoon_api::NanoTon::to_ton_string)
        .unwrap_or_default()
}

impl Provider {
    fn of(provider: &CocoonProvider, jobs: &[InferenceJob], today: Timestamp) -> Self {
        let (namespace, name) = (provider.namespace().unwrap_or_default(), provider.name_any());
        let status = provider.status.clone().unwrap_or_default();
        let ready = conditions::is_true(&status.conditions, Ready::TYPE);
        let message = conditions::find(&status.conditions, Ready::TYPE).map(|ready| ready.message.clone());
        let of_provider =
            |job: &&InferenceJob| job.namespace().as_deref() == Some(&namespace) && serves(provider, job);
        let earnings = status.earnings;
        Self {
            message: message.filter(|_| !ready),
            ready,
            gpus_free: status.gpus.free,
            gpus_total: status.gpus.allocatable,
            models: provider
                .spec
                .models
                .iter()
                .map(|offer| Model::of(offer, &status.models))
                .collect(),
            jobs: Jobs::of(jobs.iter().filter(of_provider), today),
            earned_nano: earnings.confirmed_nano.nano(),
            pending_nano: earnings
                .accrued_nano
                .saturating_sub(earnings.confirmed_nano)
                .nano(),
            last_settled_at: earnings.last_settled_at,
            last_transaction: earnings.last_transaction,
            namespace,
            name,
        }
    }
}

/// Whether a job is the provider's: chosen for it, or not yet anybody's and for a model that it offers.
fn serves(provider: &CocoonProvider, job: &InferenceJob) -> bool {
    match job.status.as_ref().and_then(|status| status.provider.as_deref()) {
        Some(chosen) => chosen == provider.name_any(),
        None => provider
            .spec
            .models
            .iter()
            .any(|offer| offer.name == job.spec.model),
    }
}

impl Model {
    fn of(offer: &ModelOffer, statuses: &[ModelStatus]) -> Self {
        let status = statuses.iter().find(|status| status.name == offer.name);
        Self {
            name: offer.name.clone(),
            phase: status.map(|status| status.phase),
            replicas: status.map_or(0, |status| status.replicas),
            ready: status.map_or(0, |status| status.ready),
            queued: status.map_or(0, |status| status.queued),
            tokens_per_second: status.map_or(0, |status| status.tokens_per_second),
        }
    }
}

impl Jobs {
    fn of<'a>(jobs: impl Iterator<Item = &'a InferenceJob>, today: Timestamp) -> Self {
        let mut counts = Self::default();
        for job in jobs {
            let status = job.status.clone().unwrap_or_default();
            let finished_today = status
                .completion_time
                .as_ref()
                .is_some_and(|time| time.0 >= today);
            let tokens = status
                .usage
                .total()
                .map(cocoon_api::TokenCount::get)
                .unwrap_or_default();
            match status.phase {
                Some(JobPhase::Running) => {
                    counts.running += 1;
                    counts.tokens_today += tokens;
                }
                Some(JobPhase::Complete | JobPhase::Settled | JobPhase::Failed) if finished_today => {
                    counts.finished_today += 1;
                    counts.failed_today += u32::from(status.phase == Some(JobPhase::Failed));
                    counts.tokens_today += tokens;
                }
                Some(JobPhase::Pending) | None => counts.waiting += 1,
                Some(JobPhase::Suspended | JobPhase::Complete | JobPhase::Settled | JobPhase::Failed) => {}
            }
        }
        counts
    }
}

impl Waiting {
    fn of(job: &InferenceJob, now: Timestamp) -> Option<Self> {
        let status = job.status.clone().unwrap_or_default();
        if !matches!(status.phase, Some(JobPhase::Pending) | None) {
            return None;
        }
        let created = job
            .metadata
            .creation_timestamp
            .as_ref()
            .map_or(now, |time| time.0);
        Some(Self {
            namespace: job.namespace().unwrap_or_default(),
            name: job.name_any(),
            model: job.spec.model.clone(),
            provider: status.provider,
            since_seconds: now.as_second() - created.as_second(),
            queue_position: status.queue_position,
            need: status
                .waiting_for
                .unwrap_or_else(|| "the operator to see it".to_owned()),
        })
    }
}

#[cfg(test)]
mod tests;
