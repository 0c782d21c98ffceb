//! Decides the next step of a provider's settlement: bring the message in flight further, or sign one, or rest.

use cocoon_api::{
    crd::{CocoonProvider, PaymentChannel},
    units::UnitError,
};
use cocoon_core::settlement::{
    Candidate, Decision, MAX_REDEEMS, Next, Policy, Wait, decide, may_sweep, setbacks, surplus,
};

use super::observe::{Flight, Seen};

/// The next step.
pub(super) enum Plan {
    /// A message is in flight.
    Advance(Box<(Flight, Step)>),
    /// Sign one message, after a check against the chain.
    Sign(Order),
    /// Nothing is due.
    Rest(Wait),
}

/// What a message is signed for.
pub(super) enum Order {
    /// These claims.
    Claims(Vec<Candidate>),
    /// What the wallet holds above its reserve for fees.
    Sweep,
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
    now: i64,
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
    let leaves = provider.metadata.deletion_timestamp.is_some() || seen.is_key_leaving;
    let candidates = |channel: &PaymentChannel| Candidate::of(channel, leaves, now).transpose();
    let candidates = seen
        .channels
        .iter()
        .filter_map(candidates)
        .collect::<Result<Vec<_>, _>>()?;
    // What the wallet affords is read with the rest of the chain, right before signing.
    Ok(
        match decide(candidates, &setbacks(&seen.settlements), policy, MAX_REDEEMS, now)? {
            Decision::Settle(candidates) => Plan::Sign(Order::Claims(candidates)),
            // Claims come first: their attached values need what the wallet holds.
            Decision::Wait(_) if has_surplus(provider, seen, now) => Plan::Sign(Order::Sweep),
            Decision::Wait(wait) => Plan::Rest(wait),
        },
    )
}

fn has_surplus(provider: &CocoonProvider, seen: &Seen, now: i64) -> bool {
    let reserve = provider.spec.payout.fee_reserve_nano;
    let found = seen.balance.and_then(|balance| surplus(balance, reserve));
    found.is_some() && may_sweep(&seen.settlements, now)
}
