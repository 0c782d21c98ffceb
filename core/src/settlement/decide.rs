//! Which channels one message redeems now.

use std::collections::BTreeMap;

use cocoon_api::{NanoTon, crd::PaymentChannel, units::UnitError};

use super::{
    candidate::{Candidate, Urgency},
    policy::{FeeRatio, Policy},
};

/// Claims in one message at most. A wallet's message takes 255 actions and 250 of them cost 183,000 of a million
/// gas; a hundred keep the stored message near 50 KiB.
pub const MAX_REDEEMS: usize = 100;

/// Jobs listed in one settlement at most: at 400 bytes each, 800 KB of etcd's 1.5 MiB.
pub const MAX_COVERED_JOBS: usize = 2_000;

/// First wait after a claim that the channel did not pay; doubled with each further one in a row. One poll of a
/// quiet channel fits twice, so that what made it fail is seen first.
const RETRY_SECONDS: i64 = 60;

/// Doublings of [`RETRY_SECONDS`] at most: a wait of an hour and four minutes, at which a failing channel burns
/// 0.03 TON a day.
const MAX_DOUBLINGS: u32 = 6;

/// Claims in a row that a channel did not pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Setback {
    /// How many.
    pub count: u32,
    /// When the last one failed, in Unix seconds.
    pub last_at: i64,
}

/// When a channel that did not pay is asked again.
pub fn retry_at(setback: Setback) -> i64 {
    let Setback { count, last_at } = setback;
    match count.checked_sub(1) {
        None => last_at,
        Some(doublings) => last_at.saturating_add(RETRY_SECONDS << doublings.min(MAX_DOUBLINGS)),
    }
}

/// What to do about everything that can be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Redeem these, in one message.
    Settle(Vec<Candidate>),
    /// Nothing is due.
    Wait(Wait),
}

/// What the claims wait for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wait {
    /// What is metered and worth its fee.
    pub pending: NanoTon,
    /// What is metered and too small for its fee.
    pub too_small: NanoTon,
    /// When something is due by its age or after a failure, in Unix seconds, if nothing is due before.
    pub due_at: Option<i64>,
}

impl Wait {
    fn note_due(&mut self, at: i64) {
        self.due_at = Some(self.due_at.map_or(at, |known| known.min(at)));
    }
}

/// Decides at `now` (Unix seconds of the chain). `affordable` is the number of claims whose attached value the
/// wallet holds; `setbacks` names the channels that did not pay lately.
///
/// A claim that is not worth its fee is not made: see [`is_worth_it`]. All others are made at once where they are
/// urgent; otherwise they are made together, when they reach the threshold or the oldest of them the age. What a
/// channel did not pay before is asked for again after a while, except where the payer is closing it: then there may be
/// no later time.
pub fn decide(
    candidates: Vec<Candidate>,
    setbacks: &BTreeMap<String, Setback>,
    policy: &Policy,
    affordable: usize,
    now: i64,
) -> Result<Decision, UnitError> {
    let mut wait = Wait::default();
    let mut eligible = Vec::new();
    for candidate in candidates {
        let step = candidate.step();
        if !is_worth_it(step, candidate.urgency.is_some(), policy) {
            wait.too_small = wait.too_small.checked_add(step)?;
            continue;
        }
        wait.pending = wait.pending.checked_add(step)?;
        let retry = setbacks
            .get(&candidate.name)
            .filter(|_| candidate.urgency != Some(Urgency::Closing))
            .map_or(i64::MIN, |setback| retry_at(*setback));
        if retry > now {
            wait.note_due(retry);
        } else {
            wait.note_due(candidate.accruing_since.saturating_add(policy.max_age));
            eligible.push(candidate);
        }
    }
    let total = NanoTon::sum(eligible.iter().map(Candidate::step))?;
    let aged = eligible
        .iter()
        .any(|candidate| candidate.accruing_since.saturating_add(policy.max_age) <= now);
    let all = total >= policy.threshold || aged;
    eligible.retain(|candidate| all || candidate.urgency.is_some());
    // The urgent ones first, then the largest; the name breaks ties.
    eligible.sort_by(|a, b| rank(a).cmp(&rank(b)));
    let mut jobs = 0;
    let chosen: Vec<Candidate> = eligible
        .into_iter()
        .take(affordable.min(MAX_REDEEMS))
        .take_while(|candidate| {
            jobs += candidate.jobs.len();
            jobs <= MAX_COVERED_JOBS
        })
        .collect();
    Ok(if chosen.is_empty() {
        Decision::Wait(wait)
    } else {
        Decision::Settle(chosen)
    })
}

/// Of an urgent claim the fee may take half: what cannot be claimed later is worth more now, but somebody who signs one
/// short voucher after another must not have the provider work for its fees.
const URGENT_FEE_RATIO: FeeRatio = match FeeRatio::from_millionths(500_000) {
    Some(ratio) => ratio,
    None => panic!("a constant ratio is out of range"),
};

/// Whether a claim that brings `step` is made at all: its fee is within the policy's ratio, or within half where it is
/// urgent.
pub fn is_worth_it(step: NanoTon, is_urgent: bool, policy: &Policy) -> bool {
    let ratio = if is_urgent {
        policy.max_fee_ratio.max(URGENT_FEE_RATIO)
    } else {
        policy.max_fee_ratio
    };
    let fee = policy.redeem_fee;
    step > fee && ratio.allows(fee, step)
}

/// The least amount for which an urgent claim of this fee is made.
pub fn least_urgent(fee: NanoTon) -> NanoTon {
    URGENT_FEE_RATIO.least(fee).unwrap_or(fee)
}

/// What a departing channel can still claim at `now` (Unix seconds of the chain), if that is worth a claim's fee; zero
/// otherwise. A departure waits for this, and for nothing that no settlement would claim.
pub fn still_claimable(
    channel: &PaymentChannel,
    redeem_fee: NanoTon,
    now: i64,
) -> Result<NanoTon, UnitError> {
    let step = Candidate::of(channel, true, now)?.map(|candidate| candidate.step());
    Ok(step
        .filter(|step| *step >= least_urgent(redeem_fee))
        .unwrap_or(NanoTon::ZERO))
}

/// Of the urgent ones, what the payer is closing comes first, and there what ends first.
fn rank(candidate: &Candidate) -> (bool, Option<Urgency>, i64, std::cmp::Reverse<NanoTon>, &str) {
    let end = match candidate.urgency {
        Some(_) => candidate.until,
        None => i64::MAX,
    };
    (
        candidate.urgency.is_none(),
        candidate.urgency,
        end,
        std::cmp::Reverse(candidate.step()),
        &candidate.name,
    )
}
