//! The ledger of one channel: budgets of jobs and sessions that have not ended, and counters of what they used. What
//! has one budget is a [`Bill`]; what has one counter on each agent is a [`Subject`].
//!
//! Wanted properties, each a property test:
//! - merging counters is commutative, associative and idempotent: replaying any message changes nothing;
//! - reservations and usage together never exceed what voucher and deposit cover at the moment of reserving;
//! - folding a finished bill changes no total;
//! - sessions and jobs are the same to it, and none is ever taken for another, whatever their names.

pub mod rebuild;
mod root;

use std::collections::BTreeMap;

use cocoon_api::{
    Bill, NanoTon, Subject,
    conditions::{self, Ready, Reason as _},
    crd::channel::{Counter, MAX_LEDGER_ENTRIES, PaymentChannelStatus, Reservation},
    units::UnitError,
};

pub use root::receipts_root;

/// Counters on one channel at most: one for each bill of a full ledger, and a tenth for second attempts. With names of
/// 63 characters a counter takes 450 bytes of the object and a reservation 160, so that a full ledger stays below half
/// of etcd's 1.5 MiB.
pub const MAX_COUNTERS: usize = MAX_LEDGER_ENTRIES + MAX_LEDGER_ENTRIES / 10;

/// A ledger with this many bills makes room, so that a fifth is left for new ones meanwhile.
const FILLING_BILLS: usize = MAX_LEDGER_ENTRIES * 4 / 5;

/// As [`FILLING_BILLS`], for counters.
const FILLING_COUNTERS: usize = MAX_COUNTERS * 4 / 5;

/// Why a budget cannot be reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Voucher and deposit leave less than the budget.
    Insufficient {
        /// What is left.
        available: NanoTon,
        /// What was asked.
        wanted: NanoTon,
    },
    /// The ledger holds [`MAX_LEDGER_ENTRIES`] bills; one must end or be settled first.
    Full,
}

/// Reserves, raises or keeps the budget of a bill. Reserving the same budget again changes nothing.
///
/// A refusal leaves the ledger as it was.
pub fn reserve(
    status: &mut PaymentChannelStatus,
    bill: &Bill,
    name: &str,
    wanted: NanoTon,
) -> Result<Result<(), Refusal>, UnitError> {
    let held = status
        .reservations
        .iter()
        .position(|reservation| reservation.bill == *bill);
    if held.is_some_and(|index| status.reservations[index].nano >= wanted) {
        return Ok(Ok(()));
    }
    let mut exposures = exposures(status)?;
    if held.is_none() && exposures.len() >= MAX_LEDGER_ENTRIES {
        return Ok(Err(Refusal::Full));
    }
    let own = exposures.remove(bill).unwrap_or_default();
    let others = NanoTon::sum(exposures.into_values())?.checked_add(finished(status))?;
    let available = claimable(status)?.saturating_sub(others);
    // What was used counts against its own budget, which may not fall below it.
    let wanted = wanted.max(own);
    if available < wanted {
        return Ok(Err(Refusal::Insufficient { available, wanted }));
    }
    release(status, bill);
    status.reservations.push(Reservation {
        bill: bill.clone(),
        name: name.to_owned(),
        nano: wanted,
    });
    status.reservations.sort_by(|a, b| a.bill.cmp(&b.bill));
    Ok(Ok(()))
}

/// Releases a budget that has ended; what was used stays in its counters.
pub fn release(status: &mut PaymentChannelStatus, bill: &Bill) {
    status
        .reservations
        .retain(|reservation| reservation.bill != *bill);
}

/// The budget that is held.
pub fn reserved(status: &PaymentChannelStatus, bill: &Bill) -> Option<NanoTon> {
    status
        .reservations
        .iter()
        .find(|reservation| reservation.bill == *bill)
        .map(|reservation| reservation.nano)
}

/// Whether anything of it is in the ledger: a reservation, or a counter that was not folded.
pub fn holds(status: &PaymentChannelStatus, bill: &Bill) -> bool {
    reserved(status, bill).is_some() || status.counters.iter().any(|counter| bill.holds(&counter.subject))
}

/// Whether the ledger must make room: what it metered is claimed early, and ended jobs are folded before they are paid.
pub fn is_filling(status: &PaymentChannelStatus) -> bool {
    let bills = status
        .counters
        .chunk_by(|a, b| a.subject.bill() == b.subject.bill())
        .count();
    bills.max(status.reservations.len()) >= FILLING_BILLS || status.counters.len() >= FILLING_COUNTERS
}

/// The ledger holds [`MAX_COUNTERS`]; settled jobs must be folded before more can be metered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger holds {MAX_COUNTERS} counters; some must be settled first")]
pub struct Full;

/// Merges a counter: of two with the same agent and subject the one with more receipts stays. Answers
/// whether the ledger changed.
pub fn merge(status: &mut PaymentChannelStatus, counter: Counter) -> Result<bool, Full> {
    fn key(counter: &Counter) -> (&Subject, &str) {
        (&counter.subject, &counter.agent)
    }
    match status
        .counters
        .binary_search_by(|held| key(held).cmp(&key(&counter)))
    {
        Ok(index) if status.counters[index].count >= counter.count => Ok(false),
        Ok(index) => {
            status.counters[index] = counter;
            Ok(true)
        }
        Err(_) if status.counters.len() >= MAX_COUNTERS => Err(Full),
        Err(index) => {
            status.counters.insert(index, counter);
            Ok(true)
        }
    }
}

