//! Deletion of a channel's object: claim what is outstanding, within limits, and let go.

use cocoon_api::{
    NanoTon,
    crd::{CocoonProvider, FullName, PaymentChannel, Settlement},
    names::is_object_name,
};
use cocoon_core::{
    funds::{Departure, SETTLE_SECONDS},
    ledger as channel_ledger,
    settlement::{confirmed, pays},
};
use k8s_openapi::jiff::SignedDuration;
use kube::{Api, api::ListParams, runtime::events::EventType};
use tracing::{debug, warn};

use super::{Channels, observe::Seen, plan};
use crate::{
    error::{Error, KubeContext as _, Result, chain, describe},
    events, finalizer, toward,
};

/// How long after its deletion a settled channel waits until the provider's earnings hold what it paid: a dozen of the
/// provider controller's reconciles.
const EARNINGS_LIMIT: SignedDuration = SignedDuration::from_secs(12);

/// Lets a deleted channel go if it may. Answers whether it went.
pub(super) async fn part(channel: &PaymentChannel, seen: &Seen, shared: &Channels) -> Result<bool> {
    if channel.metadata.deletion_timestamp.is_none() {
        return Ok(false);
    }
    // The provider's word comes first: it needs nothing that could be missing.
    let settlements = if plan::is_written_off(channel, seen) {
        Vec::new()
    } else {
        settlements(&pays(channel).namespace, shared).await?
    };
    let departure =
        plan::departure(channel, seen, &settlements, shared.ctx.now()).map_err(|source| Error::Money {
            object: describe(channel),
            source,
        })?;
    match departure {
        None => return Ok(false),
        Some(Departure::Wait(what)) => {
            debug!(channel = describe(channel), "deletion: {what}");
            return Ok(false);
        }
        Some(Departure::Settled) => {
            if !booked(channel, seen, shared).await? {
                return Ok(false);
            }
        }
        Some(Departure::WriteOff { amount, why }) => {
            release(channel, shared).await?;
            record_write_off(channel, amount, why, shared).await;
            return Ok(true);
        }
    }
    release(channel, shared).await?;
    Ok(true)
}

/// Settlements of the provider's namespace, where there can be any.
async fn settlements(namespace: &str, shared: &Channels) -> Result<Vec<Settlement>> {
    if !is_object_name(namespace) || !shared.ctx.config.scope().covers(namespace) {
        return Ok(Vec::new());
    }
    let api: Api<Settlement> = Api::namespaced(shared.ctx.client.clone(), namespace);
    let listed = shared
        .ctx
        .unless_gone(namespace, api.list(&ListParams::default()).await)
        .attempt("list settlements in", namespace)?;
    Ok(listed.map(|listed| listed.items).unwrap_or_default())
}

/// Lets a deleted channel go although it cannot be told what it owes, once it has waited as long as for a settlement.
/// Answers whether it went.
pub(super) async fn give_up(channel: &PaymentChannel, error: &Error, shared: &Channels) -> Result<bool> {
    let Some(deleted_at) = &channel.metadata.deletion_timestamp else {
        return Ok(false);
    };
    if shared.ctx.now().duration_since(deleted_at.0).as_secs() < SETTLE_SECONDS {
        return Ok(false);
    }
    let status = channel.status.clone().unwrap_or_default();
    let owed = channel_ledger::accrued(&status)
        .unwrap_or_default()
        .saturating_sub(status.redeemed_nano);
    release(channel, shared).await?;
    let why = format!(
        "it could not be settled in {} minutes: {}",
        SETTLE_SECONDS / 60,
        chain(error)
    );
    record_write_off(channel, owed, &why, shared).await;
    Ok(true)
}

async fn release(channel: &PaymentChannel, shared: &Channels) -> Result<()> {
    finalizer::remove(&shared.api(channel), channel).await?;
    shared.passes.forget(channel);
    shared.ctx.looks.forget(channel);
    Ok(())
}

/// Only once the object was let go, so that a release which is tried again counts nothing twice.
async fn record_write_off(channel: &PaymentChannel, amount: NanoTon, why: &str, shared: &Channels) {
    warn!(
        channel = describe(channel),
        nano = amount.nano(),
        "written off: {why}"
    );
    shared.ctx.metrics.written_off_nano.inc_by(amount.nano());
    let note = format!(
        "{} TON were metered and are not paid: {why}",
        amount.to_ton_string()
    );
    events::publish(
        &shared.ctx,
        channel,
        EventType::Warning,
        "WrittenOff",
        "Delete",
        note,
    )
    .await;
}

/// Whether the provider's earnings hold what its channels paid, this one included: they are the only record of it once
/// the object is gone. Not waited for beyond [`EARNINGS_LIMIT`], nor where the provider goes as well.
async fn booked(channel: &PaymentChannel, seen: &Seen, shared: &Channels) -> Result<bool> {
    let late = channel
        .metadata
        .deletion_timestamp
        .as_ref()
        .is_none_or(|deleted_at| shared.ctx.now().duration_since(deleted_at.0) > EARNINGS_LIMIT);
    let Some(provider) = seen.provider.as_ref().filter(|provider| !late && stays(provider)) else {
        return Ok(true);
    };
    let own = channel
        .status
        .as_ref()
        .is_some_and(|status| status.redeemed_nano > status.earlier_nano);
    if !own {
        return Ok(true);
    }
    let siblings = toward::channels(&FullName::of(provider), &shared.ctx).await?;
    let earnings = provider
        .status
        .as_ref()
        .map(|status| status.earnings.clone())
        .unwrap_or_default();
    let paid = confirmed(&siblings)
        .and_then(|paid| paid.checked_add(earnings.closed_channels_nano))
        .map_err(|source| Error::Money {
            object: describe(channel),
            source,
        })?;
    Ok(earnings.confirmed_nano >= paid)
}

fn stays(provider: &CocoonProvider) -> bool {
    provider.metadata.deletion_timestamp.is_none()
}
