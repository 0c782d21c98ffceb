//! Makes blocks: internal messages under way first, then the external ones that wait.
//!
//! A message sent in one block is delivered in the next, as between two shards of the real network: a payment through
//! a wallet and a contract takes three blocks, and a crash can fall between any two of them.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use tycho_types::models::{MsgInfo, ShardAccount, StdAddr};
use tycho_types::prelude::*;

use super::block::{AccountRecord, BlockRecord, MessageCell, TransactionRecord};
use super::execution::{self, Executed, Moment, Refused};
use super::{Chain, StateError, message};

/// Messages that one block takes, of each kind.
///
/// A wallet's or channel's transaction takes up to 136 µs; 1,000 of each kind keep a block under the 0.4 s until the
/// next. Heavier contracts reach [`BLOCK_GAS`] first.
pub const BLOCK_TRANSACTIONS: usize = 1_000;

/// Gas after which a block takes no more messages, as mainnet's blocks do: ten contracts that never end.
pub const BLOCK_GAS: u64 = super::BASECHAIN_GAS.block_gas_limit;

/// A block in the making: new states over the chain's.
struct Draft<'a> {
    chain: &'a Chain,
    moment: Moment,
    seqno: u32,
    lt: u64,
    accounts: BTreeMap<StdAddr, Option<ShardAccount>>,
    transactions: Vec<TransactionRecord>,
    sent: Vec<MessageCell>,
    collected: u128,
    burned: u128,
    gas: u64,
}

impl Chain {
    /// Computes the next block at this Unix time (the last block's, if that is later). Nothing changes until
    /// [`Chain::apply`].
    pub fn plan_block(&self, now: u32) -> Result<BlockRecord, StateError> {
        let utime = now.max(self.head.utime);
        let start_lt = self.head.next_start_lt();
        let rand_seed = HashBytes(Sha256::digest(self.head.root_hash.0).into());
        let mut draft = Draft {
            chain: self,
            moment: Moment::new(utime, start_lt, rand_seed),
            seqno: self.head.seqno.saturating_add(1),
            lt: start_lt + 1,
            accounts: BTreeMap::new(),
            transactions: Vec::new(),
            sent: Vec::new(),
            collected: 0,
            burned: 0,
            gas: 0,
        };
        let mut delivered = 0;
        for cell in self.queue.iter().take(BLOCK_TRANSACTIONS) {
            if draft.gas >= BLOCK_GAS {
                break;
            }
            draft.deliver(cell)?;
            delivered += 1;
        }
        let mut external = Vec::new();
        for message in self.mempool.iter().take(BLOCK_TRANSACTIONS) {
            if draft.gas >= BLOCK_GAS {
                break;
            }
            draft.import(&message.destination, &message.cell)?;
            external.push(*message.hash());
        }
        Ok(BlockRecord {
            header: self.head.next(utime, draft.lt, &draft.transactions),
            transactions: draft.transactions,
            accounts: account_records(draft.accounts)?,
            delivered,
            sent: draft.sent,
            external,
            collected: draft.collected,
            burned: draft.burned,
        })
    }

    /// Makes a block's record the new state. The record must have been planned on this state; one that cannot be read
    /// changes nothing.
    pub fn apply(&mut self, record: BlockRecord) -> Result<(), StateError> {
        let mut accounts = Vec::with_capacity(record.accounts.len());
        for account in record.accounts {
            let state = account
                .state
                .map(|MessageCell(cell)| cell.parse::<ShardAccount>())
                .transpose();
            accounts.push((
                account.address,
                state.map_err(StateError::on("read an account's new state"))?,
            ));
        }
        for (address, state) in accounts {
            match state {
                Some(state) => self.accounts.insert(address, state),
                None => self.accounts.remove(&address),
            };
        }
        self.queue.drain(..record.delivered.min(self.queue.len()));
        self.queue
            .extend(record.sent.into_iter().map(|MessageCell(cell)| cell));
        self.mempool.remove_first(record.external.len());
        for transaction in record.transactions {
            self.history.push_transaction(transaction);
        }
        self.totals.collected = self.totals.collected.saturating_add(record.collected);
        self.totals.burned = self.totals.burned.saturating_add(record.burned);
        self.head = record.header.clone();
        self.history.push_block(record.header);
        Ok(())
    }
}

