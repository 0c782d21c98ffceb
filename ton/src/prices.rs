//! What the chain charges, as its configuration says, and what a claim costs at these prices.
//!
//! Validators set the prices; they fell to a sixth in 2026. So nothing here is a constant but what a claim uses: gas,
//! bits and cells.

use cocoon_api::NanoTon;

use crate::cells::Fields;
use crate::channel::REDEEM_VALUE;
use crate::{Cell, CellError};

/// Configuration parameter of gas prices in the basechain.
pub const GAS_PARAM: u32 = 21;

/// Configuration parameter of forwarding prices in the basechain.
pub const FORWARD_PARAM: u32 = 25;

/// Whose message a claim is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimedBy {
    /// The wallet's that is paid: step and rest come back to it in one message.
    Payee,
    /// The claimer's: the rest comes back to it, and the step goes elsewhere.
    Claimer,
}

impl ClaimedBy {
    /// Gas that a claim burns on its three accounts: the wallet's message (4,939 measured), the channel's redeem (at
    /// most the 7,000, or apart the 9,000, of `contracts/fees.tolk`) and the wallet that takes in what comes back (778
    /// measured).
    const fn gas(self) -> [u64; 3] {
        match self {
            Self::Payee => [5_000, 7_000, 800],
            Self::Claimer => [5_000, 9_000, 800],
        }
    }

    /// Messages that a claim sends on its way: from outside to the wallet, to the channel, back, and the step where it
    /// goes apart.
    const fn messages(self) -> u128 {
        match self {
            Self::Payee => 3,
            Self::Claimer => 4,
        }
    }
}

/// Cells and bits of these messages beyond their root cells, measured and rounded up: the claim with its voucher
/// travels twice.
const REDEEM_CELLS: u128 = 12;
const REDEEM_BITS: u128 = 3_600;

/// The most that a claim may cost before nothing is claimed on its own: what a claim takes along for the channel's
/// fees. Beyond it, the contract might refuse the claim for want of value, and a person must look. Seven times the
/// prices of 2026, and more than those before.
pub const MAX_REDEEM_FEE: NanoTon = REDEEM_VALUE;

/// Prices are given in 65,536ths of a nanoTON.
const PRICE_UNIT: u128 = 1 << 16;

/// Prices of the basechain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// Gas that costs [`Prices::flat_price`] in all.
    pub flat_gas: u64,
    /// What the first [`Prices::flat_gas`] costs, in nanoTON.
    pub flat_price: u64,
    /// What each further unit of gas costs, in 65,536ths of a nanoTON.
    pub gas_price: u64,
    /// What a message costs, in nanoTON.
    pub lump_price: u64,
    /// What each bit beyond its root cell costs, in 65,536ths of a nanoTON.
    pub bit_price: u64,
    /// What each cell beyond its root costs, in 65,536ths of a nanoTON.
    pub cell_price: u64,
}

/// A claim costs more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a claim costs more than {} TON at the chain's prices, which is more than goes along with it: nothing is claimed until \
     a person has looked at configuration parameters 21 and 25",
    MAX_REDEEM_FEE.to_ton_string()
)]
pub struct TooExpensive;

impl Prices {
    /// Reads configuration parameters 21 and 25: `GasLimitsPrices` and `MsgForwardPrices` of block.tlb.
    pub fn parse(gas: &Cell, forward: &Cell) -> Result<Self, CellError> {
        let mut gas = Fields::new(gas, "configuration parameter 21");
        let (mut flat_gas, mut flat_price) = (0, 0);
        let mut tag = gas.uint(8)?;
        if tag == 0xD1 {
            (flat_gas, flat_price) = (gas.uint(64)?, gas.uint(64)?);
            tag = gas.uint(8)?;
        }
        if !matches!(tag, 0xDD | 0xDE) {
            return Err(gas.malformed());
        }
        let gas_price = gas.uint(64)?;
        let mut forward = Fields::new(forward, "configuration parameter 25");
        if forward.uint(8)? != 0xEA {
            return Err(forward.malformed());
        }
        Ok(Self {
            flat_gas,
            flat_price,
            gas_price,
            lump_price: forward.uint(64)?,
            bit_price: forward.uint(64)?,
            cell_price: forward.uint(64)?,
        })
    }

    /// What one claim costs the wallet with all its legs, rounded up by what its gas and its messages may need beyond
    /// the measured. A claim that shares its message with others costs less.
    pub fn redeem_fee(&self, by: ClaimedBy) -> Result<NanoTon, TooExpensive> {
        let gas: u128 = by.gas().into_iter().map(|gas| self.gas_fee(gas)).sum();
        let beyond_roots = u128::from(self.bit_price)
            .saturating_mul(REDEEM_BITS)
            .saturating_add(u128::from(self.cell_price).saturating_mul(REDEEM_CELLS));
        let forward = u128::from(self.lump_price) * by.messages() + beyond_roots.div_ceil(PRICE_UNIT);
        let fee = u64::try_from(gas.saturating_add(forward)).map_err(|_| TooExpensive)?;
        match NanoTon::from_nano(fee) {
            Ok(fee) if fee <= MAX_REDEEM_FEE => Ok(fee),
            _ => Err(TooExpensive),
        }
    }

    fn gas_fee(&self, gas: u64) -> u128 {
        let beyond = u128::from(gas.saturating_sub(self.flat_gas));
        u128::from(self.flat_price) + (beyond * u128::from(self.gas_price)).div_ceil(PRICE_UNIT)
    }
}

#[cfg(test)]
mod tests;
