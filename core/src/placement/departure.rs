//! Departure: when a provider that is being deleted may go.

use crate::{
    funds::{JOBS_SECONDS, SETTLE_SECONDS},
    settlement::{has_ended, pays, signed_by, still_claimable},
};
use cocoon_api::{
    NanoTon,
    crd::{FullName, PaymentChannel, Settlement},
    units::UnitError,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// How long a departing provider waits for its jobs to hand over what they used, where nothing can be claimed: as long
/// as a channel does.
pub const SIGN_LIMIT: SignedDuration = SignedDuration::from_secs(JOBS_SECONDS);

/// How long it waits for what can be claimed, and for signed settlements to be confirmed or to expire: as long as a
/// channel does.
pub const CONFIRM_LIMIT: SignedDuration = SignedDuration::from_secs(SETTLE_SECONDS);

/// What a departing provider still owes or is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dues {
    /// Metered on its channels and not redeemed.
    pub unsettled: NanoTon,
    /// Of this, what can be claimed and is worth its fee.
    pub claimable: NanoTon,
    /// Settlements that are signed and neither confirmed nor failed.
    pub in_flight: usize,
    /// Jobs whose agents may still hand over what they used.
    pub running: usize,
}

impl Dues {
    /// Adds up what the channels toward `provider` say, where a claim costs `redeem_fee`. Fails where amounts leave
    /// their range.
    pub fn of<'a>(
        provider: &FullName,
        channels: impl IntoIterator<Item = &'a PaymentChannel>,
        settlements: impl IntoIterator<Item = &'a Settlement>,
        running: usize,
        redeem_fee: NanoTon,
        now: i64,
    ) -> Result<Self, UnitError> {
        let owed = |channel: &PaymentChannel| {
            let status = channel.status.as_ref()?;
            Some(status.accrued_nano.saturating_sub(status.redeemed_nano))
        };
        let mine: Vec<&PaymentChannel> = channels
            .into_iter()
            .filter(|channel| pays(channel) == *provider)
            .collect();
        let unsettled = NanoTon::sum(mine.iter().copied().filter_map(owed))?;
        let mut claimable = NanoTon::ZERO;
        for channel in mine {
            claimable = claimable.checked_add(still_claimable(channel, redeem_fee, now)?)?;
        }
        let in_flight = settlements
            .into_iter()
            .filter(|stl| signed_by(stl) == *provider && !has_ended(stl))
            .count();
        Ok(Self {
            unsettled,
            claimable,
            in_flight,
            running,
        })
    }
}

/// What is known when a provider goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departing {
    /// When its deletion was asked for.
    pub since: Timestamp,
    /// The annotation that lets go at once is set.
    pub abandoned: bool,
    /// The Secret that signs settlements is there.
    pub has_wallet: bool,
    /// What is owed.
    pub dues: Dues,
}

impl Departing {
    /// A provider whose owner gives up whatever it is owed.
    pub fn abandoned(since: Timestamp) -> Self {
        Self {
            since,
            abandoned: true,
            has_wallet: false,
            dues: Dues {
                unsettled: NanoTon::ZERO,
                claimable: NanoTon::ZERO,
                in_flight: 0,
                running: 0,
            },
        }
    }
}

/// Whether a provider may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Departure {
    /// Nothing is owed.
    Settled,
    /// Not before this time, unless what is owed is settled earlier.
    Wait {
        /// When to give up.
        until: Timestamp,
        /// For a person.
        message: String,
    },
    /// It goes without this amount.
    WriteOff {
        /// What is given up, unless a provider of the same name settles it later.
        unsettled: NanoTon,
        /// For a person.
        message: String,
    },
}

