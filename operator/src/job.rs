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

mod certificates;
mod context;
mod input;
mod observe;

mod follow;

mod apply;
mod deletion;
mod retention;
mod status;
mod sweep;

use std::{collections::HashSet, sync::Arc, time::Duration};

use cocoon_api::{
    crd::{CocoonProvider, InferenceJob, PaymentChannel, Settlement},
    names,
};
use cocoon_core::job::{plan, validate};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt as _,
    runtime::{
        Controller, WatchStreamExt as _,
        controller::{self, Action},
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use certificates::Certificates;
use context::{Jobs, Settlements, WAITING_INTERVAL};

use crate::{
    context::Context,
    dispatch::{Dispatcher, Unreadable},
    error::{self, Error, Result},
    pages::PAGE,
    reconcile::{KUBERNETES_LIMIT, Reconciles},
};

/// Jobs reconciled at once: each waits for the API server most of the time.
const CONCURRENCY: u16 = 16;
/// Changes of one job within this time are reconciled once.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// While the garbage collector removes the results of an earlier job of the name, which takes it about a second.
const EARLIER_RESULTS_INTERVAL: Duration = Duration::from_millis(500);
/// A step that changed something is followed up at once, bounded by the debounce.
const NEXT_STEP: Duration = Duration::from_millis(50);
/// How its reconciles are run.
const RECONCILES: Reconciles = Reconciles {
    kind: "InferenceJob",
    limit: KUBERNETES_LIMIT,
};

/// Runs the controller until `stop`.
pub async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let (dispatcher, news) = Dispatcher::new(stop.child_token());
    let config = watcher::Config::default().page_size(PAGE);
    let (store, writer) = reflector::store();
    let own = watcher(ctx.api_all::<InferenceJob>(), config.clone())
        .default_backoff()
        .modify(without_input)
        .reflect(writer);
    let own = tell_of_the_gone(own, dispatcher.clone(), store.clone()).applied_objects();
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
        store: store.clone(),
        settlements: Settlements::new(settlements),
        certificates: Certificates::default(),
    });
    let sweeps = tokio::spawn(sweep::run(jobs.clone(), stop.child_token()));
    let agents = config
        .clone()
        .labels(&format!("{}={}", names::COMPONENT_LABEL, names::AGENT_COMPONENT));
    Controller::for_stream(own, store)
        .with_config(
            controller::Config::default()
                .concurrency(CONCURRENCY)
                .debounce(DEBOUNCE),
        )
        .reconcile_on(news)
        .watches(ctx.api_all::<CocoonProvider>(), config.clone(), move |provider| {
            let namespace = provider.namespace().unwrap_or_default();
            waiting(&for_providers, &namespace, |job| {
                let serves = job.status.as_ref().and_then(|status| status.provider.as_ref());
                serves.is_none() || serves == provider.metadata.name.as_ref()
            })
        })
        .watches(ctx.api_all::<PaymentChannel>(), config, move |channel| {
            let namespace = channel.namespace().unwrap_or_default();
            waiting(&for_channels, &namespace, |job| {
                let pays = job.spec.billing.channel_ref.as_ref().map(|channel| &channel.name);
                pays == channel.metadata.name.as_ref()
            })
        })
        .watches_stream(settled, covered)
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
        .for_each(|reconciled| {
            // A reconcile's own failures are told where they are handled.
            if let Err(controller::Error::QueueError(error)) = reconciled {
                warn!(
                    error = error::chain(&error),
                    "a watch for jobs failed; it is begun again"
                );
            }
            std::future::ready(())
        })
        .await;
    sweeps.abort();
}

/// Jobs that a settlement pays.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that the controller calls"
)]
fn covered(settlement: Settlement) -> Vec<ObjectRef<InferenceJob>> {
    let namespace = settlement.namespace().unwrap_or_default();
    let jobs = settlement.spec.redeems.iter().flat_map(|redeem| &redeem.jobs);
    jobs.map(|job| ObjectRef::new(&job.name).within(&namespace))
        .collect()
}

/// What is kept of a job in memory: nothing that its author can make large. The input is read again where it is needed, and
/// of the finalizers only our own tells anything.
pub fn without_input(job: &mut InferenceJob) {
    job.spec.input.inline = None;
    let metadata = &mut job.metadata;
    metadata.managed_fields = None;
    metadata.annotations = None;
    metadata.labels = None;
    metadata.owner_references = None;
    if let Some(finalizers) = &mut metadata.finalizers {
        finalizers.retain(|name| name == names::SETTLEMENT_FINALIZER);
        finalizers.shrink_to_fit();
    }
}

/// Has attempts stopped whose job is gone, although its finalizer was to hold it: somebody took that away.
fn tell_of_the_gone(
    own: impl Stream<Item = watcher::Result<watcher::Event<InferenceJob>>>,
    dispatcher: Arc<Dispatcher>,
    store: Store<InferenceJob>,
) -> impl Stream<Item = watcher::Result<watcher::Event<InferenceJob>>> {
    own.inspect(move |event| match event {
        Ok(watcher::Event::Delete(job)) => dispatcher.vanished(&job.uid().unwrap_or_default()),
        // A watch that was interrupted does not tell what went meanwhile.
        Ok(watcher::Event::InitDone) => {
            let there: HashSet<String> = store.state().iter().filter_map(|job| job.uid()).collect();
            dispatcher.keep_only(|uid| there.contains(uid));
        }
        _ => {}
    })
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
            job.metadata.namespace.as_deref() == Some(namespace) && !job.is_ended() && concerned(job)
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
    if job.is_ended() {
        return retention::keep_or_delete(&job, jobs).await;
    }
    let seen = match observe::observe(&job, jobs).await {
        Err(Error::Results { source }) => {
            status::wait(&job, &observe::unusable(&source), jobs).await?;
            return Ok(Action::requeue(match source {
                Unreadable::Earlier { .. } => EARLIER_RESULTS_INTERVAL,
                Unreadable::Foreign { .. } | Unreadable::Damaged { .. } => WAITING_INTERVAL,
            }));
        }
        seen => seen?,
    };
    let valid = validate::validate(&job, &seen.input);
    let plan = match &valid {
        Ok(valid) => plan::plan(&seen.world(valid)).map_err(|source| Error::Money {
            object: error::describe(&job),
            source,
        })?,
        Err(rejection) => plan::reject(rejection, &seen.status, seen.known.following),
    };
    let valid = valid.ok();
    let applied = apply::apply(&job, valid.as_ref(), &seen, &plan, jobs).await?;
    let input = valid.map(|valid| valid.input);
    status::write(&job, input, &seen, &plan, &applied, jobs).await?;
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

#[cfg(test)]
mod tests;
