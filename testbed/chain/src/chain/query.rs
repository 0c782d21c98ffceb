//! Questions that a chain answers; nothing here changes it.

use std::sync::Arc;

use tycho_executor::ParsedConfig;
use tycho_types::models::{Account, StdAddr, Transaction};
use tycho_types::prelude::*;

use super::block::{BlockHeader, TransactionRecord};
use super::getter::{self, GetterError, GetterOutput, StackEntry};
use super::{Chain, StateError, Totals, message};

impl Chain {
    /// The network's global id.
    pub const fn global_id(&self) -> i32 {
        self.global_id
    }

    /// The newest block.
    pub const fn head(&self) -> &BlockHeader {
        &self.head
    }

    /// The configuration that contracts and fees see.
    pub fn config(&self) -> &ParsedConfig {
        &self.config
    }

    /// The faucet's address.
    pub const fn faucet(&self) -> &StdAddr {
        &self.faucet
    }

    /// Where all value is, apart from the accounts and the messages under way.
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// Number of accounts that exist.
    pub fn account_count(&self) -> usize {
        self.accounts.len()
    }

    /// Number of internal messages under way.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Number of external messages that wait for a block.
    pub fn waiting(&self) -> usize {
        self.mempool.len()
    }

    /// Logical time and hash of an account's last transaction, zeros if it has none.
    pub fn last_transaction(&self, address: &StdAddr) -> (u64, HashBytes) {
        self.accounts.get(address).map_or((0, HashBytes::ZERO), |state| {
            (state.last_trans_lt, state.last_trans_hash)
        })
    }

    /// An account's state, if it exists.
    pub fn account(&self, address: &StdAddr) -> Result<Option<Account>, StateError> {
        let Some(state) = self.accounts.get(address) else {
            return Ok(None);
        };
        state
            .load_account()
            .map_err(StateError::on("read an account's state"))
    }

    /// An account's balance in nanoTON; zero if it does not exist.
    pub fn balance(&self, address: &StdAddr) -> Result<u128, StateError> {
        Ok(self
            .account(address)?
            .map_or(0, |account| account.balance.tokens.into_inner()))
    }

    /// Sum of all balances in nanoTON.
    pub fn balances(&self) -> Result<u128, StateError> {
        self.accounts.keys().try_fold(0_u128, |sum, address| {
            Ok(sum.saturating_add(self.balance(address)?))
        })
    }

    /// Value and forwarding fees of the messages under way, in nanoTON.
    pub fn under_way(&self) -> Result<u128, StateError> {
        self.queue.iter().try_fold(0_u128, |sum, cell| {
            let carried = message::carried(cell).map_err(StateError::on("read a queued message"))?;
            Ok(sum.saturating_add(carried.total()))
        })
    }

    /// True once an external message has run on `account` and everything that it sent itself has been delivered.
    pub fn settled(&self, account: &StdAddr, message: &HashBytes) -> Result<bool, StateError> {
        for record in self.transactions(account, None) {
            let transaction: Transaction = record
                .cell
                .parse()
                .map_err(StateError::on("read a transaction"))?;
            if transaction
                .in_msg
                .as_ref()
                .is_none_or(|cell| cell.repr_hash() != message)
            {
                continue;
            }
            for sent in transaction.out_msgs.values() {
                let sent = sent.map_err(StateError::on("read an outgoing message"))?;
                if self
                    .queue
                    .iter()
                    .any(|queued| queued.repr_hash() == sent.repr_hash())
                {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Calls a getter at the time of the newest block.
    pub fn run_get_method(
        &self,
        address: &StdAddr,
        method: u32,
        arguments: &[StackEntry],
    ) -> Result<GetterOutput, GetterCallError> {
        match self.account(address)? {
            Some(account) => Ok(getter::run(
                &self.config.raw.params,
                &account,
                method,
                arguments,
                self.head.utime,
            )?),
            None => Ok(getter::no_code()),
        }
    }

    /// Transactions of an account, newest first, starting with logical time `from` or with the last one.
    pub fn transactions(
        &self,
        address: &StdAddr,
        from: Option<u64>,
    ) -> impl Iterator<Item = &Arc<TransactionRecord>> {
        self.history.of_account(address, from.unwrap_or(u64::MAX))
    }

    /// Transactions of a block, in order of logical time.
    pub fn block_transactions(&self, seqno: u32) -> Vec<&Arc<TransactionRecord>> {
        let mut found: Vec<_> = self
            .history
            .transactions()
            .rev()
            .skip_while(|record| record.seqno > seqno)
            .take_while(|record| record.seqno == seqno)
            .collect();
        found.reverse();
        found
    }

    /// A block's header, if it is still kept.
    pub fn block(&self, seqno: u32) -> Option<&BlockHeader> {
        self.history.block(seqno)
    }

    /// The headers still kept, oldest first.
    pub fn blocks(&self) -> impl DoubleEndedIterator<Item = &BlockHeader> {
        self.history.blocks()
    }
}

/// Why a getter gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum GetterCallError {
    /// The account's state could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The call itself was not possible.
    #[error(transparent)]
    Getter(#[from] GetterError),
}
