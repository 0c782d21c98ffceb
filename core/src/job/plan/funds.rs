//! Whose offer a job takes, its budget on the channel, and whether it is covered.

use cocoon_api::{
    NanoTon,
    conditions::{Accepted, Funded, FundsReserved, Observation, Ready, Reason as _, VoucherValid, find},
    crd::{Agreement, FullName, PaymentChannelStatus},
    units::UnitError,
};

use super::{Channel, Draft, Offer, Step, World};
use crate::{
    funds::{Cover, allowance, consents_to_free, not_granted},
    job::validate::Billing,
    ledger::{self, Refusal},
};

/// Why the active attempt of `provider` may not go on; none where it may. Asked at every plan.
pub(super) fn uncovered(world: &World<'_>, provider: &str) -> Result<Option<String>, UnitError> {
    let offer = world.offers.iter().find(|offer| offer.provider == provider);
    let Billing::Channel { name, .. } = &world.job.billing else {
        // Where the offer is gone, its agents are as well.
        let consents = offer.is_none_or(|offer| consents_to_free(offer.allow_free, offer.prices));
        return Ok(
            (!consents).then(|| format!("CocoonProvider {provider} does not offer it for free any more"))
        );
    };
    let Some(channel) = world.channel.filter(|_| !is_channel_gone(world)) else {
        return Ok(Some(format!(
            "the PaymentChannel {name} that held its budget is gone"
        )));
    };
    let covered = cover(channel).may_run(&world.job.bill())?;
    Ok(covered.err().map(|why| format!("channel {name}: {why}")))
}

/// Whether the object that holds the budget is gone; another of its name is not it.
pub(super) fn is_channel_gone(world: &World<'_>) -> bool {
    let held = world.status.channel_uid.as_ref();
    held.is_some_and(|held| world.channel.is_none_or(|channel| channel.uid != *held))
}

fn cover(channel: &Channel) -> Cover<'_> {
    Cover {
        status: &channel.status,
        leaving: channel.deleting,
        seen_at: channel.seen_at,
        now: channel.now,
    }
}

