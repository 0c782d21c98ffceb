//! The provider controller: keeps as many agents of each model as there is work for, and says how an offer fares.
//!
//! It makes, for each `CocoonProvider`: a Deployment and a `PodDisruptionBudget` for each model, one `NetworkPolicy`,
//! and one Secret with the authority that agents trust. It alone writes `CocoonProvider.status`.
//!
//! RBAC it needs, each with its reason. In the whole cluster, or in the watched namespace where nothing else is said:
//! - cocoonproviders: get, list, watch — the kind it owns; patch — the finalizer;
//!   cocoonproviders/finalizers: update — owner references that block deletion;
//!   cocoonproviders/status: patch — the status;
//! - inferencejobs, paymentchannels, settlements: get, list, watch — demand, earnings, what is owed at deletion;
//! - nodes: get, list, watch, always in the whole cluster — which GPUs exist;
//! - pods: get, list, watch, always in the whole cluster — which GPUs are taken, by whomever, and where agents stand;
//!   get — what an agent runs, when it is recognised; delete — an agent whose GPU is lost, so that another pod gets a
//!   healthy one, and pods that their node rejected; get, create, delete — downloads of models;
//! - deployments (apps): get, list, watch, create, patch, delete — agents;
//!   replicasets: get — whose an agent's pod is;
//! - tokenreviews (authentication.k8s.io): create, always in the whole cluster — which pod an agent's process is of;
//! - poddisruptionbudgets (policy): get, create, patch, delete — one agent of a model is moved at a time;
//! - networkpolicies (networking.k8s.io): get, create, patch — only the operator reaches agents, and agents reach
//!   nobody;
//! - secrets: get — what the agents trust, and the wallet's Secret;
//!   create, patch — what the agents trust; patch — the finalizer of the wallet's Secret;
//! - secrets in the operator's own namespace: get, create, update — the authority of the operator's certificate;
//! - events (events.k8s.io): create, patch — what was written off at deletion.

mod apply;
mod children;
mod copies;
mod deletion;
mod downloads;
mod figures;
mod naming;
mod observe;
mod payments;
mod plan;
mod status;
mod validate;
mod waiting;
mod wallet;
mod wanted;
mod watch;

use std::{sync::Arc, time::Duration};

use cocoon_api::crd::CocoonProvider;
use futures::{StreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, ResourceExt as _,
    runtime::{
        Controller,
        controller::{self, Action},
    },
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

pub(crate) use wanted::wanted;

use crate::{
    context::Context,
    error::{self, Error, Result},
    finalizer,
    reconcile::{KUBERNETES_LIMIT, Reconciles},
    watch::Wakes,
};

/// Providers reconciled at once. A farm has a handful; each waits for the API server most of the time.
const CONCURRENCY: u16 = 4;
/// Changes within this time are reconciled once: short beside the seconds that an agent takes to start.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// A provider is looked at again after this time, whatever events were missed; the authority and children that
/// somebody else changed are put right then.
const RESYNC: Duration = Duration::from_mins(5);
/// Wallet and chain send no events, nor does an agent whose volumes are not set up in time: they are looked at this
/// often. A Secret that was mended or an endpoint that answers again is seen while its owner still watches.
const PAYMENTS_INTERVAL: Duration = Duration::from_secs(15);
/// How its reconciles are run.
const RECONCILES: Reconciles = Reconciles {
    kind: "CocoonProvider",
    limit: KUBERNETES_LIMIT,
};

/// What the provider controller needs beside the shared context.
struct Providers {
    ctx: Arc<Context>,
    applied: apply::Applied,
    answers: figures::Answers,
    downloads: downloads::Downloads,
}

/// Runs the controller until `stop`.
pub async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let wakes = Arc::new(Wakes::default());
    watch::listen(&ctx.watches, &wakes);
    let controller = Controller::for_stream(stream::pending(), ctx.watches.providers.reader()).with_config(
        controller::Config::default()
            .concurrency(CONCURRENCY)
            .debounce(DEBOUNCE),
    );
    let downloads = match downloads::Downloads::new() {
        Ok(downloads) => downloads,
        Err(error) => {
            error!(
                error = error::chain(&error),
                "cannot make an HTTP client; the provider controller does not run"
            );
            return;
        }
    };
    let applied = apply::Applied::default();
    let providers = Arc::new(Providers {
        ctx,
        applied,
        answers: figures::Answers::default(),
        downloads,
    });
    controller
        .reconcile_on(wakes.stream())
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile_within, on_error, providers)
        .for_each(|result| {
            if let Err(error) = result {
                debug!(error = error::chain(&error), "controller");
            }
            std::future::ready(())
        })
        .await;
}

async fn reconcile_within(provider: Arc<CocoonProvider>, providers: Arc<Providers>) -> Result<Action> {
    RECONCILES
        .run(&providers.ctx.metrics, Box::pin(reconcile(&provider, &providers)))
        .await
}

/// Observe, validate, plan, apply, status.
async fn reconcile(provider: &CocoonProvider, providers: &Providers) -> Result<Action> {
    if provider.metadata.deletion_timestamp.is_some() {
        return match deletion::depart(provider, providers).await {
            Err(error) => deletion::give_up(provider, error, providers).await,
            done => done,
        };
    }
    let Some(provider) = finalizer::ensure(&providers.api(provider), provider).await? else {
        return Ok(Action::await_change());
    };
    let seen = observe::observe(&provider, providers).await?;
    let valid = match validate::validate(&provider) {
        Ok(valid) => valid,
        Err(invalid) => return status::reject(&provider, &invalid, &seen, providers).await,
    };
    let plan = plan::plan(&valid, &seen, &providers.ctx.config);
    let children = apply::apply(&valid, &plan, &seen, providers).await?;
    let refused = downloads::apply(&valid, &plan, providers).await?;
    let children = refused.filter(|_| children.status).unwrap_or(children);
    let held = wallet::hold(&provider, providers).await?;
    status::write(&provider, &valid, &plan, &seen, children, held, providers).await?;
    let next = until(plan.placement.next_change, seen.now).min(PAYMENTS_INTERVAL);
    let downloads = (!seen.downloads.is_empty()).then(|| seen.now + downloads::INTERVAL);
    Ok(Action::requeue(next.min(until(downloads, seen.now))))
}

/// Until `time`, and not longer than [`RESYNC`].
fn until(time: Option<Timestamp>, now: Timestamp) -> Duration {
    let left = time.map_or(RESYNC, |time| {
        Duration::try_from(time.duration_since(now)).unwrap_or_default()
    });
    left.min(RESYNC)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that the controller calls"
)]
fn on_error(provider: Arc<CocoonProvider>, error: &Error, providers: Arc<Providers>) -> Action {
    RECONCILES.failed(&providers.ctx.metrics, provider.as_ref(), error)
}

impl Providers {
    fn api(&self, provider: &CocoonProvider) -> Api<CocoonProvider> {
        Api::namespaced(self.ctx.client.clone(), &provider.namespace().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
