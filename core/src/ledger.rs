//! The ledger of one channel: budgets of jobs that have not ended, and counters of what was used.
//!
//! Wanted properties, each a property test:
//! - merging counters is commutative, associative and idempotent: replaying any message changes nothing;
//! - reservations and usage together never exceed what voucher and deposit cover at the moment of reserving;
//! - folding a finished job changes no total.

pub mod rebuild;
mod root;

use std::collections::BTreeMap;

use cocoon_api::{
    NanoTon,
    conditions::{self, Ready, Reason as _},
    crd::channel::{Counter, MAX_LEDGER_ENTRIES, PaymentChannelStatus, Reservation},
    units::UnitError,
};

pub use root::receipts_root;

/// Counters on one channel at most: one for each job of a full ledger, and a tenth for second attempts. With names
/// of 63 characters, and with what the API server notes of each entry's fields, a counter takes 900 bytes of the object and
/// a reservation 270, so that a full ledger stays below etcd's 1.5 MiB.
pub const MAX_COUNTERS: usize = MAX_LEDGER_ENTRIES + MAX_LEDGER_ENTRIES / 10;

/// A ledger with this many jobs makes room, so that a fifth is left for new ones meanwhile.
const FILLING_JOBS: usize = MAX_LEDGER_ENTRIES * 4 / 5;

/// As [`FILLING_JOBS`], for counters.
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
    /// The ledger holds [`MAX_LEDGER_ENTRIES`] jobs; one must end or be settled first.
    Full,
}

/// Reserves, raises or keeps the budget of a job. Reserving the same budget again changes nothing.
///
/// A refusal leaves the ledger as it was.
pub fn reserve(
    status: &mut PaymentChannelStatus,
    job: &str,
    name: &str,
    wanted: NanoTon,
) -> Result<Result<(), Refusal>, UnitError> {
    let held = status
        .reservations
        .iter()
        .position(|reservation| reservation.job == job);
    if held.is_some_and(|index| status.reservations[index].nano >= wanted) {
        return Ok(Ok(()));
    }
    let mut exposures = exposures(status)?;
    if held.is_none() && exposures.len() >= MAX_LEDGER_ENTRIES {
        return Ok(Err(Refusal::Full));
    }
    let own = exposures.remove(job).unwrap_or_default();
    let others = NanoTon::sum(exposures.into_values())?.checked_add(finished(status))?;
    let available = claimable(status)?.saturating_sub(others);
    // What the job has used counts against its own budget, which may not fall below it.
    let wanted = wanted.max(own);
    if available < wanted {
        return Ok(Err(Refusal::Insufficient { available, wanted }));
    }
    release(status, job);
    status.reservations.push(Reservation {
        job: job.to_owned(),
        name: name.to_owned(),
        nano: wanted,
    });
    status.reservations.sort_by(|a, b| a.job.cmp(&b.job));
    Ok(Ok(()))
}

/// Releases the budget of a job that has ended; what it used stays in its counters.
pub fn release(status: &mut PaymentChannelStatus, job: &str) {
    status.reservations.retain(|reservation| reservation.job != job);
}

/// The budget that is held for a job.
pub fn reserved(status: &PaymentChannelStatus, job: &str) -> Option<NanoTon> {
    status
        .reservations
        .iter()
        .find(|reservation| reservation.job == job)
        .map(|reservation| reservation.nano)
}

/// Whether the ledger must make room: what it metered is claimed early, and ended jobs are folded before they are paid.
pub fn is_filling(status: &PaymentChannelStatus) -> bool {
    let jobs = status.counters.chunk_by(|a, b| a.job == b.job).count();
    jobs.max(status.reservations.len()) >= FILLING_JOBS || status.counters.len() >= FILLING_COUNTERS
}

/// The ledger holds [`MAX_COUNTERS`]; settled jobs must be folded before more can be metered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger holds {MAX_COUNTERS} counters; some must be settled first")]
pub struct Full;

