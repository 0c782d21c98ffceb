//! What the channel's getter `channel_state` answers.

use cocoon_api::NanoTon;

use super::params::ChannelParams;
use crate::cells::Fields;
use crate::{Address, Cell, PublicKey};

/// Where a channel stands between its first deposit and its last settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelStatus {
    /// Claims are paid.
    Open,
    /// The payer closed it: claims are paid until the deadline, then anyone may settle.
    Closing {
        /// First unix second at which nothing is redeemed any more and settling is possible.
        deadline: u32,
    },
    /// Settled. A top-up by the payer opens it again, in the next epoch.
    Closed,
}

/// The contract's state at one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelState {
    /// Open, closing or closed.
    pub status: ChannelStatus,
    /// Vouchers must name it; every settlement raises it.
    pub epoch: u32,
    /// Paid to the provider since the first day; never falls.
    pub redeemed: NanoTon,
    /// What claims may still take: the balance without the rent reserve. Rent since the last transaction, about
    /// 0.0015 TON a year, is not taken off yet.
    pub available: NanoTon,
    /// The two ends and the rules.
    pub params: ChannelParams,
}

/// One entry of a getter's stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StackEntry {
    /// A 257-bit integer, as sign and big-endian magnitude without leading zeros.
    Number {
        /// Whether it is below zero.
        negative: bool,
        /// Absolute value, at most 32 bytes and a sign bit's worth.
        magnitude: Vec<u8>,
    },
    /// A cell or slice.
    Cell(Cell),
    /// Anything else; no getter used here answers it.
    Other,
}

/// A getter answered something else than the contract's code would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("getter answered no valid {field}")]
pub struct StackError {
    /// What could not be read.
    pub field: &'static str,
}

impl StackEntry {
    /// A non-negative number below 2^64.
    pub(crate) fn u64(&self) -> Option<u64> {
        let digits = self.digits()?;
        (digits.len() <= 8).then(|| {
            digits
                .iter()
                .fold(0, |value, byte| (value << 8) | u64::from(*byte))
        })
    }

    fn u256(&self) -> Option<[u8; 32]> {
        let digits = self.digits()?;
        let mut bytes = [0u8; 32];
        bytes
            .get_mut(32usize.checked_sub(digits.len())?..)?
            .copy_from_slice(digits);
        Some(bytes)
    }

    /// A non-negative number without leading zeros, whatever the endpoint sent before it.
    fn digits(&self) -> Option<&[u8]> {
        let Self::Number {
            negative: false,
            magnitude,
        } = self
        else {
            return None;
        };
        let start = magnitude
            .iter()
            .position(|byte| *byte != 0)
            .unwrap_or(magnitude.len());
        Some(&magnitude[start..])
    }

    fn address(&self) -> Option<Address> {
        let Self::Cell(cell) = self else {
            return None;
        };
        Fields::new(cell, "address").address().ok()
    }
}

/// Takes entries of a stack in order, each with the name that an error gives.
struct Entries<'a>(std::slice::Iter<'a, StackEntry>);

impl Entries<'_> {
    fn take<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&StackEntry) -> Option<T>,
    ) -> Result<T, StackError> {
        self.0.next().and_then(read).ok_or(StackError { field })
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, StackError> {
        self.take(field, |entry| u32::try_from(entry.u64()?).ok())
    }

    fn coins(&mut self, field: &'static str) -> Result<NanoTon, StackError> {
        self.take(field, |entry| NanoTon::from_nano(entry.u64()?).ok())
    }
}

impl ChannelState {
    /// Reads the stack of `channel_state`, `ChannelStateReply` in `contracts/channel.tolk`.
    pub fn from_stack(stack: &[StackEntry]) -> Result<Self, StackError> {
        let mut entries = Entries(stack.iter());
        let status = entries.take("status", StackEntry::u64)?;
        let epoch = entries.u32("epoch")?;
        let deadline = entries.u32("closingDeadline")?;
        let status = match (status, deadline) {
            (0, 0) => ChannelStatus::Open,
            (1, _) => ChannelStatus::Closing { deadline },
            (2, 0) => ChannelStatus::Closed,
            (0 | 2, _) => {
                return Err(StackError {
                    field: "closingDeadline",
                });
            }
            (_, _) => return Err(StackError { field: "status" }),
        };
        Ok(Self {
            status,
            epoch,
            redeemed: entries.coins("redeemed")?,
            available: entries.coins("available")?,
            params: ChannelParams {
                payer_key: entries.take("payerKey", StackEntry::u256).map(PublicKey)?,
                payer: entries.take("payer", StackEntry::address)?,
                provider: entries.take("provider", StackEntry::address)?,
                claimer: entries.take("claimer", StackEntry::address)?,
                challenge_period: entries.u32("challengePeriod")?,
                salt: entries.u32("salt")?,
            },
        })
    }
}
