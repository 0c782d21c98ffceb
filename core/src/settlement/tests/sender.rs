//! A reference model of wallet, channels and a bad endpoint against the sender.

use cocoon_api::{NanoTon, conditions::SettlementFailed};
use proptest::prelude::*;

use super::nano;
use crate::settlement::{InFlight, Landed, Next, Sighting, VALID_SECONDS, Waiting};

const CHANNELS: usize = 2;
const CLOCK: u32 = 1_800_000_000;

fn message() -> InFlight {
    InFlight {
        seqno: 3,
        valid_until: CLOCK + 90,
        claims: vec![nano(5), nano(7)],
        sweeps: false,
        attempts: 0,
        sent_at: None,
    }
}

fn sighting() -> Sighting {
    Sighting {
        chain_time: CLOCK,
        seqno: 3,
        landed: None,
        redeemed: vec![nano(0), nano(0)],
        returned: CHANNELS,
        clock: i64::from(CLOCK),
    }
}

fn landed(messages: usize) -> Landed {
    Landed {
        hash: "aa".into(),
        at: CLOCK,
        messages,
        swept: false,
    }
}

#[test]
fn a_sweep_has_happened_once_it_left_the_wallet_and_not_before() {
    let sweep = || InFlight {
        claims: Vec::new(),
        sweeps: true,
        ..message()
    };
    let taken = |landed: Option<Landed>| Sighting {
        seqno: 4,
        landed,
        redeemed: Vec::new(),
        returned: 0,
        ..sighting()
    };
    assert_eq!(
        sweep().next(&taken(None)),
        Next::Wait(sweep(), Waiting::Transaction)
    );
    let left = Landed {
        swept: true,
        ..landed(0)
    };
    assert_eq!(sweep().next(&taken(Some(left.clone()))), Next::Confirmed(left));
    assert!(matches!(
        sweep().next(&taken(Some(landed(0)))),
        Next::Failed(SettlementFailed::NotSwept, _)
    ));
}

#[test]
fn a_stored_message_is_sent_and_sent_again_after_a_few_blocks() {
    let Next::Send(sent) = message().next(&sighting()) else {
        panic!()
    };
    assert_eq!(sent.attempts, 1);
    assert_eq!(
        sent.clone().next(&sighting()),
        Next::Wait(sent.clone(), Waiting::Block)
    );
    let later = Sighting {
        clock: i64::from(CLOCK) + 5,
        ..sighting()
    };
    assert!(matches!(sent.next(&later), Next::Send(again) if again.attempts == 2));
}

#[test]
fn what_comes_back_is_waited_for_so_that_the_fee_is_known_but_not_long() {
    let shown = Sighting {
        seqno: 4,
        landed: Some(landed(2)),
        redeemed: vec![nano(5), nano(7)],
        returned: 1,
        ..sighting()
    };
    assert_eq!(message().next(&shown), Next::Wait(message(), Waiting::Rest));
    let back = Sighting {
        returned: 2,
        ..shown.clone()
    };
    assert!(matches!(message().next(&back), Next::Confirmed(_)));
    let late = Sighting {
        chain_time: CLOCK + 61,
        ..shown
    };
    assert!(matches!(message().next(&late), Next::Confirmed(_)));
}

#[test]
fn acceptance_alone_is_not_payment() {
    let taken = Sighting {
        seqno: 4,
        landed: Some(landed(2)),
        ..sighting()
    };
    assert_eq!(message().next(&taken), Next::Wait(message(), Waiting::Claims));
    let late = Sighting {
        chain_time: CLOCK + 61,
        ..taken.clone()
    };
    assert!(matches!(
        message().next(&late),
        Next::Failed(SettlementFailed::NotRedeemed, _)
    ));
    let shown = Sighting {
        redeemed: vec![nano(5), nano(8)],
        ..taken
    };
    assert!(matches!(message().next(&shown), Next::Confirmed(_)));
}

#[test]
fn a_wallet_too_poor_to_send_the_claims_paid_nothing() {
    let taken = Sighting {
        seqno: 4,
        landed: Some(landed(0)),
        ..sighting()
    };
    assert!(matches!(
        message().next(&taken),
        Next::Failed(SettlementFailed::NotRedeemed, _)
    ));
}

#[test]
fn claims_shown_without_a_known_transaction_are_not_taken_for_this_message() {
    let shown = Sighting {
        seqno: 4,
        redeemed: vec![nano(5), nano(7)],
        ..sighting()
    };
    assert_eq!(
        message().next(&shown),
        Next::Wait(message(), Waiting::Transaction)
    );
    let over = Sighting {
        chain_time: CLOCK + 151,
        ..shown
    };
    assert!(matches!(
        message().next(&over),
        Next::Failed(SettlementFailed::Superseded, _)
    ));
}

