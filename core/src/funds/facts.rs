//! What is known of a channel from outside its object.

use cocoon_api::{NanoTon, crd::provider::Rebuilt};

use super::{escrow::Escrow, payee::Payee};

/// The shortest challenge window that any provider can work with, and the least validity of a voucher: a close may go
/// unseen for 120 s, and work ends 180 s before claims do (`MAX_LOOK_SECONDS` and `CLAIM_SECONDS` in `coverage`).
pub const MIN_CHALLENGE_SECONDS: u32 = 300;

/// How far the operator's clock and the chain's newest block may lie apart. Blocks come every 0.4 s; a minute is a
/// clock that is set wrong, or an endpoint or a chain that stands still.
pub const MAX_SKEW_SECONDS: i64 = 60;

/// One look at a channel's contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// The contract, with the known code.
    Escrow(Escrow),
    /// There is no contract.
    NotDeployed,
    /// There is something else than a channel; the words say what.
    Foreign(String),
    /// The chain did not answer, or its endpoints disagree; the words say how.
    Unavailable(String),
    /// No endpoint serves the network; the words say why.
    WrongNetwork(String),
    /// The provider of the channel does not exist.
    ProviderNotFound,
    /// The channel's namespace may not use the provider and owes it nothing, so that the contract was not looked at.
    NotGranted,
    /// Another object holds the contract, so that this one was not looked at; the words say who, and what to do.
    InUse(String),
    /// The payer did not sign that this object stands for the contract, so that it was not looked at.
    Unbound,
}

/// What checking the voucher's signature gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// There is no voucher.
    Missing,
    /// The payer's, over this network, contract, cap, validity and epoch.
    Genuine,
    /// Anything else.
    Forged,
}

/// What the provider asks of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Shortest challenge window.
    pub min_challenge_seconds: u32,
    /// How long a voucher must still be valid for new work.
    pub min_voucher_seconds: i64,
}

/// The time by the operator's clock and by the chain's newest block, in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// The operator's.
    pub own: i64,
    /// The chain's, where it was seen.
    pub chain: Option<i64>,
}

impl Clock {
    /// The later of both: a clock that is slow must not make a voucher or a window last longer.
    pub fn now(self) -> i64 {
        self.chain.map_or(self.own, |chain| chain.max(self.own))
    }

    /// By how many seconds the chain is behind the operator; negative where it is ahead.
    pub fn lag(self) -> i64 {
        self.chain.map_or(0, |chain| self.own.saturating_sub(chain))
    }
}

/// What is known of a channel from outside its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The contract.
    pub sight: Sight,
    /// Whether the channel's namespace may use the provider.
    pub granted: bool,
    /// Whom channels are to pay; none where an address of the provider is none.
    pub payee: Option<Payee>,
    /// The voucher's signature.
    pub signature: Signature,
    /// Why the provider's wallet cannot redeem; none where it can.
    pub wallet: Option<String>,
    /// What the provider asks.
    pub terms: Terms,
    /// How much the provider acknowledged as redeemed on account of other ledgers.
    pub acknowledged: NanoTon,
    /// What the provider proved of the work that the ledger lost.
    pub rebuilt: Option<Rebuilt>,
    /// Whether the object is being deleted.
    pub leaving: bool,
    /// The time.
    pub clock: Clock,
}
