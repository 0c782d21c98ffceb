//! Messages and state inits, as TL-B lays them out.

use cocoon_api::NanoTon;

use crate::cells::{Fields, Layout};
use crate::{Address, Cell, CellError, encode_boc};

/// Code and data of a contract before its first transaction. Its hash is the contract's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateInit {
    /// The program.
    pub code: Cell,
    /// Its first storage.
    pub data: Cell,
}

impl StateInit {
    pub(crate) fn to_cell(&self) -> Cell {
        self.layout().build()
    }

    /// The address in the basechain.
    pub fn address(&self) -> Address {
        Address {
            workchain: 0,
            account: self.layout().build_hashed().1,
        }
    }

    // No split depth, no tick-tock flags, code, data, no library.
    fn layout(&self) -> Layout {
        Layout::new()
            .uint(0b00110, 5)
            .reference(&self.code)
            .reference(&self.data)
    }
}

/// A message from one contract to another one, before its sender fills in source, fees and logical time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternalMessage {
    /// Receiver.
    pub destination: Address,
    /// Attached nanoTON.
    pub value: NanoTon,
    /// Whether the value comes back where the receiver fails or does not exist.
    pub bounce: bool,
    /// Deploys the receiver where it does not exist yet.
    pub init: Option<StateInit>,
    /// What the receiver is told; empty for a plain transfer.
    pub body: Option<Cell>,
}

impl InternalMessage {
    /// A plain transfer.
    pub fn transfer(destination: Address, value: NanoTon) -> Self {
        Self {
            destination,
            value,
            bounce: false,
            init: None,
            body: None,
        }
    }

    /// `MessageRelaxed`: source, fees and logical time are zero.
    pub(crate) fn to_cell(&self) -> Cell {
        let header = Layout::new()
            .uint(0b01, 2)
            .bit(self.bounce)
            .bit(false)
            .uint(0b00, 2)
            .address(&self.destination)
            .coins(self.value)
            .uint(0, 1 + 4 + 4)
            .uint(0, 64)
            .uint(0, 32);
        let with_init = match &self.init {
            None => header.bit(false),
            Some(init) => header.uint(0b11, 2).reference(&init.to_cell()),
        };
        let Some(body) = &self.body else {
            return with_init.bit(false).build();
        };
        // A body inside the root cell costs no forward fee.
        if body.data_len_bits() < with_init.free_bits() && body.refs().len() <= with_init.free_refs() {
            return with_init.bit(false).append(body).build();
        }
        with_init.bit(true).reference(body).build()
    }
}

/// A message from outside to a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalMessage {
    /// Receiver.
    pub destination: Address,
    /// Deploys the receiver where it does not exist yet.
    pub init: Option<StateInit>,
    /// What the receiver is told.
    pub body: Cell,
}

impl ExternalMessage {
    fn to_cell(&self) -> Cell {
        let header = external_header(&self.destination);
        let with_init = match &self.init {
            None => header.bit(false),
            Some(init) => header.uint(0b11, 2).reference(&init.to_cell()),
        };
        with_init.bit(true).reference(&self.body).build()
    }

    /// The bag of cells for `sendBoc`.
    pub fn encode(&self) -> Result<Vec<u8>, CellError> {
        encode_boc(&self.to_cell())
    }

    /// The hash by which the message is known before and after it is processed (TEP-467): without source, import
    /// fee and state init, body in a reference. A relay may change those, and this hash stays.
    pub fn normalized_hash(&self) -> [u8; 32] {
        normalized_hash(&self.destination, &self.body)
    }
}

fn external_header(destination: &Address) -> Layout {
    // ext_in_msg_info$10, source addr_none, destination, import fee 0.
    Layout::new()
        .uint(0b10, 2)
        .uint(0b00, 2)
        .address(destination)
        .uint(0, 4)
}

fn normalized_hash(destination: &Address, body: &Cell) -> [u8; 32] {
    external_header(destination)
        .bit(false)
        .bit(true)
        .reference(body)
        .build_hashed()
        .1
}

