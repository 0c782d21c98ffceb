//! One signed message on its way to the chain, as long as the wallet's transaction of it is not known.
//!
//! ```text
//! Send ──▶ Wait ──▶ its transaction is found: what it paid is for the caller to see
//!   ▲        │
//!   └────────┴─▶ Expired | Superseded
//! ```
//! An endpoint's answer to a broadcast says nothing: it may drop, repeat or delay the message. Only the chain's time
//! and the wallet's number count, read in this order, so that the number is at least as new as the time. Whoever signs
//! keeps the bytes before the first broadcast, sends these bytes and no others, and signs again only after a verdict
//! that ends them.

/// For how long a message is valid after it is signed. An endpoint may need a minute to recover; every second more
/// is a second in which a lost message cannot be replaced.
pub const VALID_SECONDS: u32 = 90;

/// How far the newest block may lie behind the clock of whoever sends. Blocks come every 0.4 s; a minute of difference
/// is a clock that is set wrong, or an endpoint or chain that stands still.
pub const MAX_LAG_SECONDS: i64 = 60;

/// The same bytes are sent again after this long: a dozen blocks, in any of which the message could have landed.
pub const RESEND_SECONDS: i64 = 5;

/// Chain time beyond `valid_until` after which a message is dead: the wallet's own block may be older than the
/// newest block of the chain, by a second or two at most.
pub const EXPIRY_MARGIN_SECONDS: u32 = 10;

/// Chain time after its end within which the transaction of a message that was taken can be found, although the
/// endpoint's index lags behind its state.
pub const HISTORY_SECONDS: u32 = 60;

/// A message whose transaction is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unconfirmed {
    /// Number of the wallet's message.
    pub seqno: u32,
    /// Last second of chain time at which the wallet takes it.
    pub valid_until: u32,
    /// When it was last sent, in Unix seconds of the sender; none where that is not known.
    pub sent_at: Option<i64>,
}

/// One look at the chain that did not show the message's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Time of the newest block, in Unix seconds; read first.
    pub chain_time: u32,
    /// Number of the wallet's next message; read after the time.
    pub seqno: u32,
    /// The sender's clock, in Unix seconds.
    pub clock: i64,
}

/// What to do about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send the kept bytes, then look again.
    Send,
    /// Look again.
    Wait(Pending),
    /// The wallet never took it and cannot any more.
    Expired,
    /// The wallet took another message with its number.
    Superseded,
}

/// What a message waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// The chain stands still or the endpoints lag behind: nothing is sent or given up.
    Lag,
    /// It was sent a moment ago.
    Block,
    /// The wallet's number was used; by which message is not known yet.
    Transaction,
    /// Its validity is over, by less than the margin.
    Expiry,
}

/// Whether the chain's time is too old to act on.
pub fn lags(chain_time: u32, clock: i64) -> bool {
    clock.saturating_sub(i64::from(chain_time)) > MAX_LAG_SECONDS
}

impl Unconfirmed {
    /// Decides by one look at the chain.
    pub fn judge(&self, look: &Look) -> Verdict {
        let Look {
            chain_time,
            seqno,
            clock,
        } = *look;
        // What is not seen matters here, and an old look does not show it.
        if lags(chain_time, clock) || seqno < self.seqno {
            return Verdict::Wait(Pending::Lag);
        }
        if seqno > self.seqno {
            return if chain_time <= self.valid_until.saturating_add(HISTORY_SECONDS) {
                Verdict::Wait(Pending::Transaction)
            } else {
                Verdict::Superseded
            };
        }
        if chain_time > self.valid_until.saturating_add(EXPIRY_MARGIN_SECONDS) {
            return Verdict::Expired;
        }
        if chain_time > self.valid_until {
            return Verdict::Wait(Pending::Expiry);
        }
        let is_fresh = |sent_at: i64| clock.saturating_sub(sent_at) < RESEND_SECONDS;
        if self.sent_at.is_some_and(is_fresh) {
            return Verdict::Wait(Pending::Block);
        }
        Verdict::Send
    }
}

#[cfg(test)]
mod tests;
