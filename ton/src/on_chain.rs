//! What the chain shows at an address, in the words of this crate.

use cocoon_api::NanoTon;

use crate::ChannelState;
use crate::transaction::Transaction;

/// What stands at a channel's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelOnChain {
    /// No contract; coins sent there before the deployment wait in `balance`.
    NotDeployed {
        /// What the address holds.
        balance: NanoTon,
    },
    /// A contract with other code: not a channel, whatever it says.
    ForeignCode {
        /// Hash of its code.
        hash: [u8; 32],
    },
    /// The channel's code, at an address that its own parties do not make: it started from another state than a
    /// new channel's, so its counters prove nothing.
    ForeignState,
    /// The account is frozen for unpaid rent.
    Frozen,
    /// The channel.
    Channel {
        /// Its state.
        state: ChannelState,
        /// Everything it holds, the rent reserve included.
        balance: NanoTon,
        /// Masterchain block that `balance` belongs to; `state` is of that block or a later one.
        block_seqno: u32,
    },
}

/// What stands at a wallet's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalletOnChain {
    /// What it holds.
    pub balance: NanoTon,
    /// Whether it has code; the first transfer deploys it.
    pub deployed: bool,
    /// The seqno that the next transfer must carry.
    pub seqno: u32,
    /// Masterchain block that `balance` belongs to; `seqno` is of that block or a later one.
    pub block_seqno: u32,
}

/// A message's transaction.
#[derive(Debug, Clone)]
pub struct Found {
    /// The transaction.
    pub transaction: Transaction,
    /// What the account went through since, newest first; as far back as the message.
    pub later: Vec<Transaction>,
}
