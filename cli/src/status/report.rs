//! The figures of a farm's day, from its objects.

use cocoon_api::{
    NanoTon, TokenCount,
    conditions::{self, Ready, Reason as _},
    crd::{
        CocoonProvider, FullName, InferenceJob,
        job::JobPhase,
        provider::{ModelOffer, ModelPhase, ModelStatus, ProductCount},
    },
};
use cocoon_core::placement::demand::chosen;
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde::Serialize;

/// Everything at a glance.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub(super) providers: Vec<Provider>,
    /// Longest wait first.
    pub(super) waiting: Vec<Waiting>,
}

/// One provider's day.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Provider {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) ready: bool,
    /// Why it is not ready.
    pub(super) message: Option<String>,
    pub(super) gpus_free: u32,
    pub(super) gpus_total: u32,
    /// Kinds of cards.
    pub(super) products: Vec<ProductCount>,
    pub(super) models: Vec<Model>,
    pub(super) jobs: Jobs,
    pub(super) earned_nano: NanoTon,
    pub(super) pending_nano: NanoTon,
    pub(super) last_settled_at: Option<String>,
    pub(super) last_transaction: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) phase: Option<ModelPhase>,
    pub(super) replicas: u32,
    pub(super) ready: u32,
    pub(super) queued: u32,
    pub(super) tokens_per_second: i64,
}

/// Jobs of one provider.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Jobs {
    pub(super) running: u32,
    pub(super) waiting: u32,
    /// Since the day began, the failed ones included.
    pub(super) finished_today: u32,
    pub(super) failed_today: u32,
    /// Tokens of all four classes: of jobs that finished today, and of those that run.
    pub(super) tokens_today: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Waiting {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) model: String,
    pub(super) provider: Option<String>,
    pub(super) since_seconds: i64,
    pub(super) queue_position: Option<u32>,
    #[serde(rename = "waitingFor")]
    pub(super) need: String,
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
}

impl Provider {
    fn of(provider: &CocoonProvider, jobs: &[InferenceJob], today: Timestamp) -> Self {
        let (namespace, name) = (provider.namespace().unwrap_or_default(), provider.name_any());
        let status = provider.status.clone().unwrap_or_default();
        let ready = conditions::is_true(&status.conditions, Ready::TYPE);
        let message = conditions::find(&status.conditions, Ready::TYPE).map(|ready| ready.message.clone());
        let of_provider = |job: &&InferenceJob| serves(provider, job);
        let earnings = status.earnings;
        Self {
            message: message.filter(|_| !ready),
            ready,
            gpus_free: status.gpus.free,
            gpus_total: status.gpus.allocatable,
            products: status.products,
            models: provider
                .spec
                .models
                .iter()
                .map(|offer| Model::of(offer, &status.models))
                .collect(),
            jobs: Jobs::of(jobs.iter().filter(of_provider), today),
            earned_nano: earnings.confirmed_nano,
            pending_nano: earnings.accrued_nano.saturating_sub(earnings.confirmed_nano),
            last_settled_at: earnings.last_settled_at,
            last_transaction: earnings.last_transaction,
            namespace,
            name,
        }
    }
}

/// Whether a job is the provider's: chosen for it, or not yet anybody's, of its namespace and for a model that it
/// offers.
fn serves(provider: &CocoonProvider, job: &InferenceJob) -> bool {
    let mut models = provider.spec.models.iter();
    match chosen(job) {
        Some(chosen) => chosen == FullName::of(provider),
        None => job.namespace() == provider.namespace() && models.any(|offer| offer.name == job.spec.model),
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
            let tokens = status.usage.total().map(TokenCount::get).unwrap_or_default();
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
