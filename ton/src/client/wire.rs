//! Answers of toncenter v2, read field by field. Nothing here trusts a size, a type or a hash.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cocoon_api::NanoTon;
use serde_json::Value;

use super::answers::{Account, AccountState, GetterResult, Head, TransactionId};
use super::error::ClientError;
use crate::cells::{Fields, MAX_BOC_BYTES};
use crate::channel::StackEntry;
#[cfg(any(test, feature = "fuzzing"))]
use crate::prices::Prices;
use crate::transaction::Transaction;
use crate::{Address, Cell, cell_hash, decode_boc};

/// Most values that a getter may answer. `channel_state` answers eleven.
pub const MAX_STACK_ENTRIES: usize = 64;

/// Hex digits of the largest number on a stack: 257 bits.
const MAX_NUMBER_DIGITS: usize = 65;

/// Identifies a block to `getBlockHeader`.
pub(super) struct BlockId {
    pub(super) workchain: i64,
    pub(super) shard: String,
    pub(super) seqno: u32,
}

/// Reads fields of one answer; a missing or malformed one becomes a [`ClientError::BadResponse`] that names it.
#[derive(Clone, Copy)]
struct Answer<'a> {
    method: &'static str,
    value: &'a Value,
}

impl<'a> Answer<'a> {
    fn bad(self, what: &'static str) -> ClientError {
        ClientError::BadResponse {
            method: self.method,
            what,
        }
    }

    fn field(self, name: &'static str) -> Result<Self, ClientError> {
        let value = self.value.get(name).ok_or_else(|| self.bad(name))?;
        Ok(Self { value, ..self })
    }

    /// An integer, given as number or as decimal text.
    fn integer<T: TryFrom<i128>>(self, name: &'static str) -> Result<T, ClientError> {
        let number = match self.value.get(name) {
            Some(Value::Number(number)) => number
                .as_i64()
                .map(i128::from)
                .or_else(|| number.as_u64().map(i128::from)),
            Some(Value::String(text)) if text.len() <= 40 => text.parse().ok(),
            _ => None,
        };
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| self.bad(name))
    }

    fn text(self, name: &'static str) -> Result<&'a str, ClientError> {
        self.value
            .get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| self.bad(name))
    }

    fn hash(self, name: &'static str) -> Result<[u8; 32], ClientError> {
        let bytes = STANDARD.decode(self.text(name)?).map_err(|_| self.bad(name))?;
        bytes.try_into().map_err(|_| self.bad(name))
    }

    fn cell(self, name: &'static str) -> Result<Cell, ClientError> {
        decode_base64_boc(self.text(name)?).ok_or_else(|| self.bad(name))
    }
}

fn decode_base64_boc(text: &str) -> Option<Cell> {
    if text.len() > MAX_BOC_BYTES * 4 / 3 + 4 {
        return None;
    }
    decode_boc(&STANDARD.decode(text).ok()?).ok()
}

pub(super) fn masterchain_block(value: &Value) -> Result<BlockId, ClientError> {
    let last = Answer {
        method: "getMasterchainInfo",
        value,
    }
    .field("last")?;
    let shard = last.text("shard")?;
    if shard.len() > 32 {
        return Err(last.bad("shard"));
    }
    Ok(BlockId {
        workchain: last.integer("workchain")?,
        shard: shard.to_owned(),
        seqno: last.integer("seqno")?,
    })
}

pub(super) fn head(value: &Value, seqno: u32) -> Result<Head, ClientError> {
    let header = Answer {
        method: "getBlockHeader",
        value,
    };
    if header.field("id")?.integer::<u32>("seqno")? != seqno {
        return Err(header.bad("header of the block asked for"));
    }
    Ok(Head {
        seqno,
        time: header.integer("gen_utime")?,
        global_id: header.integer("global_id")?,
    })
}

pub(super) fn config_param(value: &Value) -> Result<Cell, ClientError> {
    let answer = Answer {
        method: "getConfigParam",
        value,
    };
    answer.field("config")?.cell("bytes")
}

pub(super) fn global_id(cell: &Cell) -> Result<i32, ClientError> {
    Fields::new(cell, "config parameter 19")
        .i32()
        .map_err(|_| ClientError::BadResponse {
            method: "getConfigParam",
            what: "global id",
        })
}

