//! Why a network refuses.

use crate::chain::{ExternalError, SnapshotError, StateError};
use crate::store::StoreError;

/// Why a network cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The state on disk cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored state is not a chain.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The state cannot be computed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The state on disk is another network's.
    #[error(
        "the state in {path} is of the network with global id {found}, not {expected}; name another folder or id"
    )]
    OtherNetwork {
        /// The state folder.
        path: String,
        /// Global id of the stored network.
        found: i32,
        /// Global id that was asked for.
        expected: i32,
    },
    /// The machine's clock is before 1970 or after 2106.
    #[error("the machine's clock does not fit 32-bit Unix time")]
    Clock,
}

/// Why a message was not let in.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The message itself was refused.
    #[error(transparent)]
    External(#[from] ExternalError),
    /// The message was let in, and the answer got lost ([`crate::faults::Faults::lost_replies`]).
    #[error("the reply got lost")]
    ReplyLost,
}

/// Why the faucet did not pay.
#[derive(Debug, thiserror::Error)]
pub enum FaucetError {
    /// The amount is zero or more than the faucet holds.
    #[error(
        "the faucet cannot pay {nano} nanoTON: it holds {balance}, keeps some for fees, and pays at least 1"
    )]
    Amount {
        /// The amount asked for.
        nano: u128,
        /// The faucet's balance.
        balance: u128,
    },
    /// The faucet's message was refused.
    #[error(transparent)]
    External(#[from] ExternalError),
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}