pub(super) fn choose_offer<'a>(world: &'a World<'_>) -> Result<&'a Offer, Observation> {
    let model = &world.job.model;
    let agreed = world
        .status
        .agreed
        .as_ref()
        .map(|agreed| agreed.provider.as_str());
    let asked = world.job.provider.as_deref();
    let named = match (&world.job.billing, world.channel) {
        (Billing::Free, _) => agreed.or(asked),
        (Billing::Channel { name, .. }, None) => {
            return Err(Accepted::ChannelNotFound.condition(format!("PaymentChannel {name} does not exist")));
        }
        (Billing::Channel { name, .. }, Some(channel)) => {
            if let Some(asked) = asked.filter(|asked| *asked != channel.provider) {
                return Err(Accepted::ProviderMismatch.condition(format!(
                    "spec.providerRef is CocoonProvider {asked}, and channel {name} pays {}: make a job that names one of them",
                    channel.provider
                )));
            }
            Some(channel.provider.as_str())
        }
    };
    if let Some(named) = named.filter(|named| is_closed_to(world, named)) {
        return Err(Accepted::ProviderNotGranted.condition(not_granted(named)));
    }
    let mut offering: Vec<&Offer> = world
        .offers
        .iter()
        .filter(|offer| offer.granted && offer.model_sha256.is_some())
        .filter(|offer| match named {
            Some(name) => offer.provider == name,
            None => !FullName::is_elsewhere(&offer.provider),
        })
        .collect();
    if world.job.billing == Billing::Free && !offering.is_empty() {
        offering.retain(|offer| consents_to_free(offer.allow_free, offer.prices));
        if offering.is_empty() {
            return Err(Accepted::FreeNotOffered.condition(format!(
                "billing.mode is Free, and no provider in this namespace offers model {model} for free: pay with a channel, or \
                 have a provider set allowFree"
            )));
        }
    }
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

/// Whether a provider of another namespace is not the job's to use. One that does not exist is no other case: nobody
/// learns by a reference what there is in a namespace that is closed to them.
fn is_closed_to(world: &World<'_>, provider: &str) -> bool {
    let mut offers = world.offers.iter();
    FullName::is_elsewhere(provider) && !offers.any(|offer| offer.provider == provider && offer.granted)
}

/// `Some` step where funds are not yet reserved.
pub(super) fn reserve(
    world: &World<'_>,
    offer: &Offer,
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
    let (step, total) = (world.job.step, world.job.input.total);
    let budget = &allowance(*budget, step, world.landing.nano()?, total);
    // What was metered on the object that held the budget stays there: with attempts behind it, a job changes to no
    // other.
    if world.status.assignments.is_empty() {
        draft.channel_uid = None;
    }
    if channel.deleting {
        draft.say(FundsReserved::ChannelNotReady.condition(format!("channel {name} is being deleted")));
        return Ok(Some(Step::Release));
    }
    if let Some(why) = &offer.unpayable {
        draft.say(
            FundsReserved::ChannelNotReady
                .condition(format!("CocoonProvider {} cannot be paid: {why}", offer.provider)),
        );
        return Ok(Some(Step::Wait));
    }
    if ledger::reserved(&channel.status, &world.job.bill()).is_some_and(|held| held >= *budget) {
        draft.channel_uid = Some(channel.uid.clone());
        if let Err(why) = cover(channel).may_start(&world.job.bill())? {
            draft.say(FundsReserved::NotCovered.condition(format!("channel {name}: {why}")));
            return Ok(Some(Step::Wait));
        }
        if !has_place(channel) {
            draft.say(FundsReserved::ChannelNotReady.condition(format!(
                "the ledger of channel {name} has no place for the usage of one more attempt until its jobs are settled"
            )));
            return Ok(Some(Step::Wait));
        }
        draft.say(reserved(name, *budget));
        return Ok(None);
    }
    let mut trial = channel.status.clone();
    let step = match ledger::reserve(&mut trial, &world.job.bill(), &world.job.name, *budget)? {
        Ok(()) => {
            draft.say(FundsReserved::WaitingForFunds.condition(format!(
                "reserving {} TON on channel {name}",
                budget.to_ton_string()
            )));
            Step::Reserve {
                channel: name.clone(),
                uid: channel.uid.clone(),
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
            draft.say(
                paused(world, name, available, wanted)
                    .unwrap_or_else(|| shortfall(name, channel, available, wanted)),
            );
            Step::Wait
        }
    };
    Ok(Some(step))
}

/// What is said as long as the budget is held: the same words, so that they are written once.
pub(super) fn reserved(channel: &str, budget: NanoTon) -> Observation {
    FundsReserved::Reserved.condition(format!(
        "{} TON are reserved on channel {channel}",
        budget.to_ton_string()
    ))
}

/// Whether what one more attempt delivers can be metered.
///
/// Each attempt becomes one counter. Every reservation stands for the counter of its job's attempt that runs or comes
/// next, a job runs one attempt at a time, and none starts but while counters and reservations together fit. So what
/// runs always finds its place: between two starts, counters only take the places that were held for them.
fn has_place(channel: &Channel) -> bool {
    channel.status.counters.len() + channel.status.reservations.len() <= ledger::MAX_COUNTERS
}

/// Where a job is paid step by step and everything else is in order, that the next step has not been signed for.
fn paused(world: &World<'_>, name: &str, available: NanoTon, wanted: NanoTon) -> Option<Observation> {
    let step = world.job.step?;
    let status = &world.channel?.status;
    let ended = world.landing.succeeded() + world.landing.failed();
    conditions_hold(status).then(|| {
        FundsReserved::WaitingForFunds.condition(format!(
            "paused after {ended} of {} requests: the voucher of channel {name} does not cover the next {step} yet; of {} TON in all, \
             {} are covered",
            world.job.input.total,
            wanted.to_ton_string(),
            available.to_ton_string()
        ))
    })
}

fn conditions_hold(status: &PaymentChannelStatus) -> bool {
    find(&status.conditions, Ready::TYPE).is_some_and(|ready| ready.status == "True")
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
    if let Some(ready) = broken(Ready::TYPE) {
        return FundsReserved::ChannelNotReady.condition(format!("channel {name}: {}", ready.message));
    }
    FundsReserved::WaitingForFunds.condition(format!(
        "channel {name} can cover {} TON, the job reserves {}: top up the channel or raise its voucher",
        available.to_ton_string(),
        wanted.to_ton_string()
    ))
}
