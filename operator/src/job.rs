//! The job controller: takes an `InferenceJob` from acceptance to settled.
//!
//! RBAC it needs, each with its reason:
//! - inferencejobs: get, list, watch, update (finalizers), inferencejobs/status: patch — the kind it owns;
//!   delete — `ttlSecondsAfterFinished`;
//! - cocoonproviders, paymentchannels, settlements: get, list, watch — who serves, who pays, what is paid;
//! - paymentchannels/status: update — reservations and counters, by compare-and-swap;
//! - configmaps: get — `input.configMapRef`;
//! - secrets: get, create, update — `input.secretRef`, and the results that it writes;
//! - pods: get, list, watch — agents; delete — fencing an agent that does not answer;
//! - events: create, patch — end states.

mod apply;
mod deletion;
mod follow;
mod observe;
mod retention;
mod status;

use std::{sync::Arc, time::Duration};

use cocoon_api::{
    crd::{CocoonProvider, InferenceJob, PaymentChannel, Settlement},
    names,
};
use cocoon_core::job::{plan, validate};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    runtime::{
        Controller, WatchStreamExt as _,
        controller::Action,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    dispatch::{Dispatcher, Unreadable},
    error::{self, Error, Result},
    reconcile::{KUBERNETES_LIMIT, Reconciles},
};

/// Jobs reconciled at once: each waits for the API server most of the time.
const CONCURRENCY: u16 = 16;
/// Changes of one job within this time are reconciled once.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// A job that waits is looked at again after this time, whatever events were missed: an agent whose volumes are not set up in
/// time sends none.
const WAITING_INTERVAL: Duration = Duration::from_secs(15);
/// While the garbage collector removes the results of an earlier job of the name, which takes it about a second.
const EARLIER_RESULTS_INTERVAL: Duration = Duration::from_millis(500);
/// A step that changed something is followed up at once, bounded by the debounce.
const NEXT_STEP: Duration = Duration::from_millis(50);
/// How its reconciles are run.
const RECONCILES: Reconciles = Reconciles {
    kind: "InferenceJob",
    limit: KUBERNETES_LIMIT,
};

/// What the job controller needs beside the shared context.
pub struct Jobs {
    ctx: Arc<Context>,
    dispatcher: Arc<Dispatcher>,
    store: Store<InferenceJob>,
    settlements: Settlements,
}

/// Settlements in memory, without their messages: every job that waits to be paid looks through them.
struct Settlements {
    store: Store<Settlement>,
    /// A store wakes only the last of those that wait for it: one waits, and the others for that one.
    is_ready: OnceCell<bool>,
}

impl Settlements {
    /// All of the namespace; none before they were read for the first time, which is waited for.
    async fn in_namespace(&self, namespace: &str) -> Result<Vec<Arc<Settlement>>> {
        let fill = || async { self.store.wait_until_ready().await.is_ok() };
        if !*self.is_ready.get_or_init(fill).await {
            return Err(Error::Incomplete {
                object: format!("the watch of settlements in {namespace}"),
                field: "watcher, because the operator stops",
            });
        }
        Ok(self
            .store
            .state_filter(|settlement| settlement.metadata.namespace.as_deref() == Some(namespace)))
    }
}

