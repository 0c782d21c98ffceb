//! A provider that goes: its agents first, then what it is owed, then itself. It never hangs.

use cocoon_api::{
    crd::{CocoonProvider, FullName, InferenceJob, Settlement, job::AssignmentState},
    names,
};
use cocoon_core::placement::{
    demand,
    departure::{self, Departing, Departure, Dues},
};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Secret},
    jiff::Timestamp,
};
use kube::{
    Api, ResourceExt as _,
    api::ListParams,
    runtime::{controller::Action, events::EventType},
};

use super::{Providers, apply, status, until, wallet};
use crate::{
    error::{Error, KubeContext as _, Result, chain, describe},
    events, finalizer, toward,
};

pub(super) async fn depart(provider: &CocoonProvider, providers: &Providers) -> Result<Action> {
    let (name, namespace) = (provider.name_any(), provider.namespace().unwrap_or_default());
    if !provider
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == names::SETTLEMENT_FINALIZER)
    {
        return Ok(Action::await_change());
    }
    delete_agents(providers, &name, &namespace).await?;
    let departing = if is_abandoned(provider) {
        // The provider's own word comes first: it needs nothing that could be missing.
        Departing::abandoned(since(provider)?)
    } else {
        departing(provider, providers, &name, &namespace).await?
    };
    let now = providers.ctx.now();
    match departure::depart(departing, now) {
        Departure::Wait {
            until: limit,
            message,
        } => {
            status::departing(provider, &message, providers).await?;
            return Ok(Action::requeue(until(Some(limit), now)));
        }
        Departure::Settled => release(provider, providers).await?,
        Departure::WriteOff {
            unsettled: _,
            message,
        } => {
            release(provider, providers).await?;
            record_write_off(provider, providers, message).await;
        }
    }
    Ok(Action::await_change())
}

async fn delete_agents(providers: &Providers, name: &str, namespace: &str) -> Result<()> {
    let client = &providers.ctx.client;
    // Read afresh: memory may not yet know a Deployment that the last reconcile made.
    let ours = ListParams::default().labels(&format!(
        "{}={name},{}={}",
        names::PROVIDER_LABEL,
        names::MANAGED_BY_LABEL,
        names::FIELD_MANAGER
    ));
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let deployments = api.list(&ours).await.attempt("list Deployments in", namespace)?;
    for deployment in deployments
        .items
        .iter()
        .filter(|deployment| deployment.metadata.deletion_timestamp.is_none())
    {
        apply::delete_agents(client, namespace, &deployment.name_any()).await?;
    }
    Ok(())
}

async fn departing(
    provider: &CocoonProvider,
    providers: &Providers,
    name: &str,
    namespace: &str,
) -> Result<Departing> {
    let client = || providers.ctx.client.clone();
    let everything = ListParams::default();
    let since = since(provider)?;
    let wallet = &provider.spec.payout.wallet_secret_ref.name;
    let has_wallet = names::is_object_name(wallet)
        && Api::<Secret>::namespaced(client(), namespace)
            .get_metadata_opt(wallet)
            .await
            .attempt("read", format!("Secret {wallet}.{namespace}"))?
            .is_some();
    let full_name = FullName::new(namespace, name);
    let channels = toward::channels(&full_name, &providers.ctx).await?;
    let settlements: Vec<Settlement> = Api::namespaced(client(), namespace)
        .list(&everything)
        .await
        .attempt("list settlements in", namespace)?
        .items;
    let jobs = providers.ctx.watches.jobs.state();
    let is_ours = |job: &InferenceJob| demand::chosen(job).as_ref() == Some(&full_name);
    let running = jobs.iter().filter(|job| is_ours(job) && is_active(job)).count();
    let chain_now = providers
        .ctx
        .looks
        .later_of(providers.ctx.now().as_second(), &channels);
    let redeem_fee = providers.ctx.networks.last_redeem_fee(&provider.spec.payout);
    let dues = Dues::of(
        &full_name,
        &channels,
        &settlements,
        running,
        redeem_fee,
        chain_now,
    )
    .map_err(|source| Error::Money {
        object: describe(provider),
        source,
    })?;
    Ok(Departing {
        since,
        abandoned: false,
        has_wallet,
        dues,
    })
}

fn is_abandoned(provider: &CocoonProvider) -> bool {
    provider
        .annotations()
        .get(names::ABANDON_ANNOTATION)
        .is_some_and(|value| value == "true")
}

fn since(provider: &CocoonProvider) -> Result<Timestamp> {
    let deleted_at = provider.metadata.deletion_timestamp.as_ref();
    deleted_at.map(|at| at.0).ok_or_else(|| Error::Incomplete {
        object: describe(provider),
        field: "deletionTimestamp",
    })
}

/// Lets a deleted provider go although it cannot be told what it owes, once it has waited as long as for a settlement;
/// until then the error is tried again.
pub(super) async fn give_up(
    provider: &CocoonProvider,
    error: Error,
    providers: &Providers,
) -> Result<Action> {
    if providers.ctx.now().duration_since(since(provider)?) < departure::CONFIRM_LIMIT {
        return Err(error);
    }
    release(provider, providers).await?;
    let message = format!("it is not known what is owed: {}", chain(&error));
    record_write_off(provider, providers, message).await;
    Ok(Action::await_change())
}

/// Whether an agent of the job may still hand over what it used.
pub(super) fn is_active(job: &InferenceJob) -> bool {
    let assignments = job.status.iter().flat_map(|status| &status.assignments);
    assignments
        .into_iter()
        .any(|assignment| assignment.state == AssignmentState::Active)
}

async fn release(provider: &CocoonProvider, providers: &Providers) -> Result<()> {
    let secrets = [
        Some(&provider.spec.payout.wallet_secret_ref.name),
        provider
            .status
            .as_ref()
            .and_then(|status| status.held_secret.as_ref()),
    ];
    for secret in secrets.into_iter().flatten() {
        wallet::release(provider, secret, providers).await?;
    }
    finalizer::remove(&providers.api(provider), provider).await?;
    let (name, namespace) = (provider.name_any(), provider.namespace().unwrap_or_default());
    providers.applied.forget(&namespace, &name);
    let conditions = provider
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    providers
        .ctx
        .metrics
        .forget_provider(&namespace, &name, conditions);
    Ok(())
}

/// An Event alone: the amount is counted where it is given up for good, when the channels that owe it go.
async fn record_write_off(provider: &CocoonProvider, providers: &Providers, message: String) {
    let ctx = &providers.ctx;
    events::publish(ctx, provider, EventType::Warning, "WrittenOff", "Delete", message).await;
}
