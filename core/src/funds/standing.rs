//! From the facts to what a channel is worth.

use cocoon_api::{
    NanoTon,
    conditions::{self, Funded, Observation, Reason as _},
    crd::{
        PaymentChannelSpec, PaymentChannelStatus,
        channel::{ChannelState, Voucher},
    },
    units::UnitError,
};
use k8s_openapi::jiff::Timestamp;

use super::{
    escrow::{Escrow, Stage},
    evidence::{self, Present},
    facts::{Facts, Sight},
    reading::{self, Books, Reading},
    words,
};
use crate::ledger;

/// What a channel is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Where the contract stands; none before it was first seen.
    pub state: Option<ChannelState>,
    /// What claims may still take.
    pub deposit: NanoTon,
    /// The payer's vouchers that are kept.
    pub vouchers: Vec<Voucher>,
    /// Cap of the last valid voucher.
    pub cap: NanoTon,
    /// Epoch of that voucher.
    pub cap_epoch: u32,
    /// Epoch and challenge window of the contract, where it was seen and believed.
    pub contract: Option<(u32, u32)>,
    /// End of the challenge window, in Unix seconds.
    pub challenge_ends_at: Option<i64>,
    books: Books,
    /// `Funded`, `VoucherValid`, `LedgerCurrent`, `ClockInStep`, `Closing` and `Ready`.
    pub conditions: Vec<Observation>,
}

/// Judges a channel by the facts and by what was known before. Fails where amounts leave their range.
pub fn judge(
    spec: &PaymentChannelSpec,
    before: &PaymentChannelStatus,
    facts: &Facts,
) -> Result<Standing, UnitError> {
    let now = facts.clock.now();
    let shown = escrow(&facts.sight);
    let epoch = shown.map_or(before.epoch.unwrap_or_default(), |escrow| escrow.epoch);
    let kept = evidence::keep(spec, before, facts.signature, epoch, now);
    let Reading { sight, books, ledger } = reading::judge(before, &kept, facts)?;
    let believed = escrow(&sight);
    let funded = words::funded(spec, facts, &sight);
    let first = shown.filter(|_| before.epoch.is_none());
    let (valid, cap, cap_epoch) = evidence::judge(&Present {
        spec,
        before,
        kept: &kept,
        signature: facts.signature,
        contract: believed.or(first).map(|escrow| (escrow.epoch, escrow.redeemed)),
        terms: facts.terms,
        now,
    });
    let closing = words::closing(believed, before);
    let in_step = words::in_step(facts.clock);
    let ready = words::ready(facts.leaving, &[&funded, &valid, &ledger], &closing);
    let (state, deposit, challenge_ends_at) = worth(&sight, &funded, before);
    Ok(Standing {
        state,
        deposit,
        vouchers: kept,
        cap,
        cap_epoch,
        contract: believed.map(|escrow| (escrow.epoch, escrow.challenge_period)),
        challenge_ends_at,
        books,
        conditions: vec![funded, valid, ledger, in_step, closing, ready],
    })
}

fn escrow(sight: &Sight) -> Option<&Escrow> {
    match sight {
        Sight::Escrow(escrow) => Some(escrow),
        _ => None,
    }
}

/// State, deposit and end of the challenge window.
fn worth(
    sight: &Sight,
    funded: &Observation,
    before: &PaymentChannelStatus,
) -> (Option<ChannelState>, NanoTon, Option<i64>) {
    // What cannot take new work may still owe for what was done.
    let claimable = funded.status
        || [
            Funded::ChallengeTooShort,
            Funded::WalletNotReady,
            Funded::ProviderNotGranted,
        ]
        .iter()
        .any(|reason| funded.reason == reason.name());
    match sight {
        Sight::Escrow(escrow) => {
            let deposit = if claimable {
                escrow.available
            } else {
                NanoTon::ZERO
            };
            (Some(state(escrow)), deposit, deadline(escrow))
        }
        // Nothing was learned of the contract: what was known stays.
        Sight::Unavailable(_) | Sight::WrongNetwork(_) | Sight::ProviderNotFound => {
            (before.state, before.deposit_nano, before.challenge_ends_at)
        }
        // Nor here; but nothing can be reserved on it.
        Sight::InUse(_) | Sight::Unbound | Sight::NotGranted => {
            (before.state, NanoTon::ZERO, before.challenge_ends_at)
        }
        Sight::NotDeployed | Sight::Foreign(_) => (Some(ChannelState::Unfunded), NanoTon::ZERO, None),
    }
}

impl Standing {
    /// Writes the judgement into the status and brings its figures in line.
    pub fn write(
        self,
        status: &mut PaymentChannelStatus,
        generation: Option<i64>,
        now: Timestamp,
    ) -> Result<(), UnitError> {
        let Self {
            state,
            deposit,
            vouchers,
            cap,
            cap_epoch,
            contract,
            challenge_ends_at,
            books:
                Books {
                    redeemed,
                    claimed,
                    foreign,
                    rebuilt,
                    unexplained,
                },
            conditions,
        } = self;
        status.finished_nano = status.finished_nano.checked_add(foreign)?.checked_add(rebuilt)?;
        status.earlier_nano = status.earlier_nano.checked_add(foreign)?;
        status.observed_generation = generation;
        status.state = state;
        status.deposit_nano = deposit;
        status.vouchers = vouchers;
        status.redeemed_nano = redeemed;
        status.claimed_nano = claimed;
        status.unexplained_nano = unexplained;
        status.cap_nano = cap;
        status.cap_epoch = cap_epoch;
        if let Some((epoch, window)) = contract {
            status.epoch = Some(epoch);
            status.challenge_seconds = Some(window);
        }
        status.challenge_ends_at = challenge_ends_at;
        for observation in conditions {
            conditions::set(&mut status.conditions, observation, generation, now);
        }
        ledger::recompute(status, now.as_second())
    }
}

fn state(escrow: &Escrow) -> ChannelState {
    match escrow.stage {
        Stage::Open if escrow.available == NanoTon::ZERO => ChannelState::Unfunded,
        Stage::Open => ChannelState::Open,
        Stage::Closing { .. } => ChannelState::Closing,
        Stage::Closed => ChannelState::Closed,
    }
}

fn deadline(escrow: &Escrow) -> Option<i64> {
    match escrow.stage {
        Stage::Closing { deadline } => Some(i64::from(deadline)),
        Stage::Open | Stage::Closed => None,
    }
}
