//! Decides the next step of a provider's settlement: bring the message in flight further, or sign one, or rest.

use std::collections::BTreeMap;

use cocoon_api::{
    conditions::{self, Reason as _, SettlementFailed},
    crd::{CocoonProvider, PaymentChannel, Settlement, settlement::SettlementState},
    units::UnitError,
};
use cocoon_core::settlement::{Candidate, Decision, MAX_REDEEMS, Next, Policy, Setback, Wait, decide};
use k8s_openapi::jiff::Timestamp;

use super::observe::{Flight, Seen};

/// The next step.
pub(super) enum Plan {
    /// A message is in flight.
    Advance(Box<(Flight, Step)>),
    /// Sign one message with these claims, after a check against the chain.
    Sign(Vec<Candidate>),
    /// Nothing is due.
    Rest(Wait),
}

/// What to do about a message in flight.
pub(super) enum Step {
    /// What the sender says.
    Sender(Next),
    /// The chain did not tell: look again.
    Blind(String),
    /// The stored object is not a message of this operator: nothing of it is ever sent.
    Unreadable(String),
}

pub(super) fn plan(
    provider: &CocoonProvider,
    seen: &mut Seen,
    policy: Option<&Policy>,
    now: Timestamp,
) -> Result<Plan, UnitError> {
    if let Some(flight) = seen.flight.take() {
        let step = match (&flight.message, &flight.look) {
            (Err(error), _) => Step::Unreadable(error.to_string()),
            (_, Err(error)) => Step::Blind(error.to_string()),
            (Ok((in_flight, _)), Ok(look)) => Step::Sender(in_flight.clone().next(&look.sighting)),
        };
        return Ok(Plan::Advance(Box::new((flight, step))));
    }
    // A message that is on its way is brought to its end, whatever became of the policy that it was made under.
    let Some(policy) = policy else {
        return Ok(Plan::Rest(Wait::default()));
    };
    let leaves = provider.metadata.deletion_timestamp.is_some();
    let candidates = |channel: &PaymentChannel| Candidate::of(channel, leaves, now.as_second()).transpose();
    let candidates = seen
        .channels
        .iter()
        .filter_map(candidates)
        .collect::<Result<Vec<_>, _>>()?;
    // What the wallet affords is read with the rest of the chain, right before signing.
    Ok(
        match decide(
            candidates,
            &setbacks(&seen.settlements),
            policy,
            MAX_REDEEMS,
            now.as_second(),
        )? {
            Decision::Settle(candidates) => Plan::Sign(candidates),
            Decision::Wait(wait) => Plan::Rest(wait),
        },
    )
}

/// Claims in a row that a channel did not pay, as the kept settlements tell.
fn setbacks(settlements: &[Settlement]) -> BTreeMap<String, Setback> {
    let mut ended: Vec<(i64, &Settlement)> = settlements
        .iter()
        .filter_map(|settlement| Some((ended_at(settlement)?, settlement)))
        .collect();
    ended.sort_by_key(|(at, settlement)| (*at, &settlement.metadata.name));
    let mut setbacks: BTreeMap<String, Setback> = BTreeMap::new();
    for (at, settlement) in ended {
        for redeem in &settlement.spec.redeems {
            if state(settlement) == Some(SettlementState::Confirmed) {
                setbacks.remove(&redeem.channel);
            } else if unpaid(settlement) {
                let setback = setbacks.entry(redeem.channel.clone()).or_default();
                *setback = Setback {
                    count: setback.count.saturating_add(1),
                    last_at: at,
                };
            }
        }
    }
    setbacks
}

fn unpaid(settlement: &Settlement) -> bool {
    let list = settlement
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    conditions::find(list, SettlementFailed::TYPE)
        .is_some_and(|condition| condition.reason == SettlementFailed::NotRedeemed.name())
}

pub(super) fn state(settlement: &Settlement) -> Option<SettlementState> {
    settlement.status.as_ref().and_then(|status| status.state)
}

/// When a settlement ended, in Unix seconds; none while it is in flight.
pub(super) fn ended_at(settlement: &Settlement) -> Option<i64> {
    let type_ = match state(settlement)? {
        SettlementState::Confirmed => "Confirmed",
        SettlementState::Failed => SettlementFailed::TYPE,
        SettlementState::Signed | SettlementState::Broadcast => return None,
    };
    let list = &settlement.status.as_ref()?.conditions;
    conditions::find(list, type_).map(|condition| condition.last_transition_time.0.as_second())
}
