//! Past blocks and transactions, bounded.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use tycho_types::models::StdAddr;

use super::block::{BlockHeader, TransactionRecord};

/// Transactions that can be asked for.
///
/// A settled job makes about ten (wallet, channel, payout, faucet); 20,000 hold the largest planned run of 1,000 jobs
/// twice over, in about 40 MB of memory.
pub const HISTORY_TRANSACTIONS: usize = 20_000;

/// Block headers that can be asked for: about an hour at 0.4 s a block.
pub const HISTORY_BLOCKS: usize = 10_000;

/// The newest blocks and transactions.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    blocks: VecDeque<BlockHeader>,
    order: VecDeque<(StdAddr, u64)>,
    accounts: HashMap<StdAddr, BTreeMap<u64, Arc<TransactionRecord>>>,
}

impl History {
    pub(super) fn push_block(&mut self, header: BlockHeader) {
        self.blocks.push_back(header);
        while self.blocks.len() > HISTORY_BLOCKS {
            self.blocks.pop_front();
        }
    }

    pub(super) fn push_transaction(&mut self, record: TransactionRecord) {
        self.order.push_back((record.address.clone(), record.lt));
        self.accounts
            .entry(record.address.clone())
            .or_default()
            .insert(record.lt, Arc::new(record));
        while self.order.len() > HISTORY_TRANSACTIONS {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((address, lt)) = self.order.pop_front() else {
            return;
        };
        let Some(records) = self.accounts.get_mut(&address) else {
            return;
        };
        records.remove(&lt);
        if records.is_empty() {
            self.accounts.remove(&address);
        }
    }

    pub(super) fn blocks(&self) -> impl DoubleEndedIterator<Item = &BlockHeader> {
        self.blocks.iter()
    }

    pub(super) fn block(&self, seqno: u32) -> Option<&BlockHeader> {
        let oldest = self.blocks.front()?.seqno;
        self.blocks.get(usize::try_from(seqno.checked_sub(oldest)?).ok()?)
    }

    /// Transactions of an account from logical time `from` down, newest first.
    pub(super) fn of_account(
        &self,
        address: &StdAddr,
        from: u64,
    ) -> impl Iterator<Item = &Arc<TransactionRecord>> {
        self.accounts
            .get(address)
            .into_iter()
            .flat_map(move |records| records.range(..=from).rev().map(|(_, r)| r))
    }

    /// Every transaction kept, oldest first.
    pub(super) fn transactions(&self) -> impl DoubleEndedIterator<Item = &Arc<TransactionRecord>> {
        self.order
            .iter()
            .filter_map(|(address, lt)| self.accounts.get(address)?.get(lt))
    }
}
