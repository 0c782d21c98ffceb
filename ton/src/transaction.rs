//! Transactions as the chain keeps them: what came in, what the contract answered, what went out.

use cocoon_api::NanoTon;
use cocoon_api::units::UnitError;

use crate::cells::Fields;
use crate::message::{MessageInfo, ParsedMessage};
use crate::{Address, Cell, CellError, cell_hash};

/// Most outgoing messages of one transaction: TVM's limit of actions.
pub const MAX_OUT_MESSAGES: usize = 255;

/// Bits of the index under which an outgoing message is kept.
const OUT_MESSAGE_KEY_BITS: usize = 15;

/// One transaction of one account.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Representation hash.
    pub hash: [u8; 32],
    /// Logical time, unique within the account and growing.
    pub lt: u64,
    /// Unix time in seconds.
    pub now: u32,
    /// Account id in its workchain.
    pub account: [u8; 32],
    /// Logical time of the account's transaction before this one; 0 for its first.
    pub previous_lt: u64,
    /// Hash of the account's transaction before this one.
    pub previous_hash: [u8; 32],
    /// The message that caused it.
    pub in_message: Option<ParsedMessage>,
    /// What it sent, in order.
    pub out_messages: Vec<ParsedMessage>,
    /// Fees that were collected in it, without what the ways of outgoing messages cost: see [`Transaction::fees`].
    pub total_fees: NanoTon,
    /// How it went; none for special transactions, which no wallet or channel has.
    pub outcome: Option<Outcome>,
}

/// How an ordinary transaction went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Whether all changes were undone.
    pub aborted: bool,
    /// The contract's run.
    pub compute: Compute,
    /// What became of the actions that the contract asked for; none where it asked for none or failed.
    pub action: Option<Action>,
}

/// The compute phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compute {
    /// No code, or nothing to pay for its gas with.
    Skipped,
    /// The code ran.
    Ran {
        /// 0 and 1 are success.
        exit_code: i32,
        /// Gas units.
        gas_used: u64,
    },
}

/// The action phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// Whether it did what it had to. Skipped messages do not count as failure.
    pub success: bool,
    /// 0 is success; 37 is *not enough funds*.
    pub result_code: i32,
    /// Actions that were passed over because of *ignore errors*: a payment that was accepted and not made.
    pub skipped: u16,
    /// Messages that left.
    pub messages: u16,
}

/// An outgoing message between contracts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Receiver.
    pub destination: Address,
    /// Value on departure, in nanoTON.
    pub value: NanoTon,
    /// First 32 bits of the body.
    pub op: Option<u32>,
    /// The body.
    pub body: Cell,
}

