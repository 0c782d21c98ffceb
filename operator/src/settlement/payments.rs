//! What a provider's status says about money: its wallet, its settlements, its earnings.

use cocoon_api::{
    NanoTon,
    conditions::{self, Observation, Reason as _, SettlementHealthy, WalletReady},
    crd::{CocoonProvider, PaymentChannel, Settlement, provider::Earnings, settlement::SettlementState},
    units::UnitError,
};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::{
    Account,
    plan::{ended_at, state},
    status::steps,
};
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
    let name = provider.name_any();
    let channels: Vec<PaymentChannel> = channels
        .iter()
        .filter(|channel| channel.spec.provider.name == name)
        .cloned()
        .collect();
    let settlements: Vec<&Settlement> = settlements
        .iter()
        .filter(|settlement| settlement.spec.provider_ref.name == name)
        .collect();
    let wallet = match Account::of(provider, ctx).await? {
        Ok(account) => account.judge(account.chain.wallet_lately(&account.wallet.address()).await),
        Err(missing) => missing,
    };
    let settlement = health(&wallet, &settlements);
    let earnings = earnings(provider, &channels, &settlements)?;
    Ok(Payments {
        wallet,
        settlement,
        earnings,
    })
}

fn health(wallet: &Observation, settlements: &[&Settlement]) -> Observation {
    if !wallet.status {
        let reason = if wallet.reason == WalletReady::EndpointUnavailable.name() {
            SettlementHealthy::EndpointUnavailable
        } else {
            SettlementHealthy::WalletNotReady
        };
        return reason.condition(wallet.message.clone());
    }
    let last = settlements
        .iter()
        .filter_map(|stl| Some((ended_at(stl)?, *stl)))
        .max_by_key(|(at, stl)| (*at, stl.name_any()));
    match last {
        Some((_, settlement)) if state(settlement) == Some(SettlementState::Failed) => {
            let conditions_of = settlement
                .status
                .as_ref()
                .map_or(&[][..], |status| &status.conditions);
            let why = conditions::find(conditions_of, "Failed").map_or("", |condition| &condition.message);
            SettlementHealthy::SettlementFailed.condition(format!("{}: {why}", settlement.name_any()))
        }
        _ => SettlementHealthy::UpToDate.condition("nothing is overdue"),
    }
}

/// What the channels paid since their objects saw them first.
pub fn confirmed(channels: &[PaymentChannel]) -> std::result::Result<NanoTon, UnitError> {
    let paid = |channel: &PaymentChannel| {
        channel
            .status
            .as_ref()
            .map(|status| status.redeemed_nano.saturating_sub(status.earlier_nano))
    };
    NanoTon::sum(channels.iter().filter_map(paid))
}

/// Channels' figures never fall, so that a sum that falls means a channel that is gone: what is missing moves into
/// `closedChannelsNano`. A channel's object waits for that before it goes.
fn earnings(
    provider: &CocoonProvider,
    channels: &[PaymentChannel],
    settlements: &[&Settlement],
) -> Result<Earnings> {
    let before = provider
        .status
        .as_ref()
        .map(|status| status.earnings.clone())
        .unwrap_or_default();
    let sum = |amounts: &mut dyn Iterator<Item = NanoTon>| {
        NanoTon::sum(amounts).map_err(|source| Error::Money {
            object: describe(provider),
            source,
        })
    };
    let live = confirmed(channels).map_err(|source| Error::Money {
        object: describe(provider),
        source,
    })?;
    let closed = before
        .closed_channels_nano
        .max(before.confirmed_nano.saturating_sub(live));
    let metered = |channel: &PaymentChannel| {
        channel
            .status
            .as_ref()
            .map(|status| status.accrued_nano.saturating_sub(status.earlier_nano))
    };
    let accrued_nano = sum(&mut channels.iter().filter_map(metered).chain([closed]))?;
    let confirmed_nano = sum(&mut [live, closed].into_iter())?;
    let in_flight = settlements
        .iter()
        .filter(|settlement| ended_at(settlement).is_none());
    let submitted: Vec<NanoTon> = in_flight
        .map(|settlement| steps(settlement))
        .collect::<Result<_>>()?;
    let last = settlements
        .iter()
        .filter(|settlement| state(settlement) == Some(SettlementState::Confirmed))
        .filter_map(|settlement| Some((ended_at(settlement)?, *settlement)))
        .max_by_key(|(at, settlement)| (*at, settlement.name_any()));
    let (last_transaction, last_settled_at) = match last {
        Some((at, settlement)) => (
            settlement
                .status
                .as_ref()
                .and_then(|status| status.transaction.clone()),
            Timestamp::from_second(at).ok().map(|at| at.to_string()),
        ),
        None => (before.last_transaction, before.last_settled_at),
    };
    Ok(Earnings {
        accrued_nano,
        submitted_nano: sum(&mut submitted.into_iter())?,
        confirmed_nano,
        confirmed: confirmed_nano.to_ton_string(),
        pending: accrued_nano.saturating_sub(confirmed_nano).to_ton_string(),
        closed_channels_nano: closed,
        last_transaction,
        last_settled_at,
    })
}
