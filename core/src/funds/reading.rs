//! What a look at the contract is believed to say, and how the ledger takes what it shows as redeemed.
//!
//! `redeemed` is what an endpoint says. It is compared with what only the payer and this ledger can have caused:
//! - above every cap that was ever verified and every claim that was ever signed, it is false, and nothing of the look
//!   counts;
//! - above what this ledger ever claimed, somebody else claimed: the ledger is behind, and stands still;
//! - anything lower is taken as it is, also where more was shown before. To the provider a low figure does no harm:
//!   claims are cumulative, and the contract pays none of them twice.

use cocoon_api::{
    NanoTon,
    conditions::{LedgerCurrent, Observation, Reason as _},
    crd::{PaymentChannelStatus, channel::Voucher},
    units::UnitError,
};

use super::{
    escrow::Escrow,
    facts::{Facts, MAX_SKEW_SECONDS, Sight},
};
use crate::ledger::{self, rebuild};

/// What the ledger makes of the contract's `redeemed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Books {
    pub(super) redeemed: NanoTon,
    /// The most that `redeemed` may come to show.
    pub(super) claimed: NanoTon,
    /// To be booked as redeemed on account of other ledgers.
    pub(super) foreign: NanoTon,
    /// To be booked as metered for jobs that are gone: the provider proved it.
    pub(super) rebuilt: NanoTon,
    pub(super) unexplained: Option<NanoTon>,
}

/// A look as far as it is believed.
pub(super) struct Reading {
    pub(super) sight: Sight,
    pub(super) books: Books,
    pub(super) ledger: Observation,
}

pub(super) fn judge(
    before: &PaymentChannelStatus,
    kept: &[Voucher],
    facts: &Facts,
) -> Result<Reading, UnitError> {
    let Facts { sight, clock, .. } = facts;
    let unchanged = Books {
        redeemed: before.redeemed_nano,
        claimed: before.claimed_nano,
        foreign: NanoTon::ZERO,
        rebuilt: NanoTon::ZERO,
        unexplained: before.unexplained_nano,
    };
    let escrow = match sight {
        Sight::Escrow(escrow) => escrow,
        Sight::NotDeployed | Sight::Foreign(_) if before.redeemed_nano > NanoTon::ZERO => {
            let why = "the endpoint lags behind or lies: it shows no channel where one was seen before";
            return Ok(disbelieved(why.to_owned(), unchanged, before));
        }
        other => {
            return Ok(Reading {
                sight: other.clone(),
                books: unchanged,
                ledger: standing(unchanged.unexplained, before),
            });
        }
    };
    if clock.lag() > MAX_SKEW_SECONDS {
        let why = format!(
            "the chain's newest block is {} s old: what it shows is not believed",
            clock.lag()
        );
        return Ok(disbelieved(why, unchanged, before));
    }
    let ceiling = kept
        .iter()
        .map(|voucher| voucher.cap_nano)
        .fold(before.claimed_nano.max(before.cap_nano), NanoTon::max);
    if escrow.redeemed > ceiling {
        let why = format!(
            "an endpoint shows {} nanoTON redeemed, and the payer never allowed nor this ledger claimed more than {ceiling}: \
             it is not believed; if the payer signed a higher voucher before, the channel needs that one",
            escrow.redeemed
        );
        let ledger = LedgerCurrent::ReadingRefused.condition(why.clone());
        return Ok(Reading {
            ledger,
            ..disbelieved(why, unchanged, before)
        });
    }
    let books = book(escrow, before, facts)?;
    let ledger = match books.unexplained {
        Some(shown) => behind(shown, before.claimed_nano),
        None => LedgerCurrent::UpToDate.condition("everything that was redeemed is accounted for"),
    };
    Ok(Reading {
        sight: sight.clone(),
        books,
        ledger,
    })
}

/// Takes a believable `redeemed` into the books.
fn book(escrow: &Escrow, before: &PaymentChannelStatus, facts: &Facts) -> Result<Books, UnitError> {
    let redeemed = escrow.redeemed;
    let is_first = before.epoch.is_none();
    if !is_first && redeemed <= before.claimed_nano {
        return Ok(Books {
            redeemed,
            claimed: before.claimed_nano,
            foreign: NanoTon::ZERO,
            rebuilt: NanoTon::ZERO,
            unexplained: None,
        });
    }
    if let Some(proven) = facts.rebuilt.filter(|_| !is_first)
        && let Ok(rebuilt) = rebuild::explain(before, proven, redeemed)?
    {
        return Ok(Books {
            redeemed,
            claimed: before.claimed_nano.max(redeemed),
            foreign: NanoTon::ZERO,
            rebuilt,
            unexplained: None,
        });
    }
    if is_first || redeemed <= facts.acknowledged {
        // What this ledger metered, and what its running jobs may hand over once more after a restore, counts as paid
        // first: that is to the provider's disadvantage, never to the payer's.
        let at_this_reading = PaymentChannelStatus {
            redeemed_nano: redeemed,
            ..before.clone()
        };
        return Ok(Books {
            redeemed,
            claimed: before.claimed_nano.max(redeemed),
            foreign: redeemed.saturating_sub(ledger::exposed(&at_this_reading)?),
            rebuilt: NanoTon::ZERO,
            unexplained: None,
        });
    }
    Ok(Books {
        redeemed: before.redeemed_nano,
        claimed: before.claimed_nano,
        foreign: NanoTon::ZERO,
        rebuilt: NanoTon::ZERO,
        unexplained: Some(redeemed),
    })
}

fn disbelieved(why: String, books: Books, before: &PaymentChannelStatus) -> Reading {
    Reading {
        sight: Sight::Unavailable(why),
        ledger: standing(books.unexplained, before),
        books,
    }
}

/// Where nothing was learned, the ledger stands as it stood.
fn standing(unexplained: Option<NanoTon>, before: &PaymentChannelStatus) -> Observation {
    match unexplained {
        Some(shown) => behind(shown, before.claimed_nano),
        None if before.epoch.is_some() => {
            LedgerCurrent::UpToDate.condition("everything that was redeemed is accounted for")
        }
        None => LedgerCurrent::Unknown.condition("waiting for a look at the contract"),
    }
}

fn behind(shown: NanoTon, claimed: NanoTon) -> Observation {
    LedgerCurrent::LedgerBehind.condition(format!(
        "the contract shows {shown} nanoTON redeemed, and this ledger claimed {claimed} at most: another operator claims from \
         it, or this object was restored from a backup; nothing is reserved, metered or claimed until `kubectl cocoon \
         channel rebuild` proves from receipts what was lost, or the provider sets acknowledgedNano: {} for this channel's UID in spec.payout.rulings",
        shown.nano()
    ))
}
