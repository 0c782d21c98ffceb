//! Whose offer a job takes, and its budget on the channel.

use cocoon_api::{
    NanoTon,
    conditions::{Accepted, Funded, FundsReserved, Observation, Reason as _, VoucherValid, find},
    crd::Agreement,
    units::UnitError,
};

use super::{Channel, Draft, Offer, Step, World};
use crate::{
    job::validate::Billing,
    ledger::{self, Refusal},
};

pub(super) fn choose_offer<'a>(world: &'a World<'_>) -> Result<&'a Offer, Observation> {
    let model = &world.job.model;
    let agreed = world
        .status
        .agreed
        .as_ref()
        .map(|agreed| agreed.provider.as_str());
    let named = match (&world.job.billing, world.channel) {
        (Billing::Free, _) => agreed,
        (Billing::Channel { name, .. }, None) => {
            return Err(Accepted::ChannelNotFound.condition(format!("PaymentChannel {name} does not exist")));
        }
        (Billing::Channel { .. }, Some(channel)) => Some(channel.provider.as_str()),
    };
    let mut offering: Vec<&Offer> = world
        .offers
        .iter()
        .filter(|offer| offer.model_sha256.is_some() && named.is_none_or(|name| offer.provider == name))
        .collect();
    // A closed offer only where no other serves the model; then by name, so that the choice is stable.
    offering.sort_by_key(|offer| (offer.closed, &offer.provider));
    let who = named.map_or_else(
        || "no provider in this namespace".to_owned(),
        |name| format!("CocoonProvider {name} does not exist or"),
    );
    let missing = || match named {
        Some(_) => format!("{who} does not offer model {model}"),
        None => format!("{who} offers model {model}"),
    };
    offering
        .first()
        .copied()
        .ok_or_else(|| Accepted::ModelUnknown.condition(missing()))
}

/// `Some` step where funds are not yet reserved.
pub(super) fn reserve(
    world: &World<'_>,
    agreed: &Agreement,
    draft: &mut Draft,
) -> Result<Option<Step>, UnitError> {
    let Billing::Channel { name, budget, .. } = &world.job.billing else {
        draft.say(FundsReserved::Free.condition("billing.mode is Free"));
        return Ok(None);
    };
    let Some(channel) = world.channel else {
        return Ok(Some(Step::Wait));
    };
    let requests = u64::from(world.job.input.total);
    let least = agreed.prices.minimum_nano.nano().saturating_mul(requests);
    if budget.nano() < least {
        draft.conditions.clear();
        draft.say(Accepted::BudgetTooSmall.condition(format!(
            "billing.maxNano is {budget}, but {requests} requests cost at least {least} nanoTON at provider {}",
            agreed.provider
        )));
        return Ok(Some(Step::Wait));
    }
    if ledger::reserved(&channel.status, &world.job.uid).is_some_and(|held| held >= *budget) {
        if !has_place(channel) {
            draft.say(FundsReserved::ChannelNotReady.condition(format!(
                "the ledger of channel {name} has no place for the usage of one more attempt until its jobs are settled"
            )));
            return Ok(Some(Step::Wait));
        }
        draft.say(FundsReserved::Reserved.condition(format!(
            "{} TON are reserved on channel {name}",
            budget.to_ton_string()
        )));
        return Ok(None);
    }
    if channel.deleting {
        draft.say(FundsReserved::ChannelNotReady.condition(format!("channel {name} is being deleted")));
        return Ok(Some(Step::Wait));
    }
    let mut trial = channel.status.clone();
    let step = match ledger::reserve(&mut trial, &world.job.uid, &world.job.name, *budget)? {
        Ok(()) => {
            draft.say(FundsReserved::WaitingForFunds.condition(format!(
                "reserving {} TON on channel {name}",
                budget.to_ton_string()
            )));
            Step::Reserve {
                channel: name.clone(),
                budget: *budget,
            }
        }
        Err(Refusal::Full) => {
            draft.say(FundsReserved::ChannelNotReady.condition(format!(
                "the ledger of channel {name} is full until its jobs are settled"
            )));
            Step::Wait
        }
        Err(Refusal::Insufficient { available, wanted }) => {
            draft.say(shortfall(name, channel, available, wanted));
            Step::Wait
        }
    };
    Ok(Some(step))
}

/// Whether what one more attempt delivers can be metered.
///
/// Each attempt becomes one counter. Every reservation stands for the counter of its job's attempt that runs or comes next,
/// a job runs one attempt at a time, and none starts but while counters and reservations together fit. So what runs always
/// finds its place: between two starts, counters only take the places that were held for them.
fn has_place(channel: &Channel) -> bool {
    channel.status.counters.len() + channel.status.reservations.len() <= ledger::MAX_COUNTERS
}

/// The channel's own conditions say more than the bare figures where it is not in order.
fn shortfall(name: &str, channel: &Channel, available: NanoTon, wanted: NanoTon) -> Observation {
    let conditions = &channel.status.conditions;
    let broken = |type_| find(conditions, type_).filter(|condition| condition.status != "True");
    if conditions.is_empty() {
        return FundsReserved::ChannelNotReady
            .condition(format!("channel {name} has not been looked at yet"));
    }
    if let Some(funded) = broken(Funded::TYPE) {
        return FundsReserved::WaitingForFunds.condition(format!("channel {name}: {}", funded.message));
    }
    if let Some(voucher) = broken(VoucherValid::TYPE) {
        return FundsReserved::VoucherInvalid.condition(format!("channel {name}: {}", voucher.message));
    }
    FundsReserved::WaitingForFunds.condition(format!(
        "channel {name} can cover {} TON, the job reserves {}: top up the channel or raise its voucher",
        available.to_ton_string(),
        wanted.to_ton_string()
    ))
}
