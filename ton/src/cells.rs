//! Cells: writing the fixed layouts of this crate, reading cells that strangers made, and bags of cells.

use cocoon_api::NanoTon;
use ton_core::cell::{BoC, CellBuilder, CellParser, TonCell};
use ton_core::errors::TonCoreError;

use crate::Address;

/// A TON cell: up to 1023 bits and four references.
pub type Cell = TonCell;

/// Largest bag of cells that is decoded. A network lets in external messages of 64 KiB (255 redeems take 42 KB), and a
/// transaction holds such a message and up to 255 that it sent, which share most of their cells with it.
pub const MAX_BOC_BYTES: usize = 512 * 1024;

/// A cell or bag of cells is not what it has to be.
#[derive(Debug, thiserror::Error)]
#[error("malformed {what}")]
pub struct CellError {
    what: &'static str,
    #[source]
    source: Option<TonCoreError>,
}

impl CellError {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, source: None }
    }

    fn caused(what: &'static str, source: TonCoreError) -> Self {
        Self {
            what,
            source: Some(source),
        }
    }
}

/// Decodes a bag with exactly one root.
pub fn decode_boc(bytes: &[u8]) -> Result<Cell, CellError> {
    if bytes.len() > MAX_BOC_BYTES {
        return Err(CellError::new("bag of cells: too large"));
    }
    BoC::from_bytes(bytes.to_vec())
        .and_then(BoC::single_root)
        .map_err(|source| CellError::caused("bag of cells", source))
}

/// Encodes a cell and all it refers to as a bag with a checksum.
pub fn encode_boc(cell: &Cell) -> Result<Vec<u8>, CellError> {
    BoC::new(cell.clone())
        .to_bytes(true)
        .map_err(|source| CellError::caused("cell tree", source))
}

/// Representation hash of a cell, the 32 bytes that signatures and addresses are about.
pub fn cell_hash(cell: &Cell) -> Result<[u8; 32], CellError> {
    cell.hash()
        .map(|hash| *hash.as_slice_sized())
        .map_err(|source| CellError::caused("cell", source))
}

/// Writes one cell field by field.
///
/// For layouts that fit by construction: [`Layout::build`] panics where one does not, which is a defect of this
/// crate and not of any input.
pub(crate) struct Layout {
    builder: CellBuilder,
    error: Option<TonCoreError>,
}

impl Layout {
    pub(crate) fn new() -> Self {
        Self {
            builder: TonCell::builder(),
            error: None,
        }
    }

    fn step(mut self, write: impl FnOnce(&mut CellBuilder) -> Result<(), TonCoreError>) -> Self {
        if self.error.is_none() {
            self.error = write(&mut self.builder).err();
        }
        self
    }

    pub(crate) fn uint(self, value: u64, bits: usize) -> Self {
        self.step(|builder| builder.write_num(&value, bits))
    }

    pub(crate) fn bit(self, value: bool) -> Self {
        self.step(|builder| builder.write_bit(value))
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        self.step(|builder| builder.write_bits(bytes, bytes.len() * 8))
    }

    /// `VarUInteger 16`: four bits of byte length, then the bytes.
    pub(crate) fn coins(self, amount: NanoTon) -> Self {
        let bytes = amount.nano().to_be_bytes();
        let used = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len())..];
        let length = used.len() as u64;
        self.uint(length, 4).bytes(used)
    }

    /// `addr_std` without anycast.
    pub(crate) fn address(self, address: &Address) -> Self {
        self.uint(0b100, 3)
            .bytes(&address.workchain.to_be_bytes())
            .bytes(&address.account)
    }

    pub(crate) fn reference(self, cell: &Cell) -> Self {
        self.step(|builder| builder.write_ref(cell.clone()))
    }

    /// All bits and references of `cell`.
    pub(crate) fn append(self, cell: &Cell) -> Self {
        self.step(|builder| builder.write_cell(cell))
    }

    pub(crate) fn free_bits(&self) -> usize {
        self.builder.data_bits_left()
    }

    pub(crate) fn free_refs(&self) -> usize {
        self.builder.refs_left()
    }

    pub(crate) fn build(self) -> Cell {
        match self.error {
            Some(error) => panic!("a fixed layout exceeded one cell: {error}"),
            None => self
                .builder
                .build()
                .expect("an ordinary cell within bounds is valid"),
        }
    }

    /// The cell and its hash.
    pub(crate) fn build_hashed(self) -> (Cell, [u8; 32]) {
        let cell = self.build();
        let hash = cell_hash(&cell).expect("an ordinary cell over valid cells has a hash");
        (cell, hash)
    }
}