pub(super) fn account(value: &Value) -> Result<Account, ClientError> {
    let answer = Answer {
        method: "getAddressInformation",
        value,
    };
    // An account that does not exist is reported with a balance of 0 or of -1.
    let balance: i64 = answer.integer("balance")?;
    let balance = u64::try_from(balance.max(0))
        .ok()
        .and_then(|nano| NanoTon::from_nano(nano).ok());
    let state = match answer.text("state")? {
        "uninitialized" => AccountState::Uninitialized,
        "frozen" => AccountState::Frozen,
        "active" => {
            let code_hash = cell_hash(&answer.cell("code")?).map_err(|_| answer.bad("code"))?;
            AccountState::Active { code_hash }
        }
        _ => return Err(answer.bad("state")),
    };
    let last = answer.field("last_transaction_id")?;
    let id = TransactionId {
        lt: last.integer("lt")?,
        hash: last.hash("hash")?,
    };
    Ok(Account {
        balance: balance.ok_or_else(|| answer.bad("balance"))?,
        state,
        last_transaction: (id.lt != 0).then_some(id),
        block_seqno: answer.field("block_id")?.integer("seqno")?,
    })
}

pub(super) fn getter(value: &Value) -> Result<GetterResult, ClientError> {
    let answer = Answer {
        method: "runGetMethod",
        value,
    };
    let entries = answer
        .field("stack")?
        .value
        .as_array()
        .ok_or_else(|| answer.bad("stack"))?;
    if entries.len() > MAX_STACK_ENTRIES {
        return Err(answer.bad("stack of bearable size"));
    }
    let stack = entries
        .iter()
        .map(|entry| stack_entry(entry).ok_or_else(|| answer.bad("stack entry")));
    Ok(GetterResult {
        exit_code: answer.integer("exit_code")?,
        stack: stack.collect::<Result<_, _>>()?,
    })
}

/// `["num", "0x2a"]`, `["cell", {"bytes": …}]`, `["slice", {"bytes": …}]`; other kinds are passed over.
fn stack_entry(entry: &Value) -> Option<StackEntry> {
    let [kind, value] = entry.as_array()?.as_slice() else {
        return None;
    };
    match kind.as_str()? {
        "num" => number(value.as_str()?),
        "cell" | "slice" => decode_base64_boc(value.get("bytes")?.as_str()?).map(StackEntry::Cell),
        _ => Some(StackEntry::Other),
    }
}

/// Hexadecimal with prefix, sign first: `0x2a`, `-0x1`.
fn number(text: &str) -> Option<StackEntry> {
    let (negative, digits) = text
        .strip_prefix('-')
        .map_or((false, text), |digits| (true, digits));
    let digits = digits.strip_prefix("0x")?;
    if digits.is_empty() || digits.len() > MAX_NUMBER_DIGITS {
        return None;
    }
    let padded = format!("{digits:0>width$}", width = digits.len().next_multiple_of(2));
    Some(StackEntry::Number {
        negative,
        magnitude: hex::decode(padded).ok()?,
    })
}

/// A page of transactions, newest first, each the predecessor of the one before it.
pub(super) fn transactions(
    value: &Value,
    address: &Address,
    from: Option<TransactionId>,
    limit: u32,
) -> Result<Vec<Transaction>, ClientError> {
    let answer = Answer {
        method: "getTransactions",
        value,
    };
    let entries = value
        .as_array()
        .ok_or_else(|| answer.bad("list of transactions"))?;
    if u32::try_from(entries.len()).is_ok_and(|count| count > limit) {
        return Err(answer.bad("list of transactions within the limit"));
    }
    let mut expected = from;
    let mut page = Vec::with_capacity(entries.len());
    for value in entries {
        let cell = Answer { value, ..answer }.cell("data")?;
        let transaction = Transaction::parse(&cell).map_err(|_| answer.bad("transaction"))?;
        if transaction.account != address.account {
            return Err(answer.bad("transaction of the account asked for"));
        }
        let id = TransactionId {
            lt: transaction.lt,
            hash: transaction.hash,
        };
        if expected.is_some_and(|expected| expected != id) {
            return Err(answer.bad("chain of transactions"));
        }
        expected = Some(TransactionId {
            lt: transaction.previous_lt,
            hash: transaction.previous_hash,
        });
        page.push(transaction);
    }
    Ok(page)
}

/// Runs every reader over one value.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn read_all(value: &Value, address: &Address) {
    let _ = masterchain_block(value).map(drop);
    let _ = head(value, 1);
    let _ = config_param(value).map(|cell| (global_id(&cell).is_ok(), Prices::parse(&cell, &cell).is_ok()));
    let _ = account(value);
    let _ = getter(value);
    let _ = transactions(value, address, None, 32);
}

#[cfg(test)]
mod tests;