impl Draft<'_> {
    /// Delivers an internal message. Whatever it carries is credited, collected or burned; never lost.
    fn deliver(&mut self, cell: &Cell) -> Result<(), StateError> {
        let carried = message::carried(cell).map_err(StateError::on("read a queued message"))?;
        let info = MsgInfo::load_from(&mut cell.as_slice_allow_exotic())
            .map_err(StateError::on("read a queued message"))?;
        self.collected = self.collected.saturating_add(carried.forward_fee);
        let outcome = match execution::destination(&info) {
            Some((address, false)) => self.run(&address, false, cell)?,
            _ => Err(Refused::Invalid("no standard internal destination".to_owned())),
        };
        if let Err(refused) = outcome {
            tracing::warn!(message = %cell.repr_hash(), ?refused, "internal message cannot be received; value burned");
            self.burned = self.burned.saturating_add(carried.value);
        }
        Ok(())
    }

    /// Imports an external message, or drops it without a trace on the chain if its contract does not accept it now.
    fn import(&mut self, address: &StdAddr, cell: &Cell) -> Result<(), StateError> {
        if let Err(refused) = self.run(address, true, cell)? {
            tracing::info!(message = %cell.repr_hash(), %address, ?refused, "external message dropped from the block");
        }
        Ok(())
    }

    fn run(
        &mut self,
        address: &StdAddr,
        external: bool,
        cell: &Cell,
    ) -> Result<Result<(), Refused>, StateError> {
        let state = match self.accounts.get(address) {
            Some(Some(state)) => state.clone(),
            Some(None) => execution::absent().map_err(StateError::on("build an absent account's state"))?,
            None => self.chain.shard_account(address)?,
        };
        let executed = match execution::execute(
            &self.chain.config,
            &self.moment,
            &state,
            address,
            external,
            cell,
            self.lt,
        ) {
            Ok(executed) => executed,
            Err(refused) => return Ok(Err(refused)),
        };
        self.record(address, executed)?;
        Ok(Ok(()))
    }

    fn record(&mut self, address: &StdAddr, executed: Executed) -> Result<(), StateError> {
        for cell in executed.out {
            let info = MsgInfo::load_from(&mut cell.as_slice_allow_exotic())
                .map_err(StateError::on("read an outgoing message"))?;
            if matches!(info, MsgInfo::Int(_)) {
                self.sent.push(MessageCell(cell));
            }
        }
        self.accounts
            .insert(address.clone(), executed.exists.then_some(executed.state));
        self.transactions.push(TransactionRecord {
            address: address.clone(),
            lt: executed.lt,
            seqno: self.seqno,
            cell: executed.transaction,
        });
        self.gas = self.gas.saturating_add(executed.gas);
        self.lt = self.lt.max(executed.next_lt);
        self.collected = self.collected.saturating_add(executed.fees);
        self.burned = self.burned.saturating_add(executed.burned);
        Ok(())
    }
}

fn account_records(
    accounts: BTreeMap<StdAddr, Option<ShardAccount>>,
) -> Result<Vec<AccountRecord>, StateError> {
    let mut records = Vec::with_capacity(accounts.len());
    for (address, state) in accounts {
        records.push(AccountRecord {
            address,
            state: state.as_ref().map(state_cell).transpose()?,
        });
    }
    Ok(records)
}

/// TL-B `ShardAccount` as a cell.
pub(super) fn state_cell(state: &ShardAccount) -> Result<MessageCell, StateError> {
    CellBuilder::build_from(state)
        .map(MessageCell)
        .map_err(StateError::on("write an account's state"))
}