/// Merges a counter: of two with the same agent, job and attempt the one with more receipts stays. Answers
/// whether the ledger changed.
pub fn merge(status: &mut PaymentChannelStatus, counter: Counter) -> Result<bool, Full> {
    fn key(counter: &Counter) -> (&str, u32, &str) {
        (&counter.job, counter.attempt, &counter.agent)
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

/// Moves what a job used that will use no more into the total of finished jobs. Answers whether anything moved.
pub fn fold(status: &mut PaymentChannelStatus, job: &str) -> Result<bool, UnitError> {
    let used = used(status, job)?;
    let before = status.counters.len() + status.reservations.len();
    status.finished_nano = status.finished_nano.checked_add(used)?;
    root::fold(status, job);
    status.counters.retain(|counter| counter.job != job);
    release(status, job);
    Ok(before != status.counters.len() + status.reservations.len())
}

/// What the counters of one job add up to.
pub fn used(status: &PaymentChannelStatus, job: &str) -> Result<NanoTon, UnitError> {
    NanoTon::sum(
        status
            .counters
            .iter()
            .filter(|counter| counter.job == job)
            .map(|counter| counter.nano),
    )
}

/// What all jobs together were metered for, finished ones included.
pub fn accrued(status: &PaymentChannelStatus) -> Result<NanoTon, UnitError> {
    NanoTon::sum(status.counters.iter().map(|counter| counter.nano))?.checked_add(finished(status))
}

/// What finished jobs were metered for, and what was redeemed on account of other ledgers. Of the latter counts what the
/// contract shows: where a reading was too high, its claim is not owed here.
fn finished(status: &PaymentChannelStatus) -> NanoTon {
    let false_part = status.earlier_nano.saturating_sub(status.redeemed_nano);
    status.finished_nano.saturating_sub(false_part)
}

/// Whether what was metered, what jobs before this one may still come to, and this job's reservation stay within `total`. Jobs that
/// have used something come first, then the order is that of their UIDs: any order that does not change from plan to plan.
pub fn is_within(status: &PaymentChannelStatus, job: &str, total: NanoTon) -> Result<bool, UnitError> {
    let mut used: BTreeMap<&str, NanoTon> = BTreeMap::new();
    for counter in &status.counters {
        let sum = used.entry(&counter.job).or_default();
        *sum = sum.checked_add(counter.nano)?;
    }
    let used = |job: &str| used.get(job).copied().unwrap_or_default();
    let rank = |job: &str| (used(job) == NanoTon::ZERO, job.to_owned());
    let own = rank(job);
    let open = status
        .reservations
        .iter()
        .filter(|held| rank(&held.job) <= own)
        .map(|held| held.nano.saturating_sub(used(&held.job)));
    Ok(NanoTon::sum(open)?.checked_add(accrued(status)?)? <= total)
}

/// The most that may be claimed for new work as things stand: the voucher's cap, and what the contract has paid or holds;
/// nothing where the channel is not ready.
pub fn claimable(status: &PaymentChannelStatus) -> Result<NanoTon, UnitError> {
    if !conditions::is_true(&status.conditions, Ready::TYPE) {
        return Ok(NanoTon::ZERO);
    }
    Ok(status
        .cap_nano
        .min(status.redeemed_nano.checked_add(status.deposit_nano)?))
}

/// What new jobs can reserve.
pub fn available(status: &PaymentChannelStatus) -> Result<NanoTon, UnitError> {
    Ok(claimable(status)?.saturating_sub(exposed(status)?))
}

/// What was metered, and what jobs with a reservation may still come to.
pub fn exposed(status: &PaymentChannelStatus) -> Result<NanoTon, UnitError> {
    NanoTon::sum(exposures(status)?.into_values())?.checked_add(finished(status))
}

/// The most that each unsettled job can come to: its budget while it runs, or what it used.
fn exposures(status: &PaymentChannelStatus) -> Result<BTreeMap<String, NanoTon>, UnitError> {
    let mut used: BTreeMap<String, NanoTon> = BTreeMap::new();
    for counter in &status.counters {
        let sum = used.entry(counter.job.clone()).or_default();
        *sum = sum.checked_add(counter.nano)?;
    }
    for reservation in &status.reservations {
        let exposure = used.entry(reservation.job.clone()).or_default();
        *exposure = reservation.nano.max(*exposure);
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
