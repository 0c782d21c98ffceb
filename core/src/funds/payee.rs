//! Whom the channels of a provider are to pay, and which wallet claims from them.

use cocoon_api::crd::provider::Payout;
use cocoon_ton::{Address, Network, address::AddressError};

use super::escrow::Escrow;

/// The two addresses of a provider, in raw form; the same one twice where it keeps no wallet apart for claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payee {
    /// Where earnings go.
    pub address: String,
    /// The wallet that claims.
    pub claimer: String,
}

/// Why a contract is not the provider's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignEscrow {
    /// It pays somebody else.
    #[error("the contract pays {pays}, and payout.address is {address}")]
    Payee {
        /// Whom it pays.
        pays: String,
        /// Whom it should pay.
        address: String,
    },
    /// It pays the provider, and the wallet that claims may not claim from it.
    #[error("the contract lets {lets} claim, and payout.claimer is {claimer}")]
    Claimer {
        /// Who may claim.
        lets: String,
        /// Who should be able to.
        claimer: String,
    },
}

impl Payee {
    /// Of a provider on its network. Fails where one of the addresses is none of the network's.
    pub fn of(payout: &Payout, network: &Network) -> Result<Self, AddressError> {
        let raw = |text: &str| Address::parse_for(network, text).map(|address| address.to_string());
        Ok(Self {
            address: raw(&payout.address)?,
            claimer: raw(payout.signer())?,
        })
    }

    /// Whether the provider's wallet may claim from this contract, and what it claims is the provider's. A contract
    /// that pays the wallet itself was opened before the provider kept it apart; what it pays is swept to the payout
    /// address.
    pub fn owns(&self, escrow: &Escrow) -> Result<(), ForeignEscrow> {
        let Self { address, claimer } = self;
        if escrow.provider == *claimer {
            return Ok(());
        }
        if escrow.provider != *address {
            return Err(ForeignEscrow::Payee {
                pays: escrow.provider.clone(),
                address: address.clone(),
            });
        }
        if escrow.claimer != *claimer {
            return Err(ForeignEscrow::Claimer {
                lets: escrow.claimer.clone(),
                claimer: claimer.clone(),
            });
        }
        Ok(())
    }
}
