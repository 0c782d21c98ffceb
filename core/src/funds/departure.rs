//! When a channel's object that is being deleted may go, and what is given up with it.

use cocoon_api::NanoTon;

/// How long jobs may take to stop and to hand over their last usage: an agent is asked to stop and drained within
/// 8 s, and its job released right after.
pub const JOBS_SECONDS: i64 = 15;

/// How long a claim that can be made is waited for. A settlement takes seconds; ten minutes bridge an endpoint that is
/// down, and messages, valid for 90 s, that are lost several times.
pub const SETTLE_SECONDS: i64 = 600;

/// What is known of a channel whose object is being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "five independent facts, each named")]
pub struct Leaving {
    /// Seconds since the deletion.
    pub age: i64,
    /// The provider gave up what it owes.
    pub abandoned: bool,
    /// Jobs hold budgets on it.
    pub busy: bool,
    /// A settlement that claims from it has not ended.
    pub in_flight: bool,
    /// The provider exists.
    pub has_provider: bool,
    /// The Secret that signs settlements exists.
    pub has_wallet: bool,
    /// Metered and not redeemed.
    pub outstanding: NanoTon,
    /// Of this, what can be claimed and is worth its fee.
    pub claimable: NanoTon,
}

/// Whether a channel's object may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Departure {
    /// Nothing is outstanding.
    Settled,
    /// Not yet; the words say what for.
    Wait(&'static str),
    /// It goes, and this amount is given up.
    WriteOff {
        /// What is given up.
        amount: NanoTon,
        /// Why.
        why: &'static str,
    },
}

/// Decides whether a channel's object may go. Never waits longer than ten minutes.
pub fn depart(leaving: Leaving) -> Departure {
    let Leaving {
        age,
        abandoned,
        busy,
        in_flight,
        has_provider,
        has_wallet,
        outstanding,
        claimable,
    } = leaving;
    let write_off = |why| match outstanding {
        NanoTon::ZERO => Departure::Settled,
        amount => Departure::WriteOff { amount, why },
    };
    if abandoned {
        return write_off("given up by its provider");
    }
    if busy && age < JOBS_SECONDS {
        return Departure::Wait("waiting for its jobs to stop");
    }
    if in_flight && age < SETTLE_SECONDS {
        return Departure::Wait("waiting for its settlement to be confirmed");
    }
    if outstanding == NanoTon::ZERO {
        return Departure::Settled;
    }
    if !has_provider {
        return write_off("its provider is gone, and with it the wallet that could claim");
    }
    if !has_wallet {
        return write_off("the wallet Secret is gone, so nothing can be signed");
    }
    if claimable == NanoTon::ZERO {
        return write_off("it cannot be claimed, or a claim would cost more than it brings");
    }
    if age < SETTLE_SECONDS {
        return Departure::Wait("waiting for a settlement");
    }
    write_off("no settlement was confirmed in ten minutes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nano(value: u64) -> NanoTon {
        NanoTon::from_nano(value).unwrap()
    }

    fn leaving() -> Leaving {
        Leaving {
            age: 0,
            abandoned: false,
            busy: false,
            in_flight: false,
            has_provider: true,
            has_wallet: true,
            outstanding: nano(7),
            claimable: nano(7),
        }
    }

    fn given_up(departure: &Departure) -> bool {
        matches!(departure, Departure::WriteOff { amount, .. } if *amount == nano(7))
    }

    #[test]
    fn a_settled_channel_goes_at_once() {
        assert_eq!(
            depart(Leaving {
                outstanding: NanoTon::ZERO,
                ..leaving()
            }),
            Departure::Settled
        );
    }

    #[test]
    fn what_can_be_claimed_is_waited_for_within_limits() {
        for waits in [
            leaving(),
            Leaving {
                busy: true,
                outstanding: NanoTon::ZERO,
                age: 14,
                ..leaving()
            },
            Leaving {
                in_flight: true,
                has_provider: false,
                age: 599,
                ..leaving()
            },
        ] {
            assert!(matches!(depart(waits), Departure::Wait(_)), "{waits:?}");
        }
        let late = Leaving {
            age: 600,
            busy: true,
            in_flight: true,
            ..leaving()
        };
        assert!(given_up(&depart(late)));
    }

    #[test]
    fn what_nobody_can_claim_is_given_up_at_once() {
        for lost in [
            Leaving {
                abandoned: true,
                busy: true,
                in_flight: true,
                ..leaving()
            },
            Leaving {
                has_provider: false,
                ..leaving()
            },
            Leaving {
                has_wallet: false,
                ..leaving()
            },
            Leaving {
                claimable: NanoTon::ZERO,
                ..leaving()
            },
        ] {
            assert!(given_up(&depart(lost)), "{lost:?}");
        }
    }
}
