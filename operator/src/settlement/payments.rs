//! What a provider's status says about money: its wallet, its settlements, its earnings.

use cocoon_api::{
    conditions::Observation,
    crd::{CocoonProvider, FullName, PaymentChannel, Settlement, provider::Earnings},
};
use cocoon_core::settlement::{earnings, health, pays, signed_by};

use super::Account;
use crate::{
    context::Context,
    error::{Error, Result, describe},
};

/// Money of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payments {
    /// `WalletReady`.
    pub wallet: Observation,
    /// `SettlementHealthy`.
    pub settlement: Observation,
    /// `status.earnings`.
    pub earnings: Earnings,
}

/// Reads the wallet, at most once in a few seconds, and sums up what channels and settlements say. Objects of other
/// providers may be among them.
pub async fn payments(
    ctx: &Context,
    provider: &CocoonProvider,
    channels: &[PaymentChannel],
    settlements: &[Settlement],
) -> Result<Payments> {
    let name = FullName::of(provider);
    let channels: Vec<&PaymentChannel> = channels.iter().filter(|channel| pays(channel) == name).collect();
    let settlements: Vec<&Settlement> = settlements
        .iter()
        .filter(|settlement| signed_by(settlement) == name)
        .collect();
    let wallet = match Account::of(provider, ctx).await? {
        Ok(account) => account.judge(account.chain.wallet_lately(&account.wallet.address()).await),
        Err(missing) => missing,
    };
    let settlement = health(&wallet, &settlements);
    let before = provider
        .status
        .as_ref()
        .map(|status| status.earnings.clone())
        .unwrap_or_default();
    let earnings = earnings(before, &channels, &settlements).map_err(|source| Error::Money {
        object: describe(provider),
        source,
    })?;
    Ok(Payments {
        wallet,
        settlement,
        earnings,
    })
}
