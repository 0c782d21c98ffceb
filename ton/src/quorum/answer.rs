//! What can be asked of several endpoints: when two answers are the same, and what is taken of those that are.

use crate::on_chain::{ChannelOnChain, Found, WalletOnChain};
use crate::prices::Prices;

/// An answer on which endpoints can agree.
pub trait Answer: Clone + Send + 'static {
    /// Whether both say the same. An equivalence.
    fn agrees(&self, other: &Self) -> bool;

    /// The more careful one of two answers that agree.
    #[must_use]
    fn careful(self, other: Self) -> Self;

    /// For people, in a few words.
    fn words(&self) -> String;
}

/// Balance and block tell when each endpoint looked, not what it saw.
impl Answer for ChannelOnChain {
    fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Channel { state: ours, .. }, Self::Channel { state: theirs, .. }) => ours == theirs,
            (Self::ForeignCode { hash: ours }, Self::ForeignCode { hash: theirs }) => ours == theirs,
            (Self::NotDeployed { .. }, Self::NotDeployed { .. })
            | (Self::ForeignState, Self::ForeignState)
            | (Self::Frozen, Self::Frozen) => true,
            _ => false,
        }
    }

    fn careful(self, other: Self) -> Self {
        let held = |it: &Self| match it {
            Self::Channel { balance, .. } | Self::NotDeployed { balance } => Some(*balance),
            Self::ForeignCode { .. } | Self::ForeignState | Self::Frozen => None,
        };
        if held(&other) < held(&self) { other } else { self }
    }

    fn words(&self) -> String {
        match self {
            Self::NotDeployed { .. } => "not deployed".to_owned(),
            Self::ForeignCode { hash } => format!("code {}", hex::encode(hash)),
            Self::ForeignState => "a channel that did not start as a new one".to_owned(),
            Self::Frozen => "frozen".to_owned(),
            Self::Channel { state, .. } => format!(
                "{:?} in epoch {}, {} TON redeemed, {} TON available",
                state.status,
                state.epoch,
                state.redeemed.to_ton_string(),
                state.available.to_ton_string()
            ),
        }
    }
}

impl Answer for WalletOnChain {
    fn agrees(&self, other: &Self) -> bool {
        (self.seqno, self.deployed) == (other.seqno, other.deployed)
    }

    fn careful(self, other: Self) -> Self {
        if other.balance < self.balance { other } else { self }
    }

    fn words(&self) -> String {
        format!("number {}, {} TON", self.seqno, self.balance.to_ton_string())
    }
}

/// Prices change once in years, and all see the same ones.
impl Answer for Prices {
    fn agrees(&self, other: &Self) -> bool {
        self == other
    }

    fn careful(self, _other: Self) -> Self {
        self
    }

    fn words(&self) -> String {
        format!("{self:?}")
    }
}

/// What came after a transaction, all have seen as far as the one that is furthest behind.
impl Answer for Option<Found> {
    fn agrees(&self, other: &Self) -> bool {
        let hash = |found: &Self| found.as_ref().map(|found| found.transaction.hash);
        hash(self) == hash(other)
    }

    fn careful(self, other: Self) -> Self {
        let later = |found: &Self| found.as_ref().map_or(0, |found| found.later.len());
        if later(&other) < later(&self) { other } else { self }
    }

    fn words(&self) -> String {
        match self {
            None => "no such transaction".to_owned(),
            Some(found) => format!("transaction {}", hex::encode(found.transaction.hash)),
        }
    }
}