#[test]
fn nothing_is_sent_or_given_up_while_the_chain_lags() {
    let stands = Sighting {
        clock: i64::from(CLOCK) + 61,
        ..sighting()
    };
    assert_eq!(message().next(&stands), Next::Wait(message(), Waiting::Lag));
    let expired = Sighting {
        chain_time: CLOCK + 200,
        clock: i64::from(CLOCK) + 261,
        ..sighting()
    };
    assert_eq!(message().next(&expired), Next::Wait(message(), Waiting::Lag));
    let behind = Sighting {
        seqno: 2,
        ..sighting()
    };
    assert_eq!(message().next(&behind), Next::Wait(message(), Waiting::Lag));
}

#[test]
fn an_expired_message_fails_only_beyond_the_margin() {
    let at = |seconds| Sighting {
        chain_time: CLOCK + seconds,
        clock: i64::from(CLOCK + seconds),
        ..sighting()
    };
    assert!(matches!(message().next(&at(90)), Next::Send(_)));
    assert_eq!(message().next(&at(91)), Next::Wait(message(), Waiting::Expiry));
    assert!(matches!(
        message().next(&at(101)),
        Next::Failed(SettlementFailed::Expired, _)
    ));
}

/// The truth, of which an endpoint shows some moment.
#[derive(Debug, Clone, Default)]
struct Truth {
    time: u32,
    seqno: u32,
    redeemed: [u64; CHANNELS],
    /// Messages that the wallet took, with the time.
    taken: Vec<(usize, u32)>,
    /// Claims on their way from the wallet to the channels.
    claims: Vec<[u64; CHANNELS]>,
}

#[derive(Debug, Clone)]
struct Signed {
    seqno: u32,
    valid_until: u32,
    claims: [u64; CHANNELS],
}

#[derive(Debug, Clone)]
enum Move {
    /// Time passes; a block takes what waits.
    Block(u32),
    /// The operator looks, at what was true this many blocks ago, and acts; the endpoint does this to a message.
    Look { stale: usize, fate: Fate },
    /// Tokens are delivered.
    Use(usize, u64),
    /// The operator is killed: only what was stored survives.
    Kill,
    /// What the endpoint held back reaches the chain.
    Deliver,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Pass,
    Drop,
    Duplicate,
    Delay,
}

#[derive(Debug, Default)]
struct World {
    truth: Truth,
    history: Vec<Truth>,
    pool: Vec<usize>,
    delayed: Vec<usize>,
    signed: Vec<Signed>,
    accrued: [u64; CHANNELS],
    /// The stored message that has not ended, and what memory knows of it.
    in_flight: Option<(usize, InFlight)>,
    dead: Vec<usize>,
    confirmed: Vec<usize>,
}

impl World {
    fn new() -> Self {
        Self {
            truth: Truth {
                time: CLOCK,
                ..Truth::default()
            },
            ..Self::default()
        }
    }

    fn block(&mut self, seconds: u32) {
        self.history.push(self.truth.clone());
        self.truth.time += seconds;
        for claims in std::mem::take(&mut self.truth.claims) {
            for (redeemed, claim) in self.truth.redeemed.iter_mut().zip(claims) {
                *redeemed = claim.max(*redeemed);
            }
        }
        for index in std::mem::take(&mut self.pool) {
            let Signed {
                seqno,
                valid_until,
                claims,
            } = self.signed[index].clone();
            if seqno == self.truth.seqno && self.truth.time <= valid_until {
                assert!(
                    !self.dead.contains(&index),
                    "a message that was given up took effect"
                );
                self.truth.seqno += 1;
                self.truth.taken.push((index, self.truth.time));
                self.truth.claims.push(claims);
            }
        }
        for (redeemed, accrued) in self.truth.redeemed.iter().zip(&self.accrued) {
            assert!(redeemed <= accrued, "more was paid than metered");
        }
    }

