//! The channel controller: reads a channel's contract, verifies its voucher, and says what jobs may reserve on it.
//!
//! RBAC it needs, each with its reason:
//! - paymentchannels: get, list, watch, patch (finalizers) — the kind it owns;
//! - paymentchannels/status: update — standing and ledger, by compare-and-swap;
//! - cocoonproviders: get — whom the contract must pay;
//! - settlements: get, list, watch — a claim that ends changes the channel;
//! - inferencejobs: get — usage of settled and deleted jobs is folded;
//! - secrets: get — whether the wallet of a channel that is being deleted still exists;
//! - events: create, patch — write-offs.

pub mod contracts;
mod deletion;
mod fold;
pub mod looks;
pub(crate) mod observe;
pub(crate) mod plan;
mod status;
pub(crate) mod validate;

use std::{sync::Arc, time::Duration};

use cocoon_api::{
    conditions::{self, Funded, Reason as _},
    crd::{FullName, PaymentChannel},
    names::SETTLEMENT_FINALIZER,
};
use cocoon_core::settlement::{has_ended, pays};
use futures::{StreamExt as _, stream};
use kube::{
    Api, ResourceExt as _,
    runtime::{
        Controller,
        controller::Action,
        reflector::{ObjectRef, Store},
        watcher::Event,
    },
};
use tokio_util::sync::CancellationToken;

use contracts::Tenure;

use crate::{
    context::Context,
    error::{Error, KubeContext as _, Result, describe},
    finalizer,
    reconcile::{CHAIN_LIMIT, Reconciles},
    watch::Wakes,
};

/// Channels reconciled at once: each waits for an endpoint most of the time.
const CONCURRENCY: u16 = 8;
/// Changes of one channel within this time are reconciled once.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How its reconciles are run.
const RECONCILES: Reconciles = Reconciles {
    kind: "PaymentChannel",
    limit: CHAIN_LIMIT,
};

/// What the channel controller needs beside the shared context.
struct Channels {
    ctx: Arc<Context>,
    passes: fold::Passes,
}

/// Runs the controller until `stop`.
///
/// A change of status alone is no reason to ask the chain: jobs write usage there all the time.
pub async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let wakes = Arc::new(Wakes::default());
    listen(&ctx, &wakes);
    let shared = Arc::new(Channels {
        ctx: ctx.clone(),
        passes: fold::Passes::default(),
    });
    Controller::for_stream(stream::pending(), ctx.watches.channels.reader())
        .with_config(
            kube::runtime::controller::Config::default()
                .concurrency(CONCURRENCY)
                .debounce(DEBOUNCE),
        )
        .reconcile_on(wakes.stream())
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile_within, on_error, shared)
        .for_each(|_| std::future::ready(()))
        .await;
}

/// Wakes channels whose specification or finalizers changed, whose contract has another holder, which an ended
/// settlement claims, and which a provider of another namespace may allow or forbid by now.
fn listen(ctx: &Arc<Context>, wakes: &Arc<Wakes<PaymentChannel>>) {
    let (holders, own) = (ctx.clone(), wakes.clone());
    ctx.watches.channels.listen(move |event, before| {
        own.wake_all(holders.contracts.take(event));
        match event {
            Event::InitApply(channel) => own.wake(ObjectRef::from_obj(channel)),
            Event::Apply(channel) if before.is_none_or(|before| asked(before) != asked(channel)) => {
                own.wake(ObjectRef::from_obj(channel));
            }
            _ => {}
        }
    });
    let own = wakes.clone();
    ctx.watches.settlements.listen(move |event, _| {
        if let Event::InitApply(settlement) | Event::Apply(settlement) | Event::Delete(settlement) = event
            && has_ended(settlement)
        {
            let home = settlement.namespace().unwrap_or_default();
            let redeems = settlement.spec.redeems.iter();
            own.wake_all(redeems.map(|redeem| {
                let FullName { namespace, name } = redeem.full_name(&home);
                ObjectRef::new(&name).within(&namespace)
            }));
        }
    });
    let (own, channels) = (wakes.clone(), ctx.watches.channels.reader());
    ctx.watches.providers.listen(move |event, before| {
        if let Event::Apply(provider) | Event::Delete(provider) = event
            && (before.is_none_or(|before| before.metadata.generation != provider.metadata.generation)
                || matches!(event, Event::Delete(_)))
        {
            let changed = FullName::of(provider);
            own.wake_all(elsewhere(&channels, |channel| pays(channel) == changed));
        }
    });
    let (own, channels) = (wakes.clone(), ctx.watches.channels.reader());
    ctx.watches.namespaces.listen(move |event, before| {
        if let Event::Apply(namespace) = event
            && before.is_none_or(|before| before.labels() != namespace.labels())
        {
            let name = namespace.metadata.name.as_ref();
            own.wake_all(elsewhere(&channels, |channel| {
                channel.metadata.namespace.as_ref() == name
            }));
        }
    });
}

