//! What a network says about itself.

use serde::Serialize;

use crate::chain::{Chain, StateError};
use crate::faults::Faults;

/// A network's condition at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The network's global id.
    pub global_id: i32,
    /// Sequence number of the newest block.
    pub seqno: u32,
    /// Unix time of the newest block.
    pub utime: u32,
    /// Seconds that chain time is ahead of the machine's clock.
    pub ahead_seconds: u32,
    /// True while no blocks are made.
    pub paused: bool,
    /// External messages that wait for a block.
    pub waiting: usize,
    /// Internal messages under way.
    pub queued: usize,
    /// Accounts that exist.
    pub accounts: usize,
    /// The faucet's address, in raw form.
    pub faucet: String,
    /// The faucet's balance in nanoTON, as a decimal string.
    pub faucet_balance: String,
    /// Value issued at genesis, in nanoTON, as a decimal string.
    pub issued: String,
    /// Fees collected, in nanoTON, as a decimal string.
    pub collected: String,
    /// Value burned, in nanoTON, as a decimal string.
    pub burned: String,
    /// The faults in force.
    pub faults: Faults,
}

impl Status {
    pub(super) fn of(
        chain: &Chain,
        ahead_seconds: u32,
        paused: bool,
        faults: Faults,
    ) -> Result<Self, StateError> {
        let totals = chain.totals();
        Ok(Self {
            global_id: chain.global_id(),
            seqno: chain.head().seqno,
            utime: chain.head().utime,
            ahead_seconds,
            paused,
            waiting: chain.waiting(),
            queued: chain.queued(),
            accounts: chain.account_count(),
            faucet: chain.faucet().to_string(),
            faucet_balance: chain.balance(chain.faucet())?.to_string(),
            issued: totals.issued.to_string(),
            collected: totals.collected.to_string(),
            burned: totals.burned.to_string(),
            faults,
        })
    }
}
