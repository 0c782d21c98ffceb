//! The first view: what is earned, what works, and what waits for what.

use cocoon_api::{NanoTon, crd::CocoonProviderStatus};
use maud::{Markup, html};

use super::{
    earnings::{self, Purse},
    frame::{self, Place},
    jobs::{self, Counts},
    offers,
    snapshot::Snapshot,
    text,
};

/// Offers that are shown here; the others have a view of their own.
const OFFERS: usize = 3;
/// Waiting jobs that are shown here.
const WAITING: usize = 8;

/// The view.
pub(super) fn view(snapshot: &Snapshot) -> String {
    let purses = earnings::purses(snapshot);
    let waiting = jobs::waiting(snapshot, WAITING);
    let content = html! {
        h1 { "Overview" }
        (figures(snapshot, &purses))
        (earnings::section(&purses, snapshot.now))
        section {
            h2 { "Offers" }
            @for provider in snapshot.providers.iter().take(OFFERS) { (offers::offer(provider)) }
            @if snapshot.providers.is_empty() { (offers::none()) }
            (more(snapshot.providers.len(), OFFERS, Place::Offers, "offers"))
        }
        section {
            h2 { "Waiting jobs" }
            @if waiting.total == 0 { p class="empty" { "No job waits." } }
            @else { (jobs::rows(snapshot, &waiting.rows)) }
            (more(waiting.total, WAITING, Place::Jobs, "that wait"))
        }
    };
    frame::view(Place::Overview, snapshot.now, &content)
}

fn more(total: usize, shown: usize, place: Place, what: &str) -> Markup {
    let more = total.saturating_sub(shown);
    html! { @if more > 0 { p class="more" { a href=(place.path()) { (text::count(more)) " more " (what) } } } }
}

/// The figures at the top.
fn figures(snapshot: &Snapshot, purses: &[Purse]) -> Markup {
    let statuses = snapshot
        .providers
        .iter()
        .filter_map(|provider| provider.status.as_ref());
    let sum = |of: fn(&CocoonProviderStatus) -> u64| statuses.clone().map(of).fold(0, u64::saturating_add);
    let speed = sum(|status| u64::try_from(status.tokens_per_second).unwrap_or_default());
    let is_serving = |status: &&CocoonProviderStatus| status.models.iter().any(|model| model.ready > 0);
    let counts = Counts::of(snapshot);
    let figure = |label: &str, value: Markup, under: Markup| {
        html! { div class="total" { dt { (label) } dd { span class="value" { (value) } span class="under" { (under) } } } }
    };
    html! {
        dl class="totals" {
            @for purse in purses {
                @if let Ok(money) = &purse.money {
                    (figure("Earned", ton(money.confirmed), html! { (text::plain(&purse.network)) }))
                    (figure("Not yet paid", ton(money.pending), html! { "metered on channels" }))
                }
            }
            (figure(
                "Tokens/s",
                html! { (text::count(speed)) },
                html! { (text::count(statuses.clone().filter(is_serving).count())) " of " (text::count(snapshot.providers.len())) " offers serve" },
            ))
            (figure("Jobs running", html! { (text::count(counts.running)) }, html! { (text::count(counts.waiting)) " wait" }))
            (figure("Jobs complete", html! { (text::count(counts.complete)) }, html! { (text::count(counts.failed)) " failed" }))
        }
    }
}

/// An amount whose digits below the milliTON are small print.
fn ton(amount: NanoTon) -> Markup {
    let (whole, rest) = text::ton_parts(amount);
    html! { (whole) @if !rest.is_empty() { span class="rest" { (rest) } } small { " TON" } }
}
