//! A chain's whole state as one value that can be stored.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::block::{AccountRecord, BlockHeader, MessageCell, TransactionRecord, decimal};
use super::external::Mempool;
use super::history::History;
use super::production::state_cell;
use super::{Chain, StateError, Totals, faucet, parsed_config};

/// Everything that a restart needs. External messages that wait are not part of it: nodes forget them too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// The network's global id.
    pub global_id: i32,
    /// What genesis issued, in nanoTON.
    #[serde(with = "decimal")]
    pub issued: u128,
    /// Fees collected so far, in nanoTON.
    #[serde(with = "decimal")]
    pub collected: u128,
    /// Value burned so far, in nanoTON.
    #[serde(with = "decimal")]
    pub burned: u128,
    /// The headers kept, oldest first; the last is the newest block.
    pub blocks: Vec<BlockHeader>,
    /// Every account.
    pub accounts: Vec<AccountRecord>,
    /// Internal messages under way, in order.
    pub queue: Vec<MessageCell>,
    /// The transactions kept, oldest first.
    pub transactions: Vec<TransactionRecord>,
}

/// Why a snapshot is not a chain.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is no block in it.
    #[error("the snapshot holds no block")]
    NoBlock,
    /// A cell in it cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Chain {
    /// The state as one value.
    pub fn snapshot(&self) -> Result<Snapshot, StateError> {
        let mut accounts = Vec::with_capacity(self.accounts.len());
        for (address, state) in &self.accounts {
            accounts.push(AccountRecord {
                address: address.clone(),
                state: Some(state_cell(state)?),
            });
        }
        Ok(Snapshot {
            global_id: self.global_id,
            issued: self.totals.issued,
            collected: self.totals.collected,
            burned: self.totals.burned,
            blocks: self.history.blocks().cloned().collect(),
            accounts,
            queue: self.queue.iter().cloned().map(MessageCell).collect(),
            transactions: self
                .history
                .transactions()
                .map(|record| record.as_ref().clone())
                .collect(),
        })
    }

    /// The chain that a snapshot was taken of.
    pub fn restore(snapshot: Snapshot) -> Result<Self, SnapshotError> {
        let head = snapshot.blocks.last().cloned().ok_or(SnapshotError::NoBlock)?;
        let mut accounts = BTreeMap::new();
        for account in snapshot.accounts {
            if let Some(MessageCell(cell)) = account.state {
                let state = cell
                    .parse()
                    .map_err(StateError::on("read a stored account's state"))?;
                accounts.insert(account.address, state);
            }
        }
        let mut history = History::default();
        for header in snapshot.blocks {
            history.push_block(header);
        }
        for transaction in snapshot.transactions {
            history.push_transaction(transaction);
        }
        Ok(Self {
            global_id: snapshot.global_id,
            config: parsed_config(snapshot.global_id, 1)?,
            faucet: faucet::address().map_err(StateError::on("derive the faucet's address"))?,
            head,
            accounts,
            queue: snapshot
                .queue
                .into_iter()
                .map(|MessageCell(cell)| cell)
                .collect::<VecDeque<_>>(),
            mempool: Mempool::default(),
            history,
            totals: Totals {
                issued: snapshot.issued,
                collected: snapshot.collected,
                burned: snapshot.burned,
            },
        })
    }
}