/// A message as it stands on the chain or came from a file.
#[derive(Debug, Clone)]
pub struct ParsedMessage {
    /// Who sent it and with what.
    pub info: MessageInfo,
    /// Its body; empty for a plain transfer.
    pub body: Cell,
}

/// The head of a [`ParsedMessage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageInfo {
    /// From outside.
    ExternalIn {
        /// Receiver.
        destination: Address,
    },
    /// Between contracts.
    Internal {
        /// Sender.
        source: Option<Address>,
        /// Receiver.
        destination: Address,
        /// Attached nanoTON.
        value: NanoTon,
        /// What its way costs from here on, in nanoTON; paid by the sender apart from the value.
        forward_fee: NanoTon,
        /// Whether the value comes back where the receiver fails.
        bounce: bool,
        /// Whether this message brings back the value of one that failed.
        bounced: bool,
    },
    /// To outside: a log entry.
    ExternalOut,
}

impl ParsedMessage {
    /// Parses `Message Any`.
    pub fn parse(cell: &Cell) -> Result<Self, CellError> {
        let mut fields = Fields::new(cell, "message");
        let external = fields.bit()?;
        let info = if !external {
            internal_info(&mut fields)?
        } else if fields.bit()? {
            fields.address_or_none()?;
            skip_external_address(&mut fields)?;
            fields.skip(64 + 32)?;
            MessageInfo::ExternalOut
        } else {
            skip_external_address(&mut fields)?;
            let destination = fields.address()?;
            let _import_fee = fields.coins()?;
            MessageInfo::ExternalIn { destination }
        };
        if fields.bit()? {
            skip_init(&mut fields)?;
        }
        let body = if fields.bit()? {
            fields.reference()?
        } else {
            fields.rest()?
        };
        Ok(Self { info, body })
    }

    /// [`ExternalMessage::normalized_hash`] of a message from outside; none for other messages.
    pub fn normalized_hash(&self) -> Option<[u8; 32]> {
        match &self.info {
            MessageInfo::ExternalIn { destination } => Some(normalized_hash(destination, &self.body)),
            MessageInfo::Internal { .. } | MessageInfo::ExternalOut => None,
        }
    }

    /// The first 32 bits of the body, which name the operation; none where the body is shorter.
    pub fn op(&self) -> Option<u32> {
        Fields::new(&self.body, "message body").u32().ok()
    }
}

fn internal_info(fields: &mut Fields<'_>) -> Result<MessageInfo, CellError> {
    let _ihr_disabled = fields.bit()?;
    let bounce = fields.bit()?;
    let bounced = fields.bit()?;
    let source = fields.address_or_none()?;
    let destination = fields.address()?;
    let value = fields.coins()?;
    fields.maybe_reference()?;
    let _ihr_fee = fields.coins()?;
    let forward_fee = fields.coins()?;
    fields.skip(64 + 32)?;
    Ok(MessageInfo::Internal {
        source,
        destination,
        value,
        forward_fee,
        bounce,
        bounced,
    })
}

/// `addr_none$00` or `addr_extern$01 len:(## 9) external_address:(bits len)`.
fn skip_external_address(fields: &mut Fields<'_>) -> Result<(), CellError> {
    match fields.uint(2)? {
        0b00 => Ok(()),
        0b01 => {
            let bits = usize::try_from(fields.uint(9)?).map_err(|_| fields.malformed())?;
            fields.skip(bits)
        }
        _ => Err(fields.malformed()),
    }
}

fn skip_init(fields: &mut Fields<'_>) -> Result<(), CellError> {
    if fields.bit()? {
        return fields.reference().map(drop);
    }
    if fields.bit()? {
        fields.skip(5)?;
    }
    if fields.bit()? {
        fields.skip(2)?;
    }
    for _code_data_library in 0..3 {
        fields.maybe_reference()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
