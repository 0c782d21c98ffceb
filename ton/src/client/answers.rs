//! What an endpoint answers, once its shape was checked.

use cocoon_api::NanoTon;

use crate::channel::StackEntry;

/// The newest masterchain block that the endpoint knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub seqno: u32,
    /// When it was made, unix seconds: the time that contracts see.
    pub time: u32,
    /// The network that it belongs to.
    pub global_id: i32,
}

/// An account as of one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its balance.
    pub balance: NanoTon,
    /// Whether it has code.
    pub state: AccountState,
    /// Its last transaction; none where it never had one.
    pub last_transaction: Option<TransactionId>,
    /// Masterchain block of this answer.
    pub block_seqno: u32,
}

/// Whether an account has code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountState {
    /// It may hold coins but no contract.
    Uninitialized,
    /// It runs the code of this hash.
    Active {
        /// Hash of the code cell.
        code_hash: [u8; 32],
    },
    /// It owes rent; only its state's hash is left.
    Frozen,
}

/// Names one transaction of one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionId {
    /// Logical time.
    pub lt: u64,
    /// Hash.
    pub hash: [u8; 32],
}

/// What a getter answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetterResult {
    /// 0 and 1 are success; -13 and -256 tell that there is no code.
    pub exit_code: i32,
    /// The values it left, first one first.
    pub stack: Vec<StackEntry>,
}
