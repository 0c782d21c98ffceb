//! Decides when a channel is looked at again, and whether its object may go.

use std::time::Duration;

use cocoon_api::{
    NanoTon,
    conditions::{self, Closing, Ready, Reason as _},
    crd::{PaymentChannel, PaymentChannelStatus, Settlement, settlement::SettlementState},
    names::ABANDON_ANNOTATION,
    units::UnitError,
};
use cocoon_core::{
    funds::{Departure, Leaving, depart},
    ledger,
    settlement::{Candidate, REDEEM_FEE},
};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::observe::Seen;

/// A channel that waits for its payer is looked at this often, so that a deposit is seen within seconds.
const WAITING_INTERVAL: Duration = Duration::from_secs(5);
/// A channel that is in order: its top-ups are seen within this time, and a close within a sixth of the shortest
/// challenge window.
const QUIET_INTERVAL: Duration = Duration::from_secs(10);
/// A channel whose object is being deleted: a person waits.
const LEAVING_INTERVAL: Duration = Duration::from_secs(1);

/// When to look again at a channel with this status.
pub(super) fn next_look(channel: &PaymentChannel, status: Option<&PaymentChannelStatus>) -> Duration {
    if channel.metadata.deletion_timestamp.is_some() {
        return LEAVING_INTERVAL;
    }
    let list = status.map_or(&[][..], |status| &status.conditions);
    if conditions::is_true(list, Ready::TYPE) && !conditions::is_true(list, Closing::TYPE) {
        QUIET_INTERVAL
    } else {
        WAITING_INTERVAL
    }
}

/// Whether a deleted object may go; none where it is not deleted.
pub(super) fn departure(
    channel: &PaymentChannel,
    seen: &Seen,
    settlements: &[Settlement],
    now: Timestamp,
) -> Result<Option<Departure>, UnitError> {
    let Some(deleted_at) = &channel.metadata.deletion_timestamp else {
        return Ok(None);
    };
    let status = channel.status.clone().unwrap_or_default();
    let chain_now = seen.chain_time.map_or_else(|| now.as_second(), i64::from);
    let claimable = Candidate::of(channel, true, chain_now)?
        .map(|candidate| candidate.step())
        .filter(|step| *step > REDEEM_FEE)
        .unwrap_or(NanoTon::ZERO);
    let name = channel.name_any();
    let claims = |settlement: &Settlement| {
        settlement
            .spec
            .redeems
            .iter()
            .any(|redeem| redeem.channel == name)
    };
    Ok(Some(depart(Leaving {
        age: now.as_second().saturating_sub(deleted_at.0.as_second()),
        abandoned: channel
            .annotations()
            .get(ABANDON_ANNOTATION)
            .is_some_and(|value| value == "true"),
        busy: !status.reservations.is_empty(),
        in_flight: settlements
            .iter()
            .any(|settlement| !ended(settlement) && claims(settlement)),
        has_provider: seen.provider.is_some(),
        has_wallet: seen.has_wallet,
        outstanding: ledger::accrued(&status)?.saturating_sub(status.redeemed_nano),
        claimable,
    })))
}

/// Whether a settlement is confirmed or failed.
pub(crate) fn ended(settlement: &Settlement) -> bool {
    let state = settlement.status.as_ref().and_then(|status| status.state);
    matches!(state, Some(SettlementState::Confirmed | SettlementState::Failed))
}
