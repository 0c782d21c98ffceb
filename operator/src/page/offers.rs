//! Farms: what each offers, on which cards, and what is wrong with it.

use cocoon_api::{
    conditions::{
        self, AgentsAvailable, ChildrenApplied, InventoryReady, Ready, Reason as _, SettlementHealthy,
        WalletReady,
    },
    crd::{
        CocoonProvider, CocoonProviderStatus, FullName,
        provider::{Backend, Download, ModelOffer, ModelPhase, ModelStatus, ProductCount},
    },
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use maud::{Markup, html};

use super::{
    frame::{self, Place},
    listing::Listing,
    snapshot::Snapshot,
    table::{Column, Tone, nothing, pager, state, table, words},
    text,
};

/// Offers of one page. Each may have 32 models and 64 kinds of cards, as the schema says, so that a page is 2 MiB at
/// most.
const ROWS: usize = 5;
/// Downloads that are shown of a model, of the 16 that its status may list.
const DOWNLOADS: usize = 4;

/// The view of all offers.
pub(super) fn view(snapshot: &Snapshot, page: usize) -> String {
    let listing = Listing::of(snapshot.providers.clone(), page, ROWS);
    let content = html! {
        h1 { "Offers" span class="sum" { (text::count(listing.total)) } }
        @for provider in &listing.rows { (offer(provider)) }
        @if listing.total == 0 { (none()) }
        (pager(Place::Offers.path(), &listing))
    };
    frame::view(Place::Offers, snapshot.now, &content)
}

/// What is said where nothing is offered.
pub(super) fn none() -> Markup {
    html! { p class="empty" { "Nothing is offered yet: " code { "kubectl cocoon model add" } " writes a CocoonProvider." } }
}

/// One offer.
pub(super) fn offer(provider: &CocoonProvider) -> Markup {
    let status = provider.status.clone().unwrap_or_default();
    let FullName { namespace, name } = FullName::of(provider);
    let backend = match provider.spec.backend {
        Backend::CUDA => "CUDA",
        Backend::CPU => "CPU",
    };
    html! {
        section class="panel offer" {
            div class="title" {
                h3 { span class="namespace" { (text::plain(&namespace)) "/" } (text::plain(&name)) }
                (readiness(provider, &status.conditions))
            }
            dl class="facts" {
                div { dt { "GPUs free" } dd { (status.gpus.free) " of " (status.gpus.allocatable) } }
                div { dt { "Nodes ready" } dd { (status.nodes.ready) " of " (status.nodes.matched) } }
                div { dt { "Tokens/s" } dd { (text::count(status.tokens_per_second)) } }
                div { dt { "Earned" } dd { (text::ton(status.earnings.confirmed_nano)) " TON" } }
                div { dt { "Not yet paid" } dd { (text::ton(status.earnings.accrued_nano.saturating_sub(status.earnings.confirmed_nano))) " TON" } }
                div { dt { "Computes on" } dd { (backend) } }
                div { dt { "Network" } dd { (text::plain(&provider.spec.payout.network)) } }
            }
            (troubles(&status.conditions))
            h4 { "Models" }
            (models(&provider.spec.models, &status))
            @if !status.products.is_empty() { h4 { "Cards" } (cards(&status.products)) }
        }
    }
}

fn readiness(provider: &CocoonProvider, conditions: &[Condition]) -> Markup {
    match (provider.spec.paused, conditions::find(conditions, Ready::TYPE)) {
        (true, _) => state(Tone::Quiet, "Paused"),
        (false, Some(ready)) if ready.status == "True" => state(Tone::Good, "Ready"),
        (false, Some(_)) => state(Tone::Bad, "Not ready"),
        (false, None) => state(Tone::Waits, "Not seen yet"),
    }
}

/// What is not as it should be, in the operator's words. Those on settlements may name payers' channels: of these, the
/// reason alone.
fn troubles(list: &[Condition]) -> Markup {
    let types = [
        InventoryReady::TYPE,
        AgentsAvailable::TYPE,
        WalletReady::TYPE,
        ChildrenApplied::TYPE,
        SettlementHealthy::TYPE,
    ];
    let wrong = types.iter().filter_map(|type_| conditions::find(list, type_));
    let wrong: Vec<&Condition> = wrong.filter(|condition| condition.status != "True").collect();
    html! {
        @if !wrong.is_empty() {
            ul class="troubles" {
                @for condition in wrong {
                    li {
                        strong { (text::plain(&condition.reason)) }
                        @if condition.type_ != SettlementHealthy::TYPE { " " (text::plain(&condition.message)) }
                    }
                }
            }
        }
    }
}

fn models(offers: &[ModelOffer], status: &CocoonProviderStatus) -> Markup {
    let columns = [
        Column::Words("Model"),
        Column::Words("State"),
        Column::Figures("Agents"),
        Column::Figures("Jobs waiting"),
        Column::Figures("Tokens/s"),
        Column::Prose("Downloads"),
    ];
    let rows = offers.iter().map(|offer| {
        let found = status.models.iter().find(|model| model.name == offer.name);
        [
            words(Some(&offer.name)),
            found.map_or_else(nothing, |model| phase(model.phase)),
            found.map_or_else(nothing, |model| html! { (model.ready) " of " (model.replicas) }),
            found.map_or_else(nothing, |model| html! { (text::count(model.queued)) }),
            found.map_or_else(nothing, |model| html! { (text::count(model.tokens_per_second)) }),
            found.map_or_else(nothing, downloads),
        ]
    });
    table(columns, rows)
}

fn phase(phase: ModelPhase) -> Markup {
    match phase {
        ModelPhase::Idle => state(Tone::Quiet, "Idle"),
        ModelPhase::Starting => state(Tone::Busy, "Starting"),
        ModelPhase::Serving => state(Tone::Good, "Serving"),
        ModelPhase::Failed => state(Tone::Bad, "Failed"),
    }
}

/// Downloads by node. The address stays out: it may hold a signature.
fn downloads(model: &ModelStatus) -> Markup {
    if model.downloads.is_empty() {
        return nothing();
    }
    let percent = |download: &Download| {
        let total = download.total_bytes.filter(|total| *total > 0)?;
        Some(u128::from(download.bytes) * 100 / u128::from(total))
    };
    html! {
        ul class="downloads" {
            @for download in model.downloads.iter().take(DOWNLOADS) {
                li {
                    (text::plain(&download.node))
                    @if let Some(percent) = percent(download) { " " (percent) " %" }
                    @if let Some(seconds) = download.seconds_left { ", " (text::count(seconds)) " s left" }
                    @if let Some(failure) = &download.failure { ": " (text::plain(failure)) }
                }
            }
            @if model.downloads.len() > DOWNLOADS { li { "and " (model.downloads.len() - DOWNLOADS) " more" } }
        }
    }
}

fn cards(products: &[ProductCount]) -> Markup {
    let columns = [
        Column::Words("Card"),
        Column::Figures("Cards"),
        Column::Figures("Memory"),
        Column::Figures("Compute capability"),
        Column::Figures("Driver"),
    ];
    let rows = products.iter().map(|product| {
        [
            words(Some(&product.name)),
            html! { (text::count(product.count)) },
            product
                .memory_mib
                .map_or_else(nothing, |mib| html! { (text::count(mib)) " MiB" }),
            words(product.compute_capability.as_deref()),
            words(product.driver.as_deref()),
        ]
    });
    table(columns, rows)
}
