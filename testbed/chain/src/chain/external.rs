//! External messages: what is refused at the door, and what waits for the next block.

use std::collections::{HashSet, VecDeque};

use tycho_types::models::{MsgInfo, StdAddr};
use tycho_types::prelude::*;

use super::config::size_limits;
use super::execution;

/// Messages that may wait for a block.
///
/// A block takes up to [`super::BLOCK_TRANSACTIONS`] messages; four blocks' worth lets a client that sends faster
/// than blocks come see the refusal before the backlog outlives the usual validity of a wallet message (60 s).
pub const MEMPOOL_MESSAGES: usize = 4 * super::BLOCK_TRANSACTIONS;

/// Why an external message was not let in.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ExternalError {
    /// The bytes are longer than a node lets in.
    #[error("external message too large: {size} bytes, at most {limit}")]
    TooLarge {
        /// Length of the bag of cells in bytes.
        size: usize,
        /// The network's limit in bytes.
        limit: u32,
    },
    /// The bytes are not a bag of cells with one root.
    #[error("failed to parse external message as a bag of cells: {0}")]
    NotBagOfCells(String),
    /// The cell tree is deeper than a node lets in.
    #[error("external message too deep: {depth} levels, at most {limit}")]
    TooDeep {
        /// Depth of the tree.
        depth: u16,
        /// The network's limit.
        limit: u16,
    },
    /// The root cell is not an inbound external message.
    #[error("cannot unpack external message: {0}")]
    NotExternal(&'static str),
    /// The destination is in a workchain that this network does not have.
    #[error("destination workchain {0} does not exist")]
    Workchain(i8),
    /// The account cannot run the message: it has no code, and the message brings none, or it cannot pay.
    #[error("inbound external message rejected before running any code of {address}")]
    NotRun {
        /// The destination, in raw form.
        address: String,
    },
    /// The contract ran and did not accept.
    #[error("inbound external message rejected by {address}: exit code {exit_code}")]
    NotAccepted {
        /// The destination, in raw form.
        address: String,
        /// Exit code of the contract.
        exit_code: i32,
    },
    /// The executor cannot process this message on this account.
    #[error("cannot run external message: {0}")]
    Invalid(String),
    /// Too many messages wait for a block.
    #[error("too many external messages wait for a block: {MEMPOOL_MESSAGES}")]
    MempoolFull,
}

/// An inbound external message of acceptable size and form; nothing has run yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalMessage {
    pub(super) cell: Cell,
    pub(super) destination: StdAddr,
}

impl ExternalMessage {
    /// Parses the bytes of a bag of cells.
    pub fn parse(boc: &[u8]) -> Result<Self, ExternalError> {
        let limits = size_limits();
        if boc.len() > limits.max_ext_msg_size as usize {
            return Err(ExternalError::TooLarge {
                size: boc.len(),
                limit: limits.max_ext_msg_size,
            });
        }
        let cell = Boc::decode(boc).map_err(|error| ExternalError::NotBagOfCells(error.to_string()))?;
        let depth = cell.repr_depth();
        if depth > limits.max_ext_msg_depth {
            return Err(ExternalError::TooDeep {
                depth,
                limit: limits.max_ext_msg_depth,
            });
        }
        if cell.level() != 0 || cell.is_exotic() {
            return Err(ExternalError::NotExternal(
                "the root must be an ordinary cell of level 0",
            ));
        }
        let info = MsgInfo::load_from(&mut cell.as_slice_allow_exotic())
            .map_err(|_| ExternalError::NotExternal("not a message"))?;
        let Some((destination, true)) = execution::destination(&info) else {
            return Err(ExternalError::NotExternal(
                "not an inbound external message to a standard address",
            ));
        };
        if !matches!(destination.workchain, -1 | 0) {
            return Err(ExternalError::Workchain(destination.workchain));
        }
        Ok(Self { cell, destination })
    }

    /// Hash of the root cell: what `sendBocReturnHash` answers.
    pub fn hash(&self) -> &HashBytes {
        self.cell.repr_hash()
    }

    /// The hash that does not depend on how the message was packed (TEP-467).
    pub fn normalized_hash(&self) -> Option<HashBytes> {
        super::message::normalized_external_hash(&self.cell).ok()
    }
}

/// External messages that wait for the next block, in order of arrival. Volatile: a restart forgets them, as nodes do.
#[derive(Debug, Clone, Default)]
pub(super) struct Mempool {
    messages: VecDeque<ExternalMessage>,
    known: HashSet<HashBytes>,
}

impl Mempool {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Adds a message unless the same bytes already wait.
    pub(super) fn push(&mut self, message: ExternalMessage) -> Result<(), ExternalError> {
        if self.known.contains(message.hash()) {
            return Ok(());
        }
        self.push_again(message)
    }

    /// Adds a message even if the same bytes already wait, as nodes that do not know of each other's mempools would.
    pub(super) fn push_again(&mut self, message: ExternalMessage) -> Result<(), ExternalError> {
        if self.messages.len() >= MEMPOOL_MESSAGES {
            return Err(ExternalError::MempoolFull);
        }
        self.known.insert(*message.hash());
        self.messages.push_back(message);
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ExternalMessage> {
        self.messages.iter()
    }

    /// Forgets the first `count` messages.
    pub(super) fn remove_first(&mut self, count: usize) {
        for message in self.messages.drain(..count.min(self.messages.len())) {
            self.known.remove(message.hash());
        }
        self.known
            .extend(self.messages.iter().map(|message| *message.hash()));
    }
}
