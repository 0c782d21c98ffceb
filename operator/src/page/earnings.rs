//! Earnings by day, a network at a time: coins of a test network are not those of another.

use std::{collections::BTreeMap, sync::Arc};

use cocoon_api::{
    NanoTon,
    crd::{CocoonProvider, FullName, Settlement},
    units::UnitError,
};
use cocoon_core::settlement::{Day, EarnedByDay, earned_by_day, signed_by};
use k8s_openapi::jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use maud::{Markup, html};

use super::{
    snapshot::Snapshot,
    table::{Column, table},
    text,
};

/// Days that are shown one by one, the newest: what was earned before them is one sum.
const DAYS: usize = 14;
/// Networks that are shown. A farm has one, and perhaps a test network.
const NETWORKS: usize = 4;
/// Digits after the point that are shown at least.
const LEAST_DIGITS: usize = 3;
/// Height of the chart in its own units, and the distance of its bars.
const HEIGHT: u64 = 40;
const PITCH: usize = 10;

/// Money of the offers that are paid on one network.
pub(super) struct Purse {
    /// Name of the network.
    pub(super) network: String,
    /// The money; an error where a sum is no amount.
    pub(super) money: Result<Money, UnitError>,
}

/// What offers earned.
pub(super) struct Money {
    /// Paid to the offers, as their channels' contracts have shown.
    pub(super) confirmed: NanoTon,
    /// Metered and not yet paid.
    pub(super) pending: NanoTon,
    /// By day.
    pub(super) by_day: EarnedByDay,
}

/// Money by network, in the order of their names.
pub(super) fn purses(snapshot: &Snapshot) -> Vec<Purse> {
    let mut networks = BTreeMap::<&str, Vec<&CocoonProvider>>::new();
    for provider in &snapshot.providers {
        let network = provider.spec.payout.network.as_str();
        networks.entry(network).or_default().push(provider);
    }
    let mut signed = BTreeMap::<FullName, Vec<&Settlement>>::new();
    for settlement in snapshot.settlements.iter().map(Arc::as_ref) {
        signed.entry(signed_by(settlement)).or_default().push(settlement);
    }
    let purse = |(network, providers): (&str, Vec<&CocoonProvider>)| Purse {
        network: network.to_owned(),
        money: money(&providers, &signed),
    };
    networks.into_iter().take(NETWORKS).map(purse).collect()
}

fn money(
    providers: &[&CocoonProvider],
    signed: &BTreeMap<FullName, Vec<&Settlement>>,
) -> Result<Money, UnitError> {
    let statuses = providers.iter().filter_map(|provider| provider.status.as_ref());
    let earnings = statuses.map(|status| &status.earnings);
    let confirmed = NanoTon::sum(earnings.clone().map(|earnings| earnings.confirmed_nano))?;
    let pending = earnings.map(|earnings| earnings.accrued_nano.saturating_sub(earnings.confirmed_nano));
    let settlements = providers
        .iter()
        .filter_map(|&provider| signed.get(&FullName::of(provider)));
    Ok(Money {
        confirmed,
        pending: NanoTon::sum(pending)?,
        by_day: earned_by_day(settlements.flatten().copied(), confirmed)?,
    })
}

/// Earnings by day of every network.
pub(super) fn section(purses: &[Purse], now: Timestamp) -> Markup {
    html! {
        section {
            h2 { "Earnings by day" }
            @for purse in purses {
                div class="panel" {
                    h3 { (text::plain(&purse.network)) }
                    @match &purse.money {
                        Ok(money) => (days(money, now)),
                        Err(_) => p class="note" { "The sums exceed what an amount can hold; see the settlements." },
                    }
                }
            }
            @if purses.is_empty() { p class="empty" { "Nothing is offered yet, so nothing is earned." } }
        }
    }
}

fn days(Money { by_day, .. }: &Money, now: Timestamp) -> Markup {
    let (shown, older) = by_day.days.split_at(by_day.days.len().min(DAYS));
    let before = NanoTon::sum(older.iter().map(|day| day.earned).chain([by_day.earlier])).ok();
    let before = before.filter(|before| *before > NanoTon::ZERO);
    // Settlements go oldest first, so that only the oldest day may have lost some.
    let is_part = |index: usize| index + 1 == by_day.days.len() && by_day.earlier > NanoTon::ZERO;
    let amounts = shown.iter().map(|day| day.earned).chain(before);
    let digits = amounts
        .map(text::fraction_digits)
        .max()
        .unwrap_or(0)
        .max(LEAST_DIGITS);
    let row = |index: usize, day: &Day| {
        [
            html! { (day.date) @if is_part(index) { " " span class="aside" { "in part" } } },
            html! { (text::count(day.settlements)) },
            html! { (text::ton_to(day.earned, digits)) },
        ]
    };
    let rows = shown.iter().enumerate().map(|(index, day)| row(index, day));
    let sum = before.map(|before| {
        [
            html! { "Before" },
            html! {},
            html! { (text::ton_to(before, digits)) },
        ]
    });
    let columns = [
        Column::Words("Day, UTC"),
        Column::Figures("Settlements"),
        Column::Figures("TON"),
    ];
    html! {
        @if shown.is_empty() && before.is_none() {
            p class="empty" { "No settlement has been confirmed yet." }
        } @else {
            div class="days" {
                (chart(&by_day.days, TimeZone::UTC.to_datetime(now).date()))
                div class="narrow" { (table(columns, rows.chain(sum))) }
            }
        }
        @if by_day.ahead > NanoTon::ZERO {
            p class="note" { (text::ton(by_day.ahead)) " TON of this are confirmed and not yet in the offers' ledgers." }
        }
    }
}

/// The newest days as bars, those without earnings too. An image of what the table says, so readers of the page skip
/// it.
fn chart(days: &[Day], today: Date) -> Markup {
    let dates = (0_i64..).take(DAYS).map(|back| today.saturating_sub(back.days()));
    let mut dates: Vec<Date> = dates.collect();
    dates.reverse();
    let earned = |date: Date| {
        days.iter()
            .find(|day| day.date == date)
            .map_or(NanoTon::ZERO, |day| day.earned)
    };
    let most = dates.iter().map(|date| earned(*date)).max().unwrap_or_default();
    if most == NanoTon::ZERO {
        return html! {};
    }
    let bars = dates.iter().enumerate().map(|(place, &date)| {
        let height = height(earned(date), most);
        (place * PITCH + 1, HEIGHT - height, height, date)
    });
    html! {
        figure class="chart" aria-hidden="true" {
            svg viewBox={ "0 0 " (DAYS * PITCH) " " (HEIGHT) } preserveAspectRatio="none" {
                @for (x, y, height, date) in bars {
                    rect x=(x) y=(y) width=(PITCH - 2) height=(height) { title { (date) ": " (text::ton(earned(date))) " TON" } }
                }
            }
            figcaption {
                @if let (Some(first), Some(last)) = (dates.first(), dates.last()) { span { (first) } span { (last) } }
            }
        }
    }
}

/// Height of a bar: at least one unit where something was earned.
fn height(earned: NanoTon, most: NanoTon) -> u64 {
    if earned == NanoTon::ZERO {
        return 0;
    }
    let share = u128::from(earned.nano()) * u128::from(HEIGHT) / u128::from(most.nano());
    u64::try_from(share).unwrap_or(HEIGHT).clamp(1, HEIGHT)
}
