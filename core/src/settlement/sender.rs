//! One signed message with claims, or with a sweep, on its way to the chain. As long as its transaction is not known,
//! `cocoon_ton::sender` decides; from then on, the claims do, and of a sweep whether it left the wallet.
//!
//! ```text
//! Signed ── Send ──▶ Broadcast ── Send, Wait ──▶ Broadcast ──▶ Confirmed
//!    │                   │
//!    └───────────────────┴─▶ Failed: Expired | Superseded | NotRedeemed | NotSwept
//! ```
//! An endpoint's answer to a broadcast says nothing: it may drop, repeat or delay the message. Only four facts
//! count: the chain's time, the wallet's number, the wallet's transaction of this message, and what the channels
//! show as redeemed.

use cocoon_api::{NanoTon, conditions::SettlementFailed};
use cocoon_ton::sender::{Look, Pending, Unconfirmed, Verdict};

pub use cocoon_ton::sender::{MAX_LAG_SECONDS, RESEND_SECONDS, VALID_SECONDS, lags};

/// Chain time within which claims take effect once the wallet has sent them: two hops take two blocks; a minute
/// covers a hundred and fifty.
const LANDING_SECONDS: u32 = 60;

/// A message that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// Number of the wallet's message.
    pub seqno: u32,
    /// Last second of chain time at which the wallet takes it.
    pub valid_until: u32,
    /// What it claims of each channel, in order.
    pub claims: Vec<NanoTon>,
    /// Whether it passes the wallet's surplus on.
    pub sweeps: bool,
    /// How often it was sent, as far as is known.
    pub attempts: u32,
    /// When it was last sent, in Unix seconds of the operator; none where that is not known.
    pub sent_at: Option<i64>,
}

/// The wallet's transaction of the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landed {
    /// Hash, as hexadecimal digits.
    pub hash: String,
    /// When, in Unix seconds of the chain.
    pub at: u32,
    /// Claims that left the wallet in it.
    pub messages: usize,
    /// Whether the surplus left the wallet in it, all of it.
    pub swept: bool,
}

/// One look at the chain, read in this order: time first, so that everything else is at least as new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Time of the newest block, in Unix seconds.
    pub chain_time: u32,
    /// Number of the wallet's next message.
    pub seqno: u32,
    /// The wallet's transaction of the message, if it is known.
    pub landed: Option<Landed>,
    /// What each channel shows as redeemed, in the order of the claims.
    pub redeemed: Vec<NanoTon>,
    /// From how many channels the rest of the value that went along with the claim has come back to the wallet.
    pub returned: usize,
    /// The operator's clock, in Unix seconds.
    pub clock: i64,
}

/// What to do next; the message comes along where it stays in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Send the stored bytes, then look again.
    Send(InFlight),
    /// Look again.
    Wait(InFlight, Waiting),
    /// Paid.
    Confirmed(Landed),
    /// It cannot take effect any more, or did not; the words say how.
    Failed(SettlementFailed, String),
}

/// What a message in flight waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The chain stands still or the endpoint lags behind: nothing is sent or given up.
    Lag,
    /// It was sent a moment ago.
    Block,
    /// The wallet sent the claims; the channels do not show them yet.
    Claims,
    /// Every channel shows its claim; the rest of the attached value is on its way back.
    Rest,
    /// The wallet's number was used; by which message is not known yet.
    Transaction,
    /// Its validity is over, by less than the margin.
    Expiry,
}

impl From<Pending> for Waiting {
    fn from(pending: Pending) -> Self {
        match pending {
            Pending::Lag => Self::Lag,
            Pending::Block => Self::Block,
            Pending::Transaction => Self::Transaction,
            Pending::Expiry => Self::Expiry,
        }
    }
}

impl Waiting {
    /// For people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Lag => "the chain's newest block is old: nothing is sent or given up until blocks arrive",
            Self::Block => "sent; waiting for a block",
            Self::Claims => "the wallet sent the claims; waiting for the channels to show them",
            Self::Rest => {
                "every channel shows its claim; waiting for the rest of the attached value to come back"
            }
            Self::Transaction => "the wallet's number was used; waiting for its transaction",
            Self::Expiry => "its validity is over; making sure that no block took it",
        }
    }
}

impl InFlight {
    /// Decides by one look at the chain.
    pub fn next(self, sighting: &Sighting) -> Next {
        let Sighting {
            chain_time,
            seqno,
            landed,
            redeemed,
            returned,
            clock,
        } = sighting;
        let paid = redeemed.len() == self.claims.len()
            && self
                .claims
                .iter()
                .zip(redeemed)
                .all(|(claim, redeemed)| redeemed >= claim);
        if let Some(landed) = landed {
            let is_back = *returned >= self.claims.len();
            return self.landed(landed, paid, is_back, *chain_time);
        }
        let unconfirmed = Unconfirmed {
            seqno: self.seqno,
            valid_until: self.valid_until,
            sent_at: self.sent_at,
        };
        let verdict = unconfirmed.judge(&Look {
            chain_time: *chain_time,
            seqno: *seqno,
            clock: *clock,
        });
        match verdict {
            Verdict::Send => Next::Send(Self {
                attempts: self.attempts.saturating_add(1),
                sent_at: Some(*clock),
                ..self
            }),
            Verdict::Wait(pending) => Next::Wait(self, pending.into()),
            Verdict::Expired => {
                let words = format!(
                    "valid until {}, and the wallet had not taken it at {chain_time}",
                    self.valid_until
                );
                Next::Failed(SettlementFailed::Expired, words)
            }
            Verdict::Superseded => {
                let words = format!("the wallet used number {} for another message", self.seqno);
                Next::Failed(SettlementFailed::Superseded, words)
            }
        }
    }

    fn landed(self, landed: &Landed, paid: bool, is_back: bool, chain_time: u32) -> Next {
        if self.sweeps && !landed.swept {
            let words = format!(
                "the surplus did not leave the wallet in transaction {}",
                landed.hash
            );
            return Next::Failed(SettlementFailed::NotSwept, words);
        }
        let sent_all = landed.messages >= self.claims.len();
        let is_late = chain_time > landed.at.saturating_add(LANDING_SECONDS);
        // Until everything is back, what the message cost is not known; it is not waited for long.
        if paid && sent_all && (is_back || is_late) {
            return Next::Confirmed(landed.clone());
        }
        if sent_all && !is_late {
            let waiting = if paid { Waiting::Rest } else { Waiting::Claims };
            return Next::Wait(self, waiting);
        }
        let words = if sent_all {
            format!(
                "a channel does not show its claim {LANDING_SECONDS} s after transaction {}",
                landed.hash
            )
        } else {
            let claims = self.claims.len();
            format!(
                "of {claims} claims, {} left the wallet in transaction {}",
                landed.messages, landed.hash
            )
        };
        Next::Failed(SettlementFailed::NotRedeemed, words)
    }
}
