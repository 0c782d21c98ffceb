//! Blocks: what one contains, and the record that carries all of its effects.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tycho_types::models::StdAddr;
use tycho_types::prelude::*;

/// Header of one block. The basechain has one shard, and its blocks and the masterchain's share one sequence number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockHeader {
    /// Sequence number: the first block after genesis is 1.
    pub seqno: u32,
    /// Unix time in seconds; never less than the block's before it.
    pub utime: u32,
    /// Logical time at which the block starts: a multiple of [`LT_ALIGN`].
    pub start_lt: u64,
    /// First logical time after the block's last transaction.
    pub end_lt: u64,
    /// Number of transactions in the block.
    pub transactions: u32,
    /// Hash over the header before it, this one's fields and every transaction's hash.
    pub root_hash: HashBytes,
}

/// Blocks start at multiples of this logical time, as in the reference implementation.
pub const LT_ALIGN: u64 = 1_000_000;

impl BlockHeader {
    /// The block before the first one.
    pub(super) fn genesis(utime: u32, global_id: i32) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"testbed genesis");
        hasher.update(global_id.to_be_bytes());
        hasher.update(utime.to_be_bytes());
        Self {
            seqno: 0,
            utime,
            start_lt: 0,
            end_lt: 1,
            transactions: 0,
            root_hash: HashBytes(hasher.finalize().into()),
        }
    }

    /// Where the block after this one starts.
    pub(super) const fn next_start_lt(&self) -> u64 {
        (self.end_lt / LT_ALIGN + 1) * LT_ALIGN
    }

    /// The header of the block after this one.
    pub(super) fn next(&self, utime: u32, end_lt: u64, transactions: &[TransactionRecord]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.root_hash.0);
        hasher.update(utime.to_be_bytes());
        hasher.update(end_lt.to_be_bytes());
        for transaction in transactions {
            hasher.update(transaction.hash().0);
        }
        Self {
            seqno: self.seqno.saturating_add(1),
            utime,
            start_lt: self.next_start_lt(),
            end_lt,
            transactions: u32::try_from(transactions.len()).unwrap_or(u32::MAX),
            root_hash: HashBytes(hasher.finalize().into()),
        }
    }

    /// Hash that stands for the block's file: derived from the root hash, since no file exists.
    pub fn file_hash(&self) -> HashBytes {
        HashBytes(Sha256::digest(self.root_hash.0).into())
    }
}

/// One transaction as it is kept and stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionRecord {
    /// The account on which it ran.
    pub address: StdAddr,
    /// Its logical time: unique on this network.
    pub lt: u64,
    /// Sequence number of its block.
    pub seqno: u32,
    /// The transaction itself (TL-B `Transaction`).
    #[serde(with = "Boc")]
    pub cell: Cell,
}

impl TransactionRecord {
    /// The hash by which the network knows the transaction.
    pub fn hash(&self) -> &HashBytes {
        self.cell.repr_hash()
    }
}

/// Everything that one block changes. Applying the same record to the same state gives the same state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockRecord {
    /// The block's header.
    pub header: BlockHeader,
    /// Its transactions, in order of logical time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transactions: Vec<TransactionRecord>,
    /// New states of the accounts that it touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<AccountRecord>,
    /// How many internal messages it took from the front of the queue.
    #[serde(default)]
    pub delivered: usize,
    /// Internal messages that it put at the end of the queue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<MessageCell>,
    /// External messages that it took from the mempool, whether accepted or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external: Vec<HashBytes>,
    /// Fees that validators collected in it, in nanoTON.
    #[serde(default, with = "decimal")]
    pub collected: u128,
    /// Value that disappeared with messages nobody can receive, in nanoTON.
    #[serde(default, with = "decimal")]
    pub burned: u128,
}

/// A message's root cell, serialised as a base64 bag of cells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageCell(#[serde(with = "Boc")] pub Cell);

/// New state of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountRecord {
    /// The account.
    pub address: StdAddr,
    /// TL-B `ShardAccount`; none when the account ceased to exist.
    pub state: Option<MessageCell>,
}

/// Amounts as decimal strings: JSON numbers of 64 bits and more do not survive every reader.
pub(super) mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<S: Serializer>(value: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<u128, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}