impl Transaction {
    /// Parses TL-B `Transaction`.
    pub fn parse(cell: &Cell) -> Result<Self, CellError> {
        let mut fields = Fields::new(cell, "transaction");
        if fields.uint(4)? != 0b0111 {
            return Err(fields.malformed());
        }
        let account = fields.bytes()?;
        let lt = fields.uint(64)?;
        let previous_hash = fields.bytes()?;
        let previous_lt = fields.uint(64)?;
        let now = fields.u32()?;
        fields.skip(15 + 2 + 2)?; // number of outgoing messages, status before and after
        let messages = fields.reference()?;
        let total_fees = fields.coins()?;
        fields.maybe_reference()?;
        let _state_update = fields.reference()?;
        let outcome = Outcome::parse(&fields.reference()?)?;
        let mut messages = Fields::new(&messages, "transaction's messages");
        let in_message = messages
            .maybe_reference()?
            .map(|cell| ParsedMessage::parse(&cell))
            .transpose()?;
        let mut out_cells = Vec::new();
        if let Some(root) = messages.maybe_reference()? {
            dictionary_references(&root, OUT_MESSAGE_KEY_BITS, &mut out_cells)?;
        }
        let out_messages = out_cells
            .iter()
            .map(ParsedMessage::parse)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            hash: cell_hash(cell)?,
            lt,
            now,
            account,
            previous_lt,
            previous_hash,
            in_message,
            out_messages,
            total_fees,
            outcome,
        })
    }

    /// Whether the contract ran, succeeded, and all its actions were carried out, none skipped.
    pub fn succeeded(&self) -> bool {
        let Some(Outcome {
            aborted: false,
            compute: Compute::Ran { exit_code: 0 | 1, .. },
            action,
        }) = self.outcome
        else {
            return false;
        };
        action.is_none_or(|action| action.success && action.skipped == 0)
    }

    /// Exit code of the contract; none where it did not run.
    pub fn exit_code(&self) -> Option<i32> {
        match self.outcome?.compute {
            Compute::Ran { exit_code, .. } => Some(exit_code),
            Compute::Skipped => None,
        }
    }

    /// Result code of the action phase; none where there was none.
    pub fn action_result_code(&self) -> Option<i32> {
        Some(self.outcome?.action?.result_code)
    }

    /// Everything that the transaction cost its account: [`Transaction::total_fees`] and the forward fees of what it
    /// sent.
    pub fn fees(&self) -> Result<NanoTon, UnitError> {
        let forward_fees = self.out_messages.iter().map(|message| match message.info {
            MessageInfo::Internal { forward_fee, .. } => forward_fee,
            MessageInfo::ExternalIn { .. } | MessageInfo::ExternalOut => NanoTon::ZERO,
        });
        NanoTon::sum(forward_fees)?.checked_add(self.total_fees)
    }

    /// Normalised hash of the external message that caused it (TEP-467).
    pub fn external_message_hash(&self) -> Option<[u8; 32]> {
        self.in_message.as_ref()?.normalized_hash()
    }

    /// Whether a message of `source` caused it.
    pub fn comes_from(&self, source: &Address) -> bool {
        let info = self.in_message.as_ref().map(|message| &message.info);
        matches!(info, Some(MessageInfo::Internal { source: Some(from), .. }) if from == source)
    }

    /// Hash of the body of the message that caused it.
    pub fn body_hash(&self) -> Option<[u8; 32]> {
        cell_hash(&self.in_message.as_ref()?.body).ok()
    }

    /// Messages to other contracts, in order.
    pub fn payments(&self) -> Vec<Payment> {
        let payment = |message: &ParsedMessage| match message.info {
            MessageInfo::Internal {
                destination, value, ..
            } => Some(Payment {
                destination,
                value,
                op: message.op(),
                body: message.body.clone(),
            }),
            MessageInfo::ExternalIn { .. } | MessageInfo::ExternalOut => None,
        };
        self.out_messages.iter().filter_map(payment).collect()
    }
}

impl Outcome {
    /// `TransactionDescr`; none for any but `trans_ord`.
    fn parse(cell: &Cell) -> Result<Option<Self>, CellError> {
        let mut fields = Fields::new(cell, "transaction's description");
        if fields.uint(4)? != 0b0000 {
            return Ok(None);
        }
        let _credit_first = fields.bit()?;
        if fields.bit()? {
            skip_storage_phase(&mut fields)?;
        }
        if fields.bit()? {
            skip_credit_phase(&mut fields)?;
        }
        let compute = Compute::parse(&mut fields)?;
        let action = fields
            .maybe_reference()?
            .map(|cell| Action::parse(&cell))
            .transpose()?;
        let aborted = fields.bit()?;
        Ok(Some(Self {
            aborted,
            compute,
            action,
        }))
    }
}

fn skip_storage_phase(fields: &mut Fields<'_>) -> Result<(), CellError> {
    let _collected = fields.coins()?;
    if fields.bit()? {
        let _due = fields.coins()?;
    }
    skip_status_change(fields)
}

fn skip_credit_phase(fields: &mut Fields<'_>) -> Result<(), CellError> {
    if fields.bit()? {
        let _due_collected = fields.coins()?;
    }
    let _credit = fields.coins()?;
    fields.maybe_reference().map(drop)
}

/// `acst_unchanged$0`, `acst_frozen$10`, `acst_deleted$11`.
fn skip_status_change(fields: &mut Fields<'_>) -> Result<(), CellError> {
    if fields.bit()? { fields.skip(1) } else { Ok(()) }
}

