//! The network's state and the pure functions that move it: no clock, no disk, no sockets.
//!
//! `plan_block` computes a [`BlockRecord`] from the state and a time; `apply` makes that record the new state. The two
//! are apart so that the record can be on disk before anybody sees its effects, and so that a restart applies the very
//! same records.

mod block;
mod config;
mod execution;
mod external;
mod faucet;
mod getter;
mod history;
pub mod message;
mod production;
mod query;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tycho_executor::ParsedConfig;
use tycho_types::error::Error as CellError;
use tycho_types::models::{ShardAccount, StdAddr};
use tycho_types::prelude::*;

pub use self::block::{AccountRecord, BlockHeader, BlockRecord, LT_ALIGN, MessageCell, TransactionRecord};
pub use self::config::{
    BASECHAIN_FORWARDING, BASECHAIN_GAS, MASTERCHAIN_FORWARDING, MASTERCHAIN_GAS, STORAGE, TESTBED_GLOBAL_ID,
    blockchain_config, size_limits,
};
use self::execution::Moment;
use self::external::Mempool;
pub use self::external::{ExternalError, ExternalMessage, MEMPOOL_MESSAGES};
pub use self::faucet::SUPPLY;
pub use self::getter::{GetterError, GetterOutput, NO_CODE, STACK_NESTING, StackEntry, method_id};
use self::history::History;
pub use self::history::{HISTORY_BLOCKS, HISTORY_TRANSACTIONS};
pub use self::production::{BLOCK_GAS, BLOCK_TRANSACTIONS};
pub use self::query::GetterCallError;
pub use self::snapshot::{Snapshot, SnapshotError};

/// A network's whole state.
#[derive(Debug, Clone)]
pub struct Chain {
    global_id: i32,
    config: Arc<ParsedConfig>,
    faucet: StdAddr,
    head: BlockHeader,
    accounts: BTreeMap<StdAddr, ShardAccount>,
    /// Internal messages under way, in order of logical time.
    queue: VecDeque<Cell>,
    mempool: Mempool,
    history: History,
    totals: Totals,
}

/// Where all value is, in nanoTON: `issued = balances + under_way + collected + burned`, after every block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// What genesis issued.
    pub issued: u128,
    /// Fees that validators collected.
    pub collected: u128,
    /// Value of messages that nobody can receive.
    pub burned: u128,
}

/// Something in the state that cannot be read or written as cells: a fault of this program or of its stored state.
#[derive(Debug, thiserror::Error)]
#[error("failed to {attempt}")]
pub struct StateError {
    attempt: &'static str,
    source: CellError,
}

impl StateError {
    fn on(attempt: &'static str) -> impl FnOnce(CellError) -> Self {
        move |source| Self { attempt, source }
    }
}

impl Chain {
    /// A new network: one account, the faucet, holding [`SUPPLY`].
    pub fn genesis(global_id: i32, utime: u32) -> Result<Self, StateError> {
        Self::genesis_at(global_id, utime, 1)
    }

    /// As [`Chain::genesis`], at so many times the basechain's prices of gas and forwarding. They are not part of what
    /// is stored: a network that is kept on disk has the usual ones.
    ///
    /// # Errors
    ///
    /// As [`Chain::genesis`].
    pub fn genesis_at(global_id: i32, utime: u32, price_factor: u32) -> Result<Self, StateError> {
        let faucet = faucet::address().map_err(StateError::on("derive the faucet's address"))?;
        let account = faucet::genesis(utime).map_err(StateError::on("build the faucet's account"))?;
        let head = BlockHeader::genesis(utime, global_id);
        let mut history = History::default();
        history.push_block(head.clone());
        Ok(Self {
            global_id,
            config: parsed_config(global_id, price_factor)?,
            faucet: faucet.clone(),
            head,
            accounts: BTreeMap::from([(faucet, account)]),
            queue: VecDeque::new(),
            mempool: Mempool::default(),
            history,
            totals: Totals {
                issued: SUPPLY,
                ..Totals::default()
            },
        })
    }

    /// Checks an external message as a node does before it spreads it: its contract runs on the current state until
    /// it accepts. Nothing changes, and a message that passes may still fail when its block is made.
    pub fn check(&self, message: &ExternalMessage) -> Result<(), ExternalError> {
        let state = self
            .shard_account(&message.destination)
            .map_err(|e| ExternalError::Invalid(e.to_string()))?;
        let start_lt = self.head.next_start_lt();
        let moment = Moment::new(self.head.utime, start_lt, self.head.root_hash);
        let address = &message.destination;
        execution::check(
            &self.config,
            &moment,
            &state,
            address,
            &message.cell,
            start_lt + 1,
        )
        .map_err(|refused| match refused {
            execution::Refused::NotAccepted(Some(exit_code)) => ExternalError::NotAccepted {
                address: address.to_string(),
                exit_code,
            },
            execution::Refused::NotAccepted(None) => ExternalError::NotRun {
                address: address.to_string(),
            },
            execution::Refused::Invalid(reason) => ExternalError::Invalid(reason),
        })
    }

    /// Lets a checked message wait for the next block; the same bytes wait only once.
    pub fn submit(&mut self, message: ExternalMessage) -> Result<(), ExternalError> {
        self.mempool.push(message)
    }

    /// Lets a message wait twice, as when two nodes each hold it.
    pub fn submit_twice(&mut self, message: ExternalMessage) -> Result<(), ExternalError> {
        self.mempool.push(message.clone())?;
        self.mempool.push_again(message)
    }

    /// The message that makes the faucet pay `nano` nanoTON to `destination`; `nonce` tells requests apart.
    pub fn faucet_request(
        &self,
        destination: &StdAddr,
        nano: u128,
        nonce: u64,
    ) -> Result<ExternalMessage, StateError> {
        let cell = faucet::request(destination, nano, nonce)
            .map_err(StateError::on("build the faucet's message"))?;
        Ok(ExternalMessage {
            cell,
            destination: self.faucet.clone(),
        })
    }

    fn shard_account(&self, address: &StdAddr) -> Result<ShardAccount, StateError> {
        match self.accounts.get(address) {
            Some(state) => Ok(state.clone()),
            None => execution::absent().map_err(StateError::on("build an absent account's state")),
        }
    }
}

fn parsed_config(global_id: i32, price_factor: u32) -> Result<Arc<ParsedConfig>, StateError> {
    let attempt = "build the blockchain configuration";
    let config = blockchain_config(global_id, price_factor).map_err(StateError::on(attempt))?;
    // Storage prices have one entry valid from the start, so that parsing does not depend on the time.
    Ok(Arc::new(
        ParsedConfig::parse(config, u32::MAX).map_err(StateError::on(attempt))?,
    ))
}
