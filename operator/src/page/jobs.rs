//! Jobs, with the reason why each stands where it does.

use std::{cmp::Reverse, collections::BTreeSet};

use cocoon_api::{
    TokenCount,
    conditions::{self, Accepted, Failed, FundsReserved, Reason as _, Scheduled, Settled, Suspended},
    crd::{FullName, InferenceJob, InferenceJobStatus, job::JobPhase},
};
use cocoon_core::placement::demand::chosen;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use maud::{Markup, html};

use super::{
    frame::{self, Place},
    listing::{Listing, ROWS},
    snapshot::{Called, Homes, Snapshot},
    table::{Column, Tone, nothing, pager, state, table, words},
    text,
};

/// Jobs by where they stand.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// An agent works on them.
    pub(super) running: usize,
    /// They wait, or are held back.
    pub(super) waiting: usize,
    /// Complete, paid or not.
    pub(super) complete: usize,
    /// Ended without completing.
    pub(super) failed: usize,
}

impl Counts {
    /// Counts.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let mut counts = Self::default();
        for job in &snapshot.jobs {
            let count = match phase(job) {
                JobPhase::Running => &mut counts.running,
                JobPhase::Pending | JobPhase::Suspended => &mut counts.waiting,
                JobPhase::Complete | JobPhase::Settled => &mut counts.complete,
                JobPhase::Failed => &mut counts.failed,
            };
            *count += 1;
        }
        counts
    }
}

fn phase(job: &InferenceJob) -> JobPhase {
    let phase = job.status.as_ref().and_then(|status| status.phase);
    phase.unwrap_or(JobPhase::Pending)
}

/// The view of all jobs: those that have not ended first, the longest wait first; then the others, the newest first.
pub(super) fn view(snapshot: &Snapshot, page: usize) -> String {
    let mut jobs: Vec<&InferenceJob> = snapshot.jobs.iter().map(AsRef::as_ref).collect();
    jobs.sort_by_cached_key(|job| {
        let created = created(job);
        let (begun, ended) = if job.is_ended() {
            (None, Some(Reverse(ended(job).or(created))))
        } else {
            (Some(created), None)
        };
        (begun.is_none(), begun, ended, FullName::of(*job))
    });
    let counts = Counts::of(snapshot);
    let listing = Listing::of(jobs, page, ROWS);
    let content = html! {
        h1 { "Jobs" span class="sum" { (text::count(listing.total)) } }
        p class="counts" {
            span { b { (text::count(counts.running)) } " running" }
            span { b { (text::count(counts.waiting)) } " waiting" }
            span { b { (text::count(counts.complete)) } " complete" }
            span { b { (text::count(counts.failed)) } " failed" }
        }
        @if listing.total == 0 { p class="empty" { "No job has been submitted." } }
        @else { (rows(snapshot, &listing.rows)) }
        (pager(Place::Jobs.path(), &listing))
    };
    frame::view(Place::Jobs, snapshot.now, &content)
}

/// Of the jobs that wait, those that have waited longest, and how many more there are.
pub(super) fn waiting(snapshot: &Snapshot, most: usize) -> Listing<&InferenceJob> {
    let jobs = snapshot.jobs.iter().map(AsRef::as_ref);
    let mut waiting: Vec<&InferenceJob> = jobs.filter(|job| phase(job) == JobPhase::Pending).collect();
    waiting.sort_by_cached_key(|job| (created(job), FullName::of(*job)));
    Listing::of(waiting, 1, most)
}

/// A table of jobs.
pub(super) fn rows(snapshot: &Snapshot, jobs: &[&InferenceJob]) -> Markup {
    let columns = [
        Column::Words("Job"),
        Column::Words("State"),
        Column::Words("Model"),
        Column::Figures("Done"),
        Column::Figures("Tokens"),
        Column::Figures("Cost, TON"),
        Column::Figures("Age"),
        Column::Prose("Reason"),
    ];
    let (homes, models) = (snapshot.homes(), snapshot.models());
    table(
        columns,
        jobs.iter().map(|job| row(job, snapshot, &homes, &models)),
    )
}

fn row(job: &InferenceJob, snapshot: &Snapshot, homes: &Homes, models: &BTreeSet<&str>) -> [Markup; 8] {
    let status = job.status.clone().unwrap_or_default();
    let called = homes.call(job);
    let model = Some(job.spec.model.as_str()).filter(|model| called.is_ours || models.contains(model));
    let offer = chosen(job).filter(|name| snapshot.provider(name).is_some());
    let tokens = status.usage.total().map(TokenCount::get).ok();
    [
        name(&called),
        shown(phase(job)),
        html! {
            (words(model))
            @if let Some(offer) = offer { span class="aside" { (text::plain(&offer.to_string())) } }
        },
        html! { (status.requests.succeeded) " of " (status.requests.total) },
        tokens.map_or_else(nothing, |tokens| html! { (text::count(tokens)) }),
        html! { (text::ton(status.cost.spent_nano)) },
        created(job).map_or_else(nothing, |at| html! { (text::ago(at, snapshot.now)) }),
        reason(job, &status, &called),
    ]
}

/// A job or a channel by what it may be called.
pub(super) fn name(called: &Called) -> Markup {
    html! {
        span class="name" { (called.name) }
        span class="aside" { (called.namespace) @if !called.is_ours { " · by UID" } }
    }
}

fn shown(phase: JobPhase) -> Markup {
    match phase {
        JobPhase::Pending => state(Tone::Waits, "Pending"),
        JobPhase::Suspended => state(Tone::Quiet, "Suspended"),
        JobPhase::Running => state(Tone::Busy, "Running"),
        JobPhase::Complete => state(Tone::Good, "Complete"),
        JobPhase::Settled => state(Tone::Good, "Settled"),
        JobPhase::Failed => state(Tone::Bad, "Failed"),
    }
}

/// Why a job stands where it does. The message of a payer's job may name its Secrets, so only the reason's code is
/// shown of it.
fn reason(job: &InferenceJob, status: &InferenceJobStatus, called: &Called) -> Markup {
    let Some(condition) = cause(phase(job), status) else {
        return nothing();
    };
    html! {
        strong { (text::plain(&condition.reason)) }
        @if called.is_ours { " " (text::plain(&condition.message)) }
        @if let Some(position) = status.queue_position.filter(|position| *position > 0) {
            span class="aside" { (text::count(position)) " before it" }
        }
    }
}

/// The condition that tells why a job is in this phase; none where there is nothing to tell.
fn cause(phase: JobPhase, status: &InferenceJobStatus) -> Option<&Condition> {
    let find = |type_| conditions::find(&status.conditions, type_);
    let unmet = |type_| find(type_).filter(|condition: &&Condition| condition.status != "True");
    match phase {
        JobPhase::Failed => find(Failed::TYPE),
        JobPhase::Suspended => find(Suspended::TYPE),
        JobPhase::Complete => unmet(Settled::TYPE),
        JobPhase::Settled => None,
        JobPhase::Pending | JobPhase::Running => [Accepted::TYPE, FundsReserved::TYPE, Scheduled::TYPE]
            .into_iter()
            .find_map(unmet),
    }
}

fn created(job: &InferenceJob) -> Option<Timestamp> {
    job.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn ended(job: &InferenceJob) -> Option<Timestamp> {
    let status = job.status.as_ref()?;
    status.completion_time.as_ref().map(|time| time.0)
}
