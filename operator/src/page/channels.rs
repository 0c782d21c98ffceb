//! Channels: what is deposited, allowed, metered and paid.

use cocoon_api::{
    NanoTon,
    conditions::{self, ClockInStep, Funded, LedgerCurrent, Ready, Reason as _, VoucherValid},
    crd::{FullName, PaymentChannel, PaymentChannelStatus, channel::ChannelState},
};
use cocoon_core::settlement::pays;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use maud::{Markup, html};

use super::{
    frame::{self, Place},
    jobs::name,
    listing::{Listing, ROWS},
    snapshot::{Called, Homes, Snapshot},
    table::{Column, Tone, nothing, pager, state, table},
    text,
};

/// The view of all channels, those that owe most first.
pub(super) fn view(snapshot: &Snapshot, page: usize) -> String {
    let mut channels: Vec<&PaymentChannel> = snapshot.channels.iter().map(AsRef::as_ref).collect();
    channels.sort_by_cached_key(|channel| (std::cmp::Reverse(owed(channel)), FullName::of(*channel)));
    let homes = snapshot.homes();
    let listing = Listing::of(channels, page, ROWS);
    let columns = [
        Column::Words("Channel"),
        Column::Words("State"),
        Column::Words("Offer"),
        Column::Figures("Deposit, TON"),
        Column::Figures("Cap, TON"),
        Column::Figures("Metered, TON"),
        Column::Figures("Paid, TON"),
        Column::Prose("Reason"),
    ];
    let content = html! {
        h1 { "Channels" span class="sum" { (text::count(listing.total)) } }
        @if listing.total == 0 { p class="empty" { "No payer has opened a channel." } }
        @else { (table(columns, listing.rows.iter().map(|channel| row(channel, snapshot, &homes)))) }
        (pager(Place::Channels.path(), &listing))
    };
    frame::view(Place::Channels, snapshot.now, &content)
}

/// Metered and not yet paid.
fn owed(channel: &PaymentChannel) -> NanoTon {
    channel.status.as_ref().map_or(NanoTon::ZERO, |status| {
        status.accrued_nano.saturating_sub(status.redeemed_nano)
    })
}

fn row(channel: &PaymentChannel, snapshot: &Snapshot, homes: &Homes) -> [Markup; 8] {
    let status = channel.status.clone().unwrap_or_default();
    let called = homes.call(channel);
    let offer = pays(channel);
    let offer = snapshot.provider(&offer).is_some().then(|| offer.to_string());
    [
        name(&called),
        standing(&status),
        offer.map_or_else(nothing, |offer| html! { (text::plain(&offer)) }),
        html! { (text::ton(status.deposit_nano)) },
        html! { (text::ton(status.cap_nano)) },
        html! { (text::ton(status.accrued_nano)) },
        html! { (text::ton(status.redeemed_nano)) },
        reason(&status, &called),
    ]
}

fn standing(status: &PaymentChannelStatus) -> Markup {
    let is_ready = conditions::is_true(&status.conditions, Ready::TYPE);
    match status.state {
        Some(ChannelState::Open) if is_ready => state(Tone::Good, "Open"),
        Some(ChannelState::Open) => state(Tone::Waits, "Open, not ready"),
        Some(ChannelState::Closing) => state(Tone::Busy, "Closing"),
        Some(ChannelState::Closed) => state(Tone::Quiet, "Closed"),
        Some(ChannelState::Unfunded) => state(Tone::Waits, "Unfunded"),
        None => state(Tone::Waits, "Not seen yet"),
    }
}

/// Why it cannot be used, and what its ledger cannot explain, which nobody has earned.
fn reason(status: &PaymentChannelStatus, called: &Called) -> Markup {
    let types = [
        Funded::TYPE,
        VoucherValid::TYPE,
        LedgerCurrent::TYPE,
        ClockInStep::TYPE,
    ];
    let unmet = types
        .iter()
        .filter_map(|type_| conditions::find(&status.conditions, type_));
    let unmet: Option<&Condition> = unmet.into_iter().find(|condition| condition.status != "True");
    html! {
        @if let Some(condition) = unmet {
            strong { (text::plain(&condition.reason)) }
            @if called.is_ours { " " (text::plain(&condition.message)) }
        } @else if status.unexplained_nano.is_none() {
            (nothing())
        }
        @if let Some(unexplained) = status.unexplained_nano {
            span class="aside" { (text::ton(unexplained)) " TON redeemed that its ledger cannot explain" }
        }
    }
}
