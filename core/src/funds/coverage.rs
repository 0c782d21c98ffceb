//! Whether work is covered: what it may come to can be claimed, and in time. Asked at every plan, for work that is to
//! start and for work that runs.
//!
//! Wanted properties, each checked by the model test:
//! - nothing starts unless a claim could be made now;
//! - what was metered and what running jobs may still come to is at most what can be claimed;
//! - work ends while a claim still fits before the end of the voucher and of the challenge window.

use cocoon_api::{
    Bill, NanoTon,
    conditions::{self, Funded, LedgerCurrent, Ready, Reason as _},
    crd::{PaymentChannelStatus, channel::ChannelState},
    units::{Prices, UnitError},
};

use super::evidence::evidence;
use crate::ledger;

/// Between the last moment of work and the end of claims: a plan follows a change within 15 s, an agent is stopped and
/// drained in 8 s and its usage metered in a second; a message is signed only 40 s before the end at the latest, and
/// one that is lost is replaced after its 90 s. Rounded up.
pub const CLAIM_SECONDS: i64 = 180;

/// New work needs a look at the contract that is no older: two looks at a quiet channel through an endpoint that grants
/// one request a second and serves fifty of them.
pub const MAX_LOOK_SECONDS: i64 = 120;

/// A channel as coverage sees it.
#[derive(Debug, Clone, Copy)]
pub struct Cover<'a> {
    /// Ledger, evidence and conditions.
    pub status: &'a PaymentChannelStatus,
    /// Its object is being deleted.
    pub leaving: bool,
    /// Chain time of the last believed look by this process, in Unix seconds; none before it.
    pub seen_at: Option<i64>,
    /// Unix seconds: the later of the chain's and the operator's.
    pub now: i64,
}

/// What can be claimed, and how long work may go on for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// The most that claims can come to, in all.
    pub total: NanoTon,
    /// Unix second before which work must have ended.
    pub until: i64,
}

impl Cover<'_> {
    /// What can be claimed in time; the words say why nothing can.
    pub fn coverage(&self) -> Result<Result<Coverage, String>, UnitError> {
        let Self {
            status,
            leaving,
            seen_at,
            now,
        } = *self;
        if leaving {
            return Ok(Err("its object is being deleted".to_owned()));
        }
        if !is_usable(status) {
            return Ok(Err(words(status, "it cannot be claimed from")));
        }
        let Some(voucher) = evidence(status, now) else {
            return Ok(Err("no voucher of the payer can be claimed with".to_owned()));
        };
        let valid_until = i64::from(voucher.valid_until);
        let window = match status.state {
            // A close that was not seen yet began right after the last look at the earliest.
            Some(ChannelState::Open) => seen_at
                .zip(status.challenge_seconds)
                .map_or(i64::MAX, |(seen, window)| seen.saturating_add(i64::from(window))),
            Some(ChannelState::Closing) => status.challenge_ends_at.unwrap_or(i64::MIN),
            Some(ChannelState::Unfunded | ChannelState::Closed) | None => {
                return Ok(Err("its contract holds nothing that could be claimed".to_owned()));
            }
        };
        let until = valid_until.min(window).saturating_sub(CLAIM_SECONDS);
        if until <= now {
            let what = if valid_until < window {
                format!("the payer's voucher is valid until {valid_until}")
            } else {
                format!("claims may end at {window}")
            };
            return Ok(Err(format!("{what}, and work ends {CLAIM_SECONDS} s before")));
        }
        let payable = status.redeemed_nano.checked_add(status.deposit_nano)?;
        Ok(Ok(Coverage {
            total: payable.min(voucher.cap_nano),
            until,
        }))
    }

    /// Whether the job or session, which holds a reservation, may go on; the words say why not.
    pub fn may_run(&self, bill: &Bill) -> Result<Result<(), String>, UnitError> {
        let coverage = match self.coverage()? {
            Ok(coverage) => coverage,
            Err(why) => return Ok(Err(why)),
        };
        if ledger::is_within(self.status, bill, coverage.total)? {
            return Ok(Ok(()));
        }
        Ok(Err(format!(
            "it can pay {} TON in all, and what was metered and is reserved before this job takes it",
            coverage.total.to_ton_string()
        )))
    }

    /// Whether the job or session, which holds a reservation, may be given to an agent; the words say why not.
    pub fn may_start(&self, bill: &Bill) -> Result<Result<(), String>, UnitError> {
        if !conditions::is_true(&self.status.conditions, Ready::TYPE) {
            return Ok(Err(words(self.status, "it is not ready")));
        }
        let is_fresh = self
            .seen_at
            .is_some_and(|seen| self.now.saturating_sub(seen) <= MAX_LOOK_SECONDS);
        if !is_fresh {
            return Ok(Err("its contract has not been looked at for a while".to_owned()));
        }
        self.may_run(bill)
    }
}

fn words(status: &PaymentChannelStatus, otherwise: &str) -> String {
    conditions::find(&status.conditions, Ready::TYPE)
        .filter(|ready| ready.status != "True")
        .map_or_else(|| otherwise.to_owned(), |ready| ready.message.clone())
}

/// Whether the object may act on its contract: it is the contract's ledger, and explains what was redeemed.
fn is_usable(status: &PaymentChannelStatus) -> bool {
    let reason =
        |type_| conditions::find(&status.conditions, type_).map(|condition| condition.reason.as_str());
    let foreign = [
        Funded::ContractInUse,
        Funded::Unbound,
        Funded::ForeignParties,
        Funded::ForeignCode,
    ];
    let is_foreign = foreign
        .iter()
        .any(|wrong| reason(Funded::TYPE) == Some(wrong.name()));
    !is_foreign && !is_behind(status)
}

/// Whether more was redeemed than the ledger can explain, so that it stands still.
pub fn is_behind(status: &PaymentChannelStatus) -> bool {
    status.unexplained_nano.is_some()
        || conditions::find(&status.conditions, LedgerCurrent::TYPE)
            .is_some_and(|condition| condition.reason == LedgerCurrent::LedgerBehind.name())
}

/// Whether what the ledger metered could be claimed now: the contract is this channel's, there is evidence, and the
/// contract pays.
pub fn redeemable(status: &PaymentChannelStatus, now: i64) -> bool {
    let pays = match status.state {
        Some(ChannelState::Open) => true,
        Some(ChannelState::Closing) => status.challenge_ends_at.is_some_and(|end| end > now),
        Some(ChannelState::Unfunded | ChannelState::Closed) | None => false,
    };
    pays && is_usable(status) && evidence(status, now).is_some()
}

/// Whether something was reserved or metered on the channel and is not paid: then it is looked at and claimed from,
/// also where its namespace may not use the provider any more.
pub fn owes(status: &PaymentChannelStatus) -> bool {
    !status.reservations.is_empty() || status.accrued_nano > status.redeemed_nano
}

/// The most that can be claimed now of what was metered, with the kept voucher and from what the contract paid and
/// holds.
pub fn claim(status: &PaymentChannelStatus, now: i64) -> Result<NanoTon, UnitError> {
    let Some(voucher) = evidence(status, now) else {
        return Ok(status.redeemed_nano);
    };
    let payable = status.redeemed_nano.checked_add(status.deposit_nano)?;
    Ok(ledger::accrued(status)?.min(voucher.cap_nano).min(payable))
}

/// Whether an offer takes jobs that nobody pays for: it says so, or asks for nothing.
pub fn consents_to_free(allow_free: bool, prices: Prices) -> bool {
    allow_free || prices == Prices::default()
}
