//! What an offer earns, read last and in bounded time: a chain that does not answer must not keep agents from work.

use std::time::Duration;

use cocoon_api::{
    conditions::{Reason as _, SettlementHealthy, WalletReady},
    crd::{CocoonProvider, FullName, PaymentChannel, Settlement},
};
use cocoon_core::settlement::pays;
use kube::ResourceExt as _;

use super::Providers;
use crate::{
    error::Result,
    settlement::{self, Payments},
};

/// How long a reconcile waits for the wallet's endpoints, which answer within a second when they are well.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Earnings, and the conditions of wallet and settlement. Earnings stay what they were while the chain is silent.
pub(super) async fn look(provider: &CocoonProvider, providers: &Providers) -> Result<Payments> {
    let namespace = provider.namespace().unwrap_or_default();
    let name = FullName::of(provider);
    let channels: Vec<PaymentChannel> = providers
        .ctx
        .watches
        .channels
        .state()
        .iter()
        .filter(|channel| pays(channel) == name)
        .map(|channel| PaymentChannel::clone(channel))
        .collect();
    let settlements: Vec<Settlement> = providers
        .ctx
        .watches
        .settlements
        .in_namespace(&namespace)
        .iter()
        .map(|settlement| Settlement::clone(settlement))
        .collect();
    let payments = settlement::payments(&providers.ctx, provider, &channels, &settlements);
    if let Ok(payments) = tokio::time::timeout(TIMEOUT, payments).await {
        return payments;
    }
    let message = format!(
        "no answer for network {} within {} s",
        provider.spec.payout.network,
        TIMEOUT.as_secs()
    );
    Ok(Payments {
        wallet: WalletReady::EndpointUnavailable.condition(message.clone()),
        settlement: SettlementHealthy::EndpointUnavailable.condition(message),
        earnings: provider
            .status
            .as_ref()
            .map(|status| status.earnings.clone())
            .unwrap_or_default(),
    })
}
