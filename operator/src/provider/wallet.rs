//! Holds the wallet's Secret back from deletion until what its key must still claim is claimed:
//! `kubectl delete namespace` takes Secrets first.

use cocoon_api::{
    NanoTon,
    crd::{CocoonProvider, FullName},
    names::is_object_name,
};
use cocoon_core::{funds::SETTLE_SECONDS, settlement::still_claimable};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _, api::ListParams};

use super::Providers;
use crate::{
    error::{Error, KubeContext as _, Result, describe},
    finalizer, toward,
};

/// Puts the finalizer on the Secret that the provider names, and takes it from the one that it named before. Answers
/// the name of the one that carries it.
///
/// One that is being deleted is let go once nothing can be claimed, and after ten minutes in any case.
pub(super) async fn hold(provider: &CocoonProvider, providers: &Providers) -> Result<Option<String>> {
    let held = provider
        .status
        .as_ref()
        .and_then(|status| status.held_secret.as_ref());
    let name = &provider.spec.payout.wallet_secret_ref.name;
    if let Some(held) = held.filter(|held| *held != name) {
        release(provider, held, providers).await?;
    }
    let Some(secret) = read(provider, name, providers).await? else {
        return Ok(None);
    };
    let secrets = secrets(provider, providers);
    let Some(deleted_at) = &secret.metadata.deletion_timestamp else {
        return Ok(finalizer::ensure(&secrets, &secret).await?.map(|_| name.clone()));
    };
    let age = providers.ctx.now().duration_since(deleted_at.0).as_secs();
    if age >= SETTLE_SECONDS || !owes(provider, providers).await? {
        finalizer::remove(&secrets, &secret).await?;
        return Ok(None);
    }
    Ok(Some(name.clone()))
}

/// Lets go of the Secret, unless another provider of the namespace names it.
pub(super) async fn release(provider: &CocoonProvider, name: &str, providers: &Providers) -> Result<()> {
    let namespace = provider.namespace().unwrap_or_default();
    let others = Api::<CocoonProvider>::namespaced(providers.ctx.client.clone(), &namespace)
        .list(&ListParams::default())
        .await
        .attempt("list providers in", &namespace)?;
    let is_shared = others.items.iter().any(|other| {
        other.metadata.uid != provider.metadata.uid && other.spec.payout.wallet_secret_ref.name == name
    });
    if is_shared {
        return Ok(());
    }
    match read(provider, name, providers).await? {
        Some(secret) => finalizer::remove(&secrets(provider, providers), &secret).await,
        None => Ok(()),
    }
}

/// Whether channels toward the provider, or toward another of this namespace with the same wallet, can still be
/// claimed.
async fn owes(provider: &CocoonProvider, providers: &Providers) -> Result<bool> {
    let namespace = provider.namespace().unwrap_or_default();
    let mut channels = Vec::new();
    for sibling in providers.ctx.watches.providers.in_namespace(&namespace) {
        channels.extend(toward::channels(&FullName::of(&*sibling), &providers.ctx).await?);
    }
    let own = providers.ctx.now().as_second();
    let now = providers.ctx.looks.later_of(own, &channels);
    let redeem_fee = providers.ctx.networks.last_redeem_fee(&provider.spec.payout);
    for channel in &channels {
        let claimable = still_claimable(channel, redeem_fee, now).map_err(|source| Error::Money {
            object: describe(channel),
            source,
        })?;
        if claimable > NanoTon::ZERO {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn read(provider: &CocoonProvider, name: &str, providers: &Providers) -> Result<Option<Secret>> {
    if !is_object_name(name) {
        return Ok(None);
    }
    secrets(provider, providers)
        .get_opt(name)
        .await
        .attempt("read Secret", name)
}

fn secrets(provider: &CocoonProvider, providers: &Providers) -> Api<Secret> {
    Api::namespaced(
        providers.ctx.client.clone(),
        &provider.namespace().unwrap_or_default(),
    )
}