/// Runs the controller until `stop`.
pub async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let (dispatcher, news) = Dispatcher::new(stop.child_token());
    let config = watcher::Config::default();
    let controller = Controller::new(ctx.api_all::<InferenceJob>(), config.clone()).with_config(
        kube::runtime::controller::Config::default()
            .concurrency(CONCURRENCY)
            .debounce(DEBOUNCE),
    );
    let store = controller.store();
    let (settlements, writer) = reflector::store();
    let settled = watcher(ctx.api_all::<Settlement>(), config.clone())
        .default_backoff()
        .modify(|settlement| {
            settlement.spec.message.clear();
            settlement.metadata.managed_fields = None;
        })
        .reflect(writer)
        .touched_objects();
    let (for_providers, for_channels, for_pods) = (store.clone(), store.clone(), store.clone());
    let jobs = Arc::new(Jobs {
        ctx: ctx.clone(),
        dispatcher,
        store,
        settlements: Settlements {
            store: settlements,
            is_ready: OnceCell::new(),
        },
    });
    let agents =
        watcher::Config::default().labels(&format!("{}={}", names::COMPONENT_LABEL, names::AGENT_COMPONENT));
    controller
        .reconcile_on(news)
        .watches(ctx.api_all::<CocoonProvider>(), config.clone(), move |provider| {
            waiting(&for_providers, &provider.namespace().unwrap_or_default(), |job| {
                job.status.as_ref().is_none_or(|status| {
                    status.provider.is_none() || status.provider.as_ref() == provider.metadata.name.as_ref()
                })
            })
        })
        .watches(ctx.api_all::<PaymentChannel>(), config, move |channel| {
            waiting(&for_channels, &channel.namespace().unwrap_or_default(), |job| {
                job.spec.billing.channel_ref.as_ref().map(|channel| &channel.name)
                    == channel.metadata.name.as_ref()
            })
        })
        .watches_stream(settled, |settlement: Settlement| {
            let namespace = settlement.namespace().unwrap_or_default();
            let covered = settlement.spec.redeems.iter().flat_map(|redeem| &redeem.jobs);
            covered
                .map(|job| ObjectRef::new(&job.name).within(&namespace))
                .collect::<Vec<_>>()
        })
        .watches(ctx.api_all::<Pod>(), agents, move |pod| {
            let provider = pod.labels().get(names::PROVIDER_LABEL).cloned();
            waiting(&for_pods, &pod.namespace().unwrap_or_default(), |job| {
                job.status
                    .as_ref()
                    .is_some_and(|status| status.provider == provider)
            })
        })
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile_within, on_error, jobs)
        .for_each(|_| std::future::ready(()))
        .await;
}

/// Jobs of the namespace that have not ended and that `concerned` holds for.
fn waiting(
    jobs: &Store<InferenceJob>,
    namespace: &str,
    concerned: impl Fn(&InferenceJob) -> bool,
) -> Vec<ObjectRef<InferenceJob>> {
    jobs.state()
        .into_iter()
        .filter(|job| {
            job.metadata.namespace.as_deref() == Some(namespace) && !status::is_ended(job) && concerned(job)
        })
        .map(|job| ObjectRef::from_obj(job.as_ref()))
        .collect()
}

async fn reconcile_within(job: Arc<InferenceJob>, jobs: Arc<Jobs>) -> Result<Action> {
    RECONCILES
        .run(&jobs.ctx.metrics, Box::pin(reconcile(&job, &jobs)))
        .await
}

/// Observe, validate, plan, apply, status.
async fn reconcile(job: &InferenceJob, jobs: &Jobs) -> Result<Action> {
    let Some(job) = deletion::live(job, jobs).await? else {
        return Ok(Action::await_change());
    };
    if status::is_ended(&job) {
        return retention::keep_or_delete(&job, jobs).await;
    }
    let seen = match observe::observe(&job, jobs).await {
        Err(Error::Results { source }) => {
            let rejected = status::reject(&job, &observe::unusable(&source), jobs).await?;
            return Ok(match source {
                Unreadable::Earlier { .. } => Action::requeue(EARLIER_RESULTS_INTERVAL),
                Unreadable::Foreign { .. } | Unreadable::Damaged { .. } => rejected,
            });
        }
        seen => seen?,
    };
    let valid = match validate::validate(&job, &seen.input) {
        Ok(valid) => valid,
        Err(rejection) => return status::reject(&job, &rejection, jobs).await,
    };
    let plan = plan::plan(&seen.world(&valid)).map_err(|source| Error::Money {
        object: error::describe(&job),
        source,
    })?;
    let applied = apply::apply(&job, &valid, &seen, &plan, jobs).await?;
    status::write(&job, &valid, &seen, &plan, &applied, jobs).await?;
    Ok(Action::requeue(if applied.is_progress() {
        NEXT_STEP
    } else {
        WAITING_INTERVAL
    }))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that the controller calls"
)]
fn on_error(job: Arc<InferenceJob>, error: &Error, jobs: Arc<Jobs>) -> Action {
    RECONCILES.failed(&jobs.ctx.metrics, job.as_ref(), error)
}

impl Jobs {
    fn api(&self, job: &InferenceJob) -> Api<InferenceJob> {
        Api::namespaced(self.ctx.client.clone(), &job.namespace().unwrap_or_default())
    }
}
