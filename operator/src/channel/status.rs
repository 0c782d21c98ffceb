//! Writes what a channel is worth, by compare-and-swap on its ledger.

use cocoon_api::{
    Bill,
    crd::{InferenceJob, PaymentChannel},
};
use cocoon_core::{
    funds::{Facts, Sight, judge},
    ledger as channel_ledger,
};
use kube::{Api, ResourceExt as _};

use super::Channels;
use crate::{
    error::{Error, Result, describe},
    ledger,
};

/// Judges the channel as it is stored now by the facts that were read, folds finished jobs, and writes the result.
/// Answers the channel as it is afterwards.
pub(super) async fn write(
    channel: &PaymentChannel,
    facts: &Facts,
    shared: &Channels,
) -> Result<Option<PaymentChannel>> {
    let api = shared.api(channel);
    let jobs: Api<InferenceJob> = Api::namespaced(
        shared.ctx.client.clone(),
        &channel.namespace().unwrap_or_default(),
    );
    let redeemed_before = channel
        .status
        .as_ref()
        .map(|status| status.redeemed_nano)
        .unwrap_or_default();
    let in_use = matches!(facts.sight, Sight::InUse(_) | Sight::Unbound);
    ledger::update_with(
        &api,
        &channel.name_any(),
        |stored| shared.passes.done(stored, jobs.clone()),
        |stored, status, done| {
            // The facts are about the specification that was read. And where a settlement raised `redeemed` since, the
            // look at the chain may be the older one. Where the contract has another holder since, that has woken this
            // channel. The next look is never far.
            if stored.metadata.uid != channel.metadata.uid
                || stored.metadata.generation != channel.metadata.generation
                || status.redeemed_nano != redeemed_before
                || shared.ctx.contracts.is_held_by_another(stored) != in_use
            {
                return Ok(false);
            }
            judge(&stored.spec, status, facts)
                .and_then(|standing| {
                    let (generation, now) = (stored.metadata.generation, shared.ctx.now());
                    standing.write(status, generation, now)
                })
                .map_err(|source| Error::Money {
                    object: describe(stored),
                    source,
                })?;
            for uid in done {
                channel_ledger::fold(status, &Bill::job(uid)).map_err(|source| Error::Money {
                    object: describe(stored),
                    source,
                })?;
            }
            Ok(true)
        },
    )
    .await
}