/// Decides whether a provider may go.
pub fn depart(departing: Departing, now: Timestamp) -> Departure {
    let Departing {
        since,
        abandoned,
        has_wallet,
        dues:
            Dues {
                unsettled,
                claimable,
                in_flight,
                running,
            },
    } = departing;
    let ton = unsettled.to_ton_string();
    let hopeless = if abandoned {
        Some("abandoned by annotation")
    } else if has_wallet {
        None
    } else {
        Some("the wallet Secret is gone, so nothing can be signed")
    };
    let owes_nothing = unsettled == NanoTon::ZERO;
    if let Some(why) = hopeless {
        return if owes_nothing {
            Departure::Settled
        } else {
            write_off(unsettled, why)
        };
    }
    if owes_nothing && running == 0 {
        return Departure::Settled;
    }
    let (limit, awaited) = match (owes_nothing, in_flight) {
        (false, 0) if claimable > NanoTon::ZERO => (
            CONFIRM_LIMIT,
            format!("a settlement of {} TON", claimable.to_ton_string()),
        ),
        (false, 1..) => (
            CONFIRM_LIMIT,
            format!("the settlement of {ton} TON to be confirmed"),
        ),
        (false, 0) => (SIGN_LIMIT, format!("a settlement of {ton} TON to be signed")),
        (true, _) => (SIGN_LIMIT, format!("{running} jobs to hand over what they used")),
    };
    let until = since.saturating_add(limit).unwrap_or(Timestamp::MAX);
    if now < until {
        return Departure::Wait {
            until,
            message: format!("waits for {awaited}"),
        };
    }
    if owes_nothing {
        Departure::Settled
    } else {
        write_off(unsettled, &format!("waited too long for {awaited}"))
    }
}

fn write_off(unsettled: NanoTon, why: &str) -> Departure {
    let message = format!("{} TON not settled: {why}", unsettled.to_ton_string());
    Departure::WriteOff { unsettled, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn departing(unsettled: u64, in_flight: usize) -> Departing {
        let dues = Dues {
            unsettled: NanoTon::from_nano(unsettled).unwrap(),
            claimable: NanoTon::ZERO,
            in_flight,
            running: 0,
        };
        Departing {
            since: Timestamp::UNIX_EPOCH,
            abandoned: false,
            has_wallet: true,
            dues,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn a_provider_that_is_owed_nothing_goes_at_once() {
        assert_eq!(depart(departing(0, 0), at(0)), Departure::Settled);
        assert_eq!(
            depart(
                Departing {
                    has_wallet: false,
                    ..departing(0, 0)
                },
                at(0)
            ),
            Departure::Settled
        );
    }

    #[test]
    fn it_waits_for_a_settlement_within_limits() {
        assert!(matches!(depart(departing(1, 0), at(14)), Departure::Wait { until, .. } if until == at(15)));
        assert!(matches!(
            depart(departing(1, 0), at(15)),
            Departure::WriteOff { .. }
        ));
        assert!(matches!(depart(departing(1, 1), at(15)), Departure::Wait { until, .. } if until == at(600)));
        assert!(matches!(
            depart(departing(1, 1), at(600)),
            Departure::WriteOff { .. }
        ));
        let mut claimable = departing(1, 0);
        claimable.dues.claimable = claimable.dues.unsettled;
        assert!(matches!(depart(claimable, at(599)), Departure::Wait { until, .. } if until == at(600)));
        assert!(matches!(depart(claimable, at(600)), Departure::WriteOff { .. }));
    }

    #[test]
    fn it_waits_for_jobs_to_hand_over_what_they_used() {
        let mut busy = departing(0, 0);
        busy.dues.running = 2;
        assert!(matches!(depart(busy, at(14)), Departure::Wait { until, .. } if until == at(15)));
        assert_eq!(depart(busy, at(15)), Departure::Settled);
        assert_eq!(
            depart(
                Departing {
                    has_wallet: false,
                    ..busy
                },
                at(0)
            ),
            Departure::Settled
        );
    }

    #[test]
    fn without_a_wallet_or_when_abandoned_it_does_not_wait() {
        for hopeless in [
            Departing {
                has_wallet: false,
                ..departing(5, 1)
            },
            Departing {
                abandoned: true,
                ..departing(5, 1)
            },
        ] {
            assert!(
                matches!(depart(hopeless, at(0)), Departure::WriteOff { unsettled, .. } if unsettled.nano() == 5)
            );
        }
    }
}