/// Moves what was used by a bill that will use no more into the total of finished ones. Answers whether anything moved.
pub fn fold(status: &mut PaymentChannelStatus, bill: &Bill) -> Result<bool, UnitError> {
    let used = used(status, bill)?;
    let before = status.counters.len() + status.reservations.len();
    status.finished_nano = status.finished_nano.checked_add(used)?;
    root::fold(status, bill);
    status.counters.retain(|counter| !bill.holds(&counter.subject));
    release(status, bill);
    Ok(before != status.counters.len() + status.reservations.len())
}

/// What the counters of one bill add up to.
pub fn used(status: &PaymentChannelStatus, bill: &Bill) -> Result<NanoTon, UnitError> {
    NanoTon::sum(
        status
            .counters
            .iter()
            .filter(|counter| bill.holds(&counter.subject))
            .map(|counter| counter.nano),
    )
}

/// What all bills together come to so far, finished ones included.
pub fn accrued(status: &PaymentChannelStatus) -> Result<NanoTon, UnitError> {
    NanoTon::sum(status.counters.iter().map(|counter| counter.nano))?.checked_add(finished(status))
}

/// What finished bills were metered for, and what was redeemed on account of other ledgers. Of the latter counts what
/// the contract shows: where a reading was too high, its claim is not owed here.
fn finished(status: &PaymentChannelStatus) -> NanoTon {
    let false_part = status.earlier_nano.saturating_sub(status.redeemed_nano);
    status.finished_nano.saturating_sub(false_part)
}

/// Whether what was metered, what bills before this one may still come to, and this one's reservation stay within
/// `total`. Those that have used something come first, then the order is that of their ids: any order that does not
/// change from plan to plan.
pub fn is_within(status: &PaymentChannelStatus, bill: &Bill, total: NanoTon) -> Result<bool, UnitError> {
    let used = usage(status)?;
    let used = |bill: &Bill| used.get(bill).copied().unwrap_or_default();
    let rank = |bill: &Bill| (used(bill) == NanoTon::ZERO, bill.clone());
    let own = rank(bill);
    let open = status
        .reservations
        .iter()
        .filter(|held| rank(&held.bill) <= own)
        .map(|held| held.nano.saturating_sub(used(&held.bill)));
    Ok(NanoTon::sum(open)?.checked_add(accrued(status)?)? <= total)
}

/// The most that may be claimed for new work as things stand: the voucher's cap, and what the contract has paid or
/// holds; nothing where the channel is not ready.
pub fn claimable(status: &PaymentChannelStatus) -> Result<NanoTon, UnitError> {
    if !conditions::is_true(&status.conditions, Ready::TYPE) {
        return Ok(NanoTon::ZERO);
    }
    Ok(status
        .cap_nano
        .min(status.redeemed_nano.checked_add(status.deposit_nano)?))
}

/// What new bills can reserve.
pub fn available(status: &PaymentChannelStatus) -> Result<NanoTon, UnitError> {
    Ok(claimable(status)?.saturating_sub(exposed(status)?))
}

/// What was metered, and what bills with a reservation may still come to.
pub fn exposed(status: &PaymentChannelStatus) -> Result<NanoTon, UnitError> {
    NanoTon::sum(exposures(status)?.into_values())?.checked_add(finished(status))
}

/// The most that each unsettled bill can come to: its budget while it runs, or what it used.
fn exposures(status: &PaymentChannelStatus) -> Result<BTreeMap<Bill, NanoTon>, UnitError> {
    let mut used = usage(status)?;
    for reservation in &status.reservations {
        let exposure = used.entry(reservation.bill.clone()).or_default();
        *exposure = reservation.nano.max(*exposure);
    }
    Ok(used)
}

/// What the counters of each bill add up to.
fn usage(status: &PaymentChannelStatus) -> Result<BTreeMap<Bill, NanoTon>, UnitError> {
    let mut used: BTreeMap<Bill, NanoTon> = BTreeMap::new();
    for counter in &status.counters {
        let sum = used.entry(counter.subject.bill()).or_default();
        *sum = sum.checked_add(counter.nano)?;
    }
    Ok(used)
}

/// Brings the derived figures in line with the ledger. `now` is in Unix seconds.
pub fn recompute(status: &mut PaymentChannelStatus, now: i64) -> Result<(), UnitError> {
    status.accrued_nano = accrued(status)?;
    status.reserved_nano = NanoTon::sum(status.reservations.iter().map(|reservation| reservation.nano))?;
    status.accruing_since = if status.accrued_nano > status.redeemed_nano {
        status.accruing_since.or(Some(now))
    } else {
        None
    };
    status.deposit = status.deposit_nano.to_ton_string();
    status.redeemed = status.redeemed_nano.to_ton_string();
    status.available = available(status)?.to_ton_string();
    Ok(())
}

#[cfg(test)]
mod tests;