impl Compute {
    fn parse(fields: &mut Fields<'_>) -> Result<Self, CellError> {
        if !fields.bit()? {
            // no_state$00, bad_state$01, no_gas$10, suspended$110.
            if fields.uint(2)? == 0b11 {
                fields.skip(1)?;
            }
            return Ok(Self::Skipped);
        }
        fields.skip(3)?; // success, message's state used, account activated
        let _gas_fees = fields.coins()?;
        let details = fields.reference()?;
        let mut details = Fields::new(&details, "compute phase");
        // VarUInteger 7 and VarUInteger 7: three bits of byte length.
        let gas_used = details.short_uint(3)?;
        let _gas_limit = details.short_uint(3)?;
        if details.bit()? {
            let _gas_credit = details.short_uint(2)?;
        }
        details.skip(8)?; // mode
        Ok(Self::Ran {
            exit_code: details.i32()?,
            gas_used,
        })
    }
}

impl Action {
    fn parse(cell: &Cell) -> Result<Self, CellError> {
        let mut fields = Fields::new(cell, "action phase");
        let success = fields.bit()?;
        fields.skip(2)?; // valid, no funds
        skip_status_change(&mut fields)?;
        for _forward_and_action_fees in 0..2 {
            if fields.bit()? {
                fields.coins()?;
            }
        }
        let result_code = fields.i32()?;
        if fields.bit()? {
            fields.skip(32)?; // result argument
        }
        fields.skip(16 + 16)?; // total and special actions
        let skipped = fields.u16()?;
        let messages = fields.u16()?;
        Ok(Self {
            success,
            result_code,
            skipped,
            messages,
        })
    }
}

/// Collects the values of a `Hashmap n ^X` in order of their keys. Depth is at most `key_bits`, and the number of
/// values is limited because shared cells could make a small bag unfold without end.
fn dictionary_references(node: &Cell, key_bits: usize, found: &mut Vec<Cell>) -> Result<(), CellError> {
    let mut fields = Fields::new(node, "dictionary of messages");
    let label_bits = fields.skip_label(key_bits)?;
    let Some(remaining) = key_bits.checked_sub(label_bits) else {
        return Err(fields.malformed());
    };
    if remaining == 0 {
        if found.len() >= MAX_OUT_MESSAGES {
            return Err(fields.malformed());
        }
        found.push(fields.reference()?);
        return Ok(());
    }
    for _branch in 0..2 {
        dictionary_references(&fields.reference()?, remaining - 1, found)?;
    }
    Ok(())
}

impl Fields<'_> {
    fn u16(&mut self) -> Result<u16, CellError> {
        u16::try_from(self.uint(16)?).map_err(|_| self.malformed())
    }

    /// `VarUInteger`: `length_bits` bits of byte length, at most seven bytes.
    fn short_uint(&mut self, length_bits: usize) -> Result<u64, CellError> {
        let length = usize::try_from(self.uint(length_bits)?).map_err(|_| self.malformed())?;
        self.uint(length * 8)
    }

    /// Skips an `HmLabel` of at most `limit` bits and tells its length.
    fn skip_label(&mut self, limit: usize) -> Result<usize, CellError> {
        let length_bits =
            usize::try_from(limit.checked_ilog2().map_or(0, |log| log + 1)).unwrap_or(usize::MAX);
        if !self.bit()? {
            // hml_short$0: length in unary, then the bits.
            let mut length = 0;
            while self.bit()? {
                length += 1;
            }
            self.skip(length)?;
            return Ok(length);
        }
        if !self.bit()? {
            // hml_long$10: length, then the bits.
            let length = self.length(length_bits)?;
            self.skip(length)?;
            return Ok(length);
        }
        // hml_same$11: one bit that repeats, then the length.
        self.skip(1)?;
        self.length(length_bits)
    }

    fn length(&mut self, bits: usize) -> Result<usize, CellError> {
        usize::try_from(self.uint(bits)?).map_err(|_| self.malformed())
    }
}

#[cfg(test)]
mod tests;
