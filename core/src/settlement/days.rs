//! What settlements brought in, day by day.
//!
//! Settlements are kept for a while only ([`super::superfluous`]), the oldest go first. What offers have earned in all
//! is in their ledgers; what those know beyond the settlements that are kept is earned earlier, and on no day that can
//! be told.

use std::collections::BTreeMap;

use cocoon_api::{
    NanoTon,
    crd::{Settlement, settlement::SettlementState},
    units::UnitError,
};
use k8s_openapi::jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::history::{ended_at, state};

/// What was confirmed on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    /// The day, in UTC.
    pub date: Date,
    /// What channels paid by the settlements that were confirmed on it.
    pub earned: NanoTon,
    /// How many these were.
    pub settlements: u32,
}

/// Earnings by day, and how they stand to what the ledgers say. `earned by day + earlier = in the ledgers + ahead`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EarnedByDay {
    /// Days on which something was earned, the newest first.
    pub days: Vec<Day>,
    /// Earned by settlements that are no longer kept. Where it is not nothing, the oldest of the days may be told in
    /// part.
    pub earlier: NanoTon,
    /// Confirmed by settlements and not yet in the offers' ledgers, which follow: not to be called earned.
    pub ahead: NanoTon,
}

/// Earnings by day of offers that say that `confirmed` was paid to them in all. Only settlements that are confirmed
/// count, each on the day on which the chain's getters showed it. What only passes money on, earns nothing.
pub fn earned_by_day<'a>(
    settlements: impl IntoIterator<Item = &'a Settlement>,
    confirmed: NanoTon,
) -> Result<EarnedByDay, UnitError> {
    let mut days = BTreeMap::<Date, Day>::new();
    for (date, earned) in settlements.into_iter().filter_map(earned_on) {
        let day = days.entry(date).or_insert(Day {
            date,
            earned: NanoTon::ZERO,
            settlements: 0,
        });
        day.earned = day.earned.checked_add(earned)?;
        day.settlements = day.settlements.saturating_add(1);
    }
    let kept = NanoTon::sum(days.values().map(|day| day.earned))?;
    Ok(EarnedByDay {
        days: days.into_values().rev().collect(),
        earlier: confirmed.saturating_sub(kept),
        ahead: kept.saturating_sub(confirmed),
    })
}

fn earned_on(settlement: &Settlement) -> Option<(Date, NanoTon)> {
    if state(settlement) != Some(SettlementState::Confirmed) {
        return None;
    }
    let earned = settlement.status.as_ref()?.confirmed_nano;
    let at = Timestamp::from_second(ended_at(settlement)?).ok()?;
    (earned > NanoTon::ZERO).then(|| (TimeZone::UTC.to_datetime(at).date(), earned))
}
