//! The settlement controller: signs, sends and confirms one message per wallet at a time, which redeems what channels
//! owe.
//!
//! It follows providers, since a message belongs to a provider's wallet. A `Settlement` holds the signed bytes before
//! they are first sent; from then on only these bytes are sent, until the chain shows their effect or can never show
//! it. So the process may end at any point: whoever leads next goes on from what is stored.
//!
//! RBAC it needs, each with its reason:
//! - settlements: get, list, watch, create, delete — the kind it owns; old ended ones are deleted;
//! - settlements/status: patch — where a message stands;
//! - cocoonproviders: get, list, watch — wallet and policy;
//! - paymentchannels: get, list, watch — what is owed;
//! - paymentchannels/status: update — what is redeemed, by compare-and-swap;
//! - secrets: get — the wallet's key;
//! - events: create, patch — end states.

mod account;
mod apply;
mod claims;
mod look;
mod memory;
pub mod message;
mod observe;
mod payments;
mod plan;
mod sign;
mod status;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cocoon_api::crd::{CocoonProvider, FullName, Settlement};
use cocoon_core::settlement::{Policy, claimed_by, pays};
use futures::{StreamExt as _, stream};
use kube::{
    Api, ResourceExt as _,
    runtime::{Controller, controller::Action, reflector::ObjectRef, watcher::Event},
};
use scopeguard::ScopeGuard;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub(crate) use account::Account;
pub use claims::Claim;
pub use look::{Look, look};
pub use payments::{Payments, payments};

use crate::{
    chain::Chain,
    context::Context,
    error::{Error, KubeContext as _, Result, describe},
    reconcile::{CHAIN_LIMIT, Reconciles},
    watch::Wakes,
};

/// Providers reconciled at once: each waits for an endpoint most of the time.
const CONCURRENCY: u16 = 8;
/// Changes of one provider's channels within this time are reconciled once.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How its reconciles are run.
const RECONCILES: Reconciles = Reconciles {
    kind: "Settlement",
    limit: CHAIN_LIMIT,
};

/// What the settlement controller needs beside the shared context.
pub(crate) struct Settlements {
    ctx: Arc<Context>,
    memory: memory::Memory,
}

/// Runs the controller until `stop`.
pub async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let shared = Arc::new(Settlements {
        ctx: ctx.clone(),
        memory: memory::Memory::default(),
    });
    let wakes = Arc::new(Wakes::default());
    listen(&ctx, &wakes);
    Controller::for_stream(stream::pending(), ctx.watches.providers.reader())
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

/// Wakes providers that changed, and those whose channels or settlements did.
fn listen(ctx: &Context, wakes: &Arc<Wakes<CocoonProvider>>) {
    let own = wakes.clone();
    ctx.watches.providers.listen(move |event, _| {
        if let Event::InitApply(provider) | Event::Apply(provider) = event {
            own.wake(ObjectRef::from_obj(provider));
        }
    });
    let own = wakes.clone();
    ctx.watches.channels.listen(move |event, _| {
        if let Event::InitApply(channel) | Event::Apply(channel) | Event::Delete(channel) = event {
            let FullName { namespace, name } = pays(channel);
            own.wake(ObjectRef::new(&name).within(&namespace));
        }
    });
    let own = wakes.clone();
    ctx.watches.settlements.listen(move |event, _| {
        if let Event::InitApply(settlement) | Event::Apply(settlement) | Event::Delete(settlement) = event {
            let namespace = settlement.namespace().unwrap_or_default();
            own.wake(ObjectRef::new(&settlement.spec.provider_ref.name).within(&namespace));
        }
    });
}

async fn reconcile_within(provider: Arc<CocoonProvider>, shared: Arc<Settlements>) -> Result<Action> {
    RECONCILES
        .run(&shared.ctx.metrics, Box::pin(reconcile(&provider, &shared)))
        .await
}

/// The policy with what a claim costs now; none where that is more than it may. A chain that cannot be read signs
/// nothing, so that until then any fee will do.
async fn at_the_chains_fee(
    provider: &CocoonProvider,
    policy: Policy,
    shared: &Settlements,
) -> Option<Policy> {
    let Ok(chain) = shared.ctx.networks.get(&provider.spec.payout.network) else {
        return Some(policy);
    };
    match chain.redeem_fee(claimed_by(&provider.spec.payout)).await {
        Ok(fee) => fee.map(|fee| policy.at_fee(fee)),
        Err(_) => Some(policy),
    }
}

/// Observe, validate, plan, apply, status.
async fn reconcile(provider: &CocoonProvider, shared: &Settlements) -> Result<Action> {
    let mut seen = observe::observe(provider, shared).await?;
    let policy = Policy::try_from(&provider.spec.payout.settle)
        .inspect_err(|error| warn!(provider = describe(provider), "nothing new is settled: {error}"))
        .ok();
    let policy = match policy {
        Some(policy) => at_the_chains_fee(provider, policy, shared).await,
        None => None,
    };
    shared.note_flight(provider, &seen);
    let now = shared
        .ctx
        .looks
        .later_of(shared.ctx.now().as_second(), &seen.channels);
    let plan = plan::plan(provider, &mut seen, policy.as_ref(), now).map_err(|source| Error::Money {
        object: describe(provider),
        source,
    })?;
    apply::apply(provider, &seen, plan, shared)
        .await
        .map(Action::requeue)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that the controller calls"
)]
fn on_error(provider: Arc<CocoonProvider>, error: &Error, shared: Arc<Settlements>) -> Action {
    RECONCILES.failed(&shared.ctx.metrics, provider.as_ref(), error)
}

impl Settlements {
    fn api(&self, namespace: &str) -> Api<Settlement> {
        Api::namespaced(self.ctx.client.clone(), namespace)
    }

    /// The network of a settlement's provider; none where either is gone.
    async fn chain(&self, settlement: &Settlement) -> Result<Option<Arc<Chain>>> {
        let namespace = settlement.namespace().unwrap_or_default();
        let name = &settlement.spec.provider_ref.name;
        let provider = Api::<CocoonProvider>::namespaced(self.ctx.client.clone(), &namespace)
            .get_opt(name)
            .await
            .attempt("read CocoonProvider", name)?;
        Ok(provider.and_then(|provider| self.ctx.networks.get(&provider.spec.payout.network).ok()))
    }

    fn sent_at(&self, settlement: &Settlement) -> Option<i64> {
        self.memory.sent_at(settlement.metadata.uid.as_ref()?)
    }

    fn note_sent(&self, settlement: &Settlement, at: Option<i64>) {
        if let (Some(uid), Some(at)) = (settlement.uid(), at) {
            self.memory.note_sent(uid, at);
        }
    }

    fn forget_sent(&self, settlement: &Settlement) {
        if let Some(uid) = &settlement.metadata.uid {
            self.memory.forget_sent(uid);
        }
    }

    /// Notes which wallet the provider's message in flight uses, or that there is none.
    fn note_flight(&self, provider: &CocoonProvider, seen: &observe::Seen) {
        let wallet = seen
            .flight
            .as_ref()
            .map(|flight| flight.settlement.spec.wallet.as_str());
        self.memory
            .note_flight(&describe(provider), wallet, Instant::now());
    }

    /// Takes the wallet for a message of this provider, unless another provider's is in flight.
    fn take_wallet(
        &self,
        account: &Account,
        provider: &CocoonProvider,
    ) -> Option<ScopeGuard<(), impl FnOnce(())>> {
        let wallet = account.wallet.address().to_string();
        self.memory
            .take_wallet(wallet, describe(provider), Instant::now())
    }
}
