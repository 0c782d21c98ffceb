//! A channel's contract as its getter shows it.

use cocoon_api::NanoTon;

/// What the contract's getter shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escrow {
    /// Where it stands.
    pub stage: Stage,
    /// Vouchers must name it; every closing raises it.
    pub epoch: u32,
    /// Paid to the provider since the first day.
    pub redeemed: NanoTon,
    /// What claims may still take.
    pub available: NanoTon,
    /// Public key that signs vouchers, as lower-case hexadecimal digits.
    pub payer_key: String,
    /// Address that claims pay and that may claim, in raw form.
    pub provider: String,
    /// Address that may claim as well, in raw form.
    pub claimer: String,
    /// Seconds between the payer's close and the end of claims.
    pub challenge_period: u32,
}

/// Where the contract stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Claims are paid.
    Open,
    /// Claims are paid before this Unix second.
    Closing {
        /// The first second at which nothing is paid.
        deadline: u32,
    },
    /// Nothing is paid.
    Closed,
}