    fn look(&mut self, stale: usize, fate: Fate) {
        let seen = match stale {
            0 => self.truth.clone(),
            ago => self
                .history
                .len()
                .checked_sub(ago)
                .map_or_else(|| self.truth.clone(), |at| self.history[at].clone()),
        };
        let Some((index, message)) = self.in_flight.take() else {
            return self.sign(&seen);
        };
        let landed = seen.taken.iter().find(|(taken, _)| *taken == index);
        let sighting = Sighting {
            chain_time: seen.time,
            seqno: seen.seqno,
            landed: landed.map(|(_, at)| Landed {
                hash: String::new(),
                at: *at,
                messages: CHANNELS,
                swept: false,
            }),
            redeemed: seen.redeemed.iter().map(|redeemed| nano(*redeemed)).collect(),
            returned: CHANNELS,
            clock: i64::from(self.truth.time),
        };
        match message.next(&sighting) {
            Next::Send(message) => {
                match fate {
                    Fate::Pass => self.pool.push(index),
                    Fate::Drop => {}
                    Fate::Duplicate => self.pool.extend([index, index]),
                    Fate::Delay => self.delayed.push(index),
                }
                self.in_flight = Some((index, message));
            }
            Next::Wait(message, _) => self.in_flight = Some((index, message)),
            Next::Confirmed(_) => {
                let claims = self.signed[index].claims;
                assert!(
                    self.truth
                        .redeemed
                        .iter()
                        .zip(claims)
                        .all(|(redeemed, claim)| *redeemed >= claim)
                );
                self.confirmed.push(index);
            }
            Next::Failed(SettlementFailed::NotRedeemed | SettlementFailed::NotSwept, _) => {
                panic!("the model's channels always pay")
            }
            Next::Failed(_, _) => {
                assert!(
                    self.truth.taken.iter().all(|(taken, _)| *taken != index),
                    "what took effect was given up"
                );
                self.dead.push(index);
            }
        }
    }

    /// Signs for everything metered, unless the look is too old.
    fn sign(&mut self, seen: &Truth) {
        if crate::settlement::lags(seen.time, i64::from(self.truth.time)) || seen.redeemed == self.accrued {
            return;
        }
        let signed = Signed {
            seqno: seen.seqno,
            valid_until: seen.time + VALID_SECONDS,
            claims: self.accrued,
        };
        self.signed.push(signed);
        self.in_flight = Some((self.signed.len() - 1, self.stored(self.signed.len() - 1)));
    }

    fn stored(&self, index: usize) -> InFlight {
        let Signed {
            seqno,
            valid_until,
            claims,
        } = self.signed[index].clone();
        let claims: Vec<NanoTon> = claims.into_iter().map(nano).collect();
        InFlight {
            seqno,
            valid_until,
            claims,
            sweeps: false,
            attempts: 0,
            sent_at: None,
        }
    }

    fn apply(&mut self, step: &Move) {
        match *step {
            Move::Block(seconds) => self.block(seconds),
            Move::Look { stale, fate } => self.look(stale, fate),
            Move::Use(channel, amount) => self.accrued[channel] += amount,
            Move::Kill => {
                if let Some((index, _)) = self.in_flight.take() {
                    self.in_flight = Some((index, self.stored(index)));
                }
            }
            Move::Deliver => {
                let delayed = std::mem::take(&mut self.delayed);
                self.pool.extend(delayed);
            }
        }
    }
}

fn moves() -> impl Strategy<Value = Move> {
    let fate = prop_oneof![
        Just(Fate::Pass),
        Just(Fate::Drop),
        Just(Fate::Duplicate),
        Just(Fate::Delay)
    ];
    prop_oneof![
        4 => (1u32..40).prop_map(Move::Block),
        6 => (0usize..6, fate).prop_map(|(stale, fate)| Move::Look { stale, fate }),
        2 => (0..CHANNELS, 1u64..100).prop_map(|(channel, amount)| Move::Use(channel, amount)),
        1 => Just(Move::Kill),
        1 => Just(Move::Deliver),
    ]
}

/// Looks at an honest chain after which everything is settled: a message may have to expire first, and a minute
/// of history pass, before the last one is signed, sent and confirmed.
const HONEST_LOOKS: usize = 400;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_bad_endpoint_never_makes_the_sender_pay_twice_or_give_up_what_took_effect(
        steps in proptest::collection::vec(moves(), 0..120),
    ) {
        let mut world = World::new();
        for step in steps {
            world.apply(&step);
        }
        for _ in 0..HONEST_LOOKS {
            world.apply(&Move::Look { stale: 0, fate: Fate::Pass });
            world.apply(&Move::Block(1));
        }
        prop_assert!(world.in_flight.is_none(), "a message is stuck: {:?}", world.in_flight);
        prop_assert_eq!(world.truth.redeemed, world.accrued, "what was metered is not all paid");
        let mut taken: Vec<usize> = world.truth.taken.iter().map(|(index, _)| *index).collect();
        taken.sort_unstable();
        let mut confirmed = world.confirmed.clone();
        confirmed.sort_unstable();
        prop_assert_eq!(taken, confirmed, "every message that took effect is confirmed, once");
    }
}
