//! Money of a provider, over all its channels, and whether usage becomes money.

use cocoon_api::{
    NanoTon,
    conditions::{self, Observation, Reason as _, SettlementFailed, SettlementHealthy, WalletReady},
    crd::{PaymentChannel, Settlement, provider::Earnings, settlement::SettlementState},
    units::UnitError,
};
use k8s_openapi::jiff::Timestamp;

use super::history::{ended_at, state};

/// What the channels paid on account of their own ledgers.
pub fn confirmed<'a>(channels: impl IntoIterator<Item = &'a PaymentChannel>) -> Result<NanoTon, UnitError> {
    let paid = |channel: &PaymentChannel| {
        let status = channel.status.as_ref()?;
        Some(status.redeemed_nano.saturating_sub(status.earlier_nano))
    };
    NanoTon::sum(channels.into_iter().filter_map(paid))
}

/// What a settlement claims beyond what was redeemed before.
pub fn steps(settlement: &Settlement) -> Result<NanoTon, UnitError> {
    let redeems = settlement.spec.redeems.iter();
    NanoTon::sum(redeems.map(|redeem| redeem.cumulative_nano.saturating_sub(redeem.redeemed_before_nano)))
}

/// Earnings of a provider from what its channels and settlements say and from what was known before.
///
/// What a channel paid does not fall, so that a sum that falls means a channel that is gone: what is missing moves into
/// `closedChannelsNano`. A channel's object waits for that before it goes.
pub fn earnings(
    before: Earnings,
    channels: &[&PaymentChannel],
    settlements: &[&Settlement],
) -> Result<Earnings, UnitError> {
    let live = confirmed(channels.iter().copied())?;
    let closed = before
        .closed_channels_nano
        .max(before.confirmed_nano.saturating_sub(live));
    let metered = |channel: &&PaymentChannel| {
        let status = channel.status.as_ref()?;
        let earlier = status.earlier_nano.min(status.redeemed_nano);
        Some(status.accrued_nano.saturating_sub(earlier))
    };
    let accrued_nano = NanoTon::sum(channels.iter().filter_map(metered).chain([closed]))?;
    let confirmed_nano = live.checked_add(closed)?;
    let in_flight = settlements
        .iter()
        .filter(|settlement| ended_at(settlement).is_none());
    let submitted: Vec<NanoTon> = in_flight
        .map(|settlement| steps(settlement))
        .collect::<Result<_, _>>()?;
    let last = newest(settlements, |settlement| {
        state(settlement) == Some(SettlementState::Confirmed)
    });
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
        submitted_nano: NanoTon::sum(submitted)?,
        confirmed_nano,
        confirmed: confirmed_nano.to_ton_string(),
        pending: accrued_nano.saturating_sub(confirmed_nano).to_ton_string(),
        closed_channels_nano: closed,
        last_transaction,
        last_settled_at,
    })
}

/// Whether usage becomes money: the wallet is ready, and the last settlement did not fail.
pub fn health(wallet: &Observation, settlements: &[&Settlement]) -> Observation {
    if !wallet.status {
        let reason = if wallet.reason == WalletReady::EndpointUnavailable.name() {
            SettlementHealthy::EndpointUnavailable
        } else {
            SettlementHealthy::WalletNotReady
        };
        return reason.condition(wallet.message.clone());
    }
    match newest(settlements, |_| true) {
        Some((_, settlement)) if state(settlement) == Some(SettlementState::Failed) => {
            let list = settlement
                .status
                .as_ref()
                .map_or(&[][..], |status| &status.conditions);
            let why = conditions::find(list, SettlementFailed::TYPE)
                .map_or("", |condition| condition.message.as_str());
            let name = settlement.metadata.name.as_deref().unwrap_or_default();
            SettlementHealthy::SettlementFailed.condition(format!("{name}: {why}"))
        }
        _ => SettlementHealthy::UpToDate.condition("nothing is overdue"),
    }
}

/// Of the settlements that ended and that `counts` holds for, the last.
fn newest<'a>(
    settlements: &[&'a Settlement],
    counts: impl Fn(&Settlement) -> bool,
) -> Option<(i64, &'a Settlement)> {
    settlements
        .iter()
        .filter(|settlement| counts(settlement))
        .filter_map(|settlement| Some((ended_at(settlement)?, *settlement)))
        .max_by_key(|(at, settlement)| (*at, settlement.metadata.name.clone()))
}
