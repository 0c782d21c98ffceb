//! Settlements: the wallets' messages, and what became of them.

use cocoon_api::{
    NanoTon,
    conditions::{self, Reason as _, SettlementFailed},
    crd::{FullName, Settlement, settlement::SettlementState},
};
use cocoon_core::settlement::{signed_by, state as standing, steps};
use k8s_openapi::jiff::Timestamp;
use maud::{Markup, html};

use super::{
    frame::{self, Place},
    listing::{Listing, ROWS},
    snapshot::Snapshot,
    table::{Column, Tone, nothing, pager, state, table, words},
    text,
};

/// The view of all settlements that are kept, the newest first.
pub(super) fn view(snapshot: &Snapshot, page: usize) -> String {
    let mut settlements: Vec<&Settlement> = snapshot.settlements.iter().map(AsRef::as_ref).collect();
    settlements.sort_by_cached_key(|settlement| {
        std::cmp::Reverse((
            created(settlement),
            settlement.spec.seqno,
            FullName::of(*settlement),
        ))
    });
    let listing = Listing::of(settlements, page, ROWS);
    let columns = [
        Column::Words("Settlement"),
        Column::Words("State"),
        Column::Figures("Channels"),
        Column::Figures("Claims, TON"),
        Column::Figures("Confirmed, TON"),
        Column::Figures("Fee, TON"),
        Column::Figures("Age"),
        Column::Prose("Transaction"),
    ];
    let content = html! {
        h1 { "Settlements" span class="sum" { (text::count(listing.total)) } }
        @if listing.total == 0 { p class="empty" { "Nothing has been claimed yet. " code { "payout.settle" } " says when claims are made." } }
        @else { (table(columns, listing.rows.iter().map(|settlement| row(settlement, snapshot.now)))) }
        (pager(Place::Settlements.path(), &listing))
    };
    frame::view(Place::Settlements, snapshot.now, &content)
}

/// A settlement is the farm's: it lies in its namespace. The channels and jobs that it names are payers', and only
/// counted.
fn row(settlement: &Settlement, now: Timestamp) -> [Markup; 8] {
    let status = settlement.status.clone().unwrap_or_default();
    let full_name = FullName::of(settlement);
    let amount = |amount: NanoTon| html! { (text::ton(amount)) };
    [
        html! {
            span class="name" { (text::plain(&full_name.name)) }
            span class="aside" { "by " (text::plain(&signed_by(settlement).to_string())) }
        },
        shown(settlement),
        html! {
            @if let Some(sweep) = &settlement.spec.sweep { "sweeps " (text::ton(sweep.nano)) } @else { (text::count(settlement.spec.redeems.len())) }
        },
        steps(settlement).map_or_else(|_| nothing(), amount),
        amount(status.confirmed_nano),
        amount(status.fee_nano),
        created(settlement).map_or_else(nothing, |at| html! { (text::ago(at, now)) }),
        html! { span class="hash" { (words(status.transaction.as_deref())) } },
    ]
}

fn shown(settlement: &Settlement) -> Markup {
    let list = settlement
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    match standing(settlement) {
        Some(SettlementState::Signed) | None => state(Tone::Busy, "Signed"),
        Some(SettlementState::Broadcast) => state(Tone::Busy, "Broadcast"),
        Some(SettlementState::Confirmed) => state(Tone::Good, "Confirmed"),
        Some(SettlementState::Failed) => {
            let why = conditions::find(list, SettlementFailed::TYPE);
            html! { (state(Tone::Bad, "Failed")) @if let Some(why) = why { span class="aside" { (text::plain(&why.reason)) } } }
        }
    }
}

fn created(settlement: &Settlement) -> Option<Timestamp> {
    settlement.metadata.creation_timestamp.as_ref().map(|time| time.0)
}