/// Channels whose provider is of another namespace, and that `concerned` holds for: what allows them is elsewhere, too.
fn elsewhere(
    channels: &Store<PaymentChannel>,
    concerned: impl Fn(&PaymentChannel) -> bool,
) -> Vec<ObjectRef<PaymentChannel>> {
    let is_elsewhere =
        |channel: &PaymentChannel| Some(&pays(channel).namespace) != channel.metadata.namespace.as_ref();
    let found = channels.state_filter(|channel| is_elsewhere(channel) && concerned(channel));
    found
        .iter()
        .map(|channel| ObjectRef::from_obj(&**channel))
        .collect()
}

/// What of a channel others than this operator write.
fn asked(channel: &PaymentChannel) -> impl PartialEq + use<'_> {
    let metadata = &channel.metadata;
    (
        &metadata.uid,
        metadata.generation,
        &metadata.finalizers,
        &metadata.deletion_timestamp,
    )
}

async fn reconcile_within(channel: Arc<PaymentChannel>, shared: Arc<Channels>) -> Result<Action> {
    RECONCILES
        .run(&shared.ctx.metrics, Box::pin(reconcile(&channel, &shared)))
        .await
}

/// Observe, validate, plan, apply, status.
async fn reconcile(channel: &PaymentChannel, shared: &Channels) -> Result<Action> {
    let Some(channel) = live(channel, shared).await? else {
        return Ok(Action::await_change());
    };
    let tenure = shared.ctx.contracts.tenure(&channel);
    if let Tenure::Unsettled(rest) = tenure {
        return Ok(Action::requeue(rest));
    }
    // A deletion hangs on nothing that cannot be read: past its limit, the object goes.
    let seen = match observe::observe(&channel, &tenure, &shared.ctx).await {
        Err(error) if deletion::give_up(&channel, &error, shared).await? => return Ok(Action::await_change()),
        seen => seen?,
    };
    let facts = validate::validate(&channel, &seen, &shared.ctx.networks, shared.ctx.now());
    match deletion::part(&channel, &seen, shared).await {
        Ok(true) => return Ok(Action::await_change()),
        Ok(false) => {}
        Err(error) if deletion::give_up(&channel, &error, shared).await? => return Ok(Action::await_change()),
        Err(error) => return Err(error),
    }
    let written = status::write(&channel, &facts, shared).await?;
    if let Some(time) = seen.chain_time {
        // What was not believed is in the conditions: the channel's contract counts as not seen.
        let is_believed = written.as_ref().is_some_and(|channel| {
            let list = channel
                .status
                .as_ref()
                .map_or(&[][..], |status| &status.conditions);
            conditions::find(list, Funded::TYPE)
                .is_some_and(|funded| funded.reason != Funded::EndpointUnavailable.name())
        });
        shared.ctx.looks.note(&channel, time, is_believed);
    }
    Ok(Action::requeue(plan::next_look(
        &channel,
        written.as_ref().and_then(|channel| channel.status.as_ref()),
        shared.ctx.now(),
    )))
}

/// The channel as it is stored now, with its finalizer; none where it is gone.
async fn live(channel: &PaymentChannel, shared: &Channels) -> Result<Option<PaymentChannel>> {
    let api = shared.api(channel);
    let stored = api
        .get_opt(&channel.name_any())
        .await
        .attempt("read", describe(channel))?;
    match stored {
        None => {
            shared.passes.forget(channel);
            shared.ctx.looks.forget(channel);
            Ok(None)
        }
        Some(stored) if stored.metadata.deletion_timestamp.is_some() => Ok(stored
            .finalizers()
            .iter()
            .any(|held| held == SETTLEMENT_FINALIZER)
            .then_some(stored)),
        Some(stored) => finalizer::ensure(&api, &stored).await,
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that the controller calls"
)]
fn on_error(channel: Arc<PaymentChannel>, error: &Error, shared: Arc<Channels>) -> Action {
    RECONCILES.failed(&shared.ctx.metrics, channel.as_ref(), error)
}

impl Channels {
    fn api(&self, channel: &PaymentChannel) -> Api<PaymentChannel> {
        Api::namespaced(self.ctx.client.clone(), &channel.namespace().unwrap_or_default())
    }
}