/// Reads one cell field by field. `what` names the structure in errors.
pub(crate) struct Fields<'a> {
    parser: CellParser<'a>,
    what: &'static str,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(cell: &'a Cell, what: &'static str) -> Self {
        Self {
            parser: cell.parser(),
            what,
        }
    }

    fn fail<T>(&self, result: Result<T, TonCoreError>) -> Result<T, CellError> {
        result.map_err(|source| CellError::caused(self.what, source))
    }

    pub(crate) fn malformed(&self) -> CellError {
        CellError::new(self.what)
    }

    pub(crate) fn bit(&mut self) -> Result<bool, CellError> {
        let bit = self.parser.read_bit();
        self.fail(bit)
    }

    /// An unsigned integer of at most 64 bits.
    pub(crate) fn uint(&mut self, bits: usize) -> Result<u64, CellError> {
        let value = self.parser.read_num(bits);
        self.fail(value)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, CellError> {
        let value = self.parser.read_num(32);
        self.fail(value)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, CellError> {
        Ok(self.u32()?.cast_signed())
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], CellError> {
        let mut bytes = [0u8; N];
        let read = self.parser.read_bits_to(N * 8, &mut bytes);
        self.fail(read)?;
        Ok(bytes)
    }

    pub(crate) fn skip(&mut self, bits: usize) -> Result<(), CellError> {
        let skipped = self.parser.read_bits(bits).map(drop);
        self.fail(skipped)
    }

    /// `VarUInteger 16` within the range of [`NanoTon`].
    pub(crate) fn coins(&mut self) -> Result<NanoTon, CellError> {
        let length = usize::try_from(self.uint(4)?).map_err(|_| self.malformed())?;
        let value: u128 = {
            let value = self.parser.read_num(length * 8);
            self.fail(value)?
        };
        u64::try_from(value)
            .ok()
            .and_then(|value| NanoTon::from_nano(value).ok())
            .ok_or_else(|| self.malformed())
    }

    /// `addr_none` or `addr_std` without anycast; other forms do not occur on this network and are refused.
    pub(crate) fn address_or_none(&mut self) -> Result<Option<Address>, CellError> {
        if self.uint(2)? == 0b00 {
            return Ok(None);
        }
        self.parser
            .seek_bits(-2)
            .map_err(|source| CellError::caused(self.what, source))?;
        if self.uint(3)? != 0b100 {
            return Err(self.malformed());
        }
        let workchain = i8::from_be_bytes(self.bytes::<1>()?);
        Ok(Some(Address {
            workchain,
            account: self.bytes()?,
        }))
    }

    pub(crate) fn address(&mut self) -> Result<Address, CellError> {
        self.address_or_none()?.ok_or_else(|| self.malformed())
    }

    pub(crate) fn reference(&mut self) -> Result<Cell, CellError> {
        let cell = self.parser.read_next_ref().cloned();
        self.fail(cell)
    }

    /// A bit that says whether a reference follows, and the reference.
    pub(crate) fn maybe_reference(&mut self) -> Result<Option<Cell>, CellError> {
        if self.bit()? {
            self.reference().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Everything not read yet, as a cell.
    pub(crate) fn rest(&mut self) -> Result<Cell, CellError> {
        let rest = self.parser.read_remaining();
        self.fail(rest)
    }
}

#[cfg(test)]
mod tests;
