//! Which providers a change concerns.

use std::{fmt::Debug, sync::Arc};

use cocoon_api::{
    crd::{CocoonProvider, FullName, InferenceJob, PaymentChannel, PaymentChannelStatus, Settlement},
    names,
};
use cocoon_core::{
    placement::demand,
    settlement::{pays, signed_by},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod},
};
use kube::{
    Resource, ResourceExt as _,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher::Event,
    },
};

use super::{deletion, waiting};
use crate::watch::{Wakes, Watched, Watches};

/// Whom a change concerns.
enum Concerns {
    /// Nobody: what changed is not read here.
    None,
    /// Every provider.
    All,
    /// This one.
    One(FullName),
}

/// Wakes the providers that a change concerns.
pub(super) fn listen(watches: &Watches, wakes: &Arc<Wakes<CocoonProvider>>) {
    let listener = Listener {
        providers: watches.providers.reader(),
        wakes: wakes.clone(),
    };
    let own = wakes.clone();
    watches.providers.listen(move |event, _| {
        if let Event::InitApply(provider) | Event::Apply(provider) = event {
            own.wake(ObjectRef::from_obj(provider));
        }
    });
    listener.listen(&watches.nodes, node);
    listener.listen(&watches.pods, pod);
    listener.listen(&watches.rejected, |_, pod| made_for(pod));
    listener.listen(&watches.deployments, deployment);
    listener.listen(&watches.jobs, job);
    listener.listen(&watches.channels, channel);
    listener.listen(&watches.settlements, settlement);
}

#[derive(Clone)]
struct Listener {
    providers: Store<CocoonProvider>,
    wakes: Arc<Wakes<CocoonProvider>>,
}

impl Listener {
    /// `concerns` is asked with the object as it was before, where it was known, and as it is.
    fn listen<K>(&self, watched: &Watched<K>, concerns: fn(Option<&K>, &K) -> Concerns)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
    {
        let listener = self.clone();
        watched.listen(move |event, before| match event {
            Event::Init | Event::InitApply(_) => {}
            Event::InitDone => listener.wake(Concerns::All),
            Event::Apply(object) => listener.wake(concerns(before, object)),
            Event::Delete(object) => listener.wake(concerns(None, object)),
        });
    }

    fn wake(&self, concerns: Concerns) {
        match concerns {
            Concerns::None => {}
            Concerns::One(FullName { namespace, name }) => {
                self.wakes.wake(ObjectRef::new(&name).within(&namespace));
            }
            Concerns::All => {
                let all = self.providers.state();
                self.wakes
                    .wake_all(all.iter().map(|provider| ObjectRef::from_obj(&**provider)));
            }
        }
    }
}

fn node(before: Option<&Node>, node: &Node) -> Concerns {
    fn read(node: &Node) -> impl PartialEq + use<'_> {
        let status = node.status.as_ref();
        let ready = status
            .and_then(|status| status.conditions.as_ref()?.first())
            .map(|condition| &condition.status);
        let resources = status.map(|status| (&status.capacity, &status.allocatable));
        (&node.metadata.labels, &node.spec, ready, resources)
    }
    if before.is_some_and(|before| read(before) == read(node)) {
        Concerns::None
    } else {
        Concerns::All
    }
}

fn pod(before: Option<&Pod>, pod: &Pod) -> Concerns {
    fn read(pod: &Pod) -> impl PartialEq + use<'_> {
        let metadata = &pod.metadata;
        (
            &metadata.uid,
            &metadata.deletion_timestamp,
            &pod.spec,
            &pod.status,
        )
    }
    if before.is_some_and(|before| read(before) == read(pod)) {
        return Concerns::None;
    }
    // A pod of anyone takes GPUs once it has a node; before, an agent's pod concerns its provider, and others once no
    // node takes it: their idle agents give way.
    let is_placed = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    if is_placed || waiting::is_unschedulable(pod) {
        Concerns::All
    } else {
        made_for(pod)
    }
}

fn deployment(before: Option<&Deployment>, deployment: &Deployment) -> Concerns {
    fn read(deployment: &Deployment) -> impl PartialEq + use<'_> {
        let conditions = deployment
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        let refused: Vec<_> = conditions
            .filter(|condition| condition.type_ == "ReplicaFailure")
            .collect();
        let metadata = &deployment.metadata;
        (metadata.generation, &metadata.annotations, refused)
    }
    if before.is_some_and(|before| read(before) == read(deployment)) {
        return Concerns::None;
    }
    made_for(deployment)
}

/// The provider of the object's namespace that its label names.
fn made_for(object: &impl Resource<DynamicType = ()>) -> Concerns {
    let namespace = object.namespace().unwrap_or_default();
    match object.labels().get(names::PROVIDER_LABEL) {
        Some(name) => Concerns::One(FullName::new(namespace, name)),
        None => Concerns::None,
    }
}

fn job(before: Option<&InferenceJob>, job: &InferenceJob) -> Concerns {
    fn read(job: &InferenceJob) -> impl PartialEq + use<> {
        let provider = demand::chosen(job);
        let stage = provider
            .as_ref()
            .and_then(|provider| demand::stage(job, provider));
        (provider, stage, deletion::is_active(job))
    }
    if before.is_some_and(|before| read(before) == read(job)) {
        return Concerns::None;
    }
    demand::chosen(job).map_or(Concerns::None, Concerns::One)
}

fn channel(before: Option<&PaymentChannel>, channel: &PaymentChannel) -> Concerns {
    // Entries of the ledger are not read; their sums are.
    fn read(channel: &PaymentChannel) -> impl PartialEq + use<'_> {
        channel.status.as_ref().map(|status| {
            let PaymentChannelStatus {
                observed_generation,
                conditions,
                state,
                deposit_nano,
                vouchers,
                epoch,
                challenge_seconds,
                cap_nano,
                cap_epoch,
                accrued_nano,
                reserved_nano,
                redeemed_nano,
                claimed_nano,
                unexplained_nano,
                challenge_ends_at,
                reservations: _,
                counters: _,
                finished_nano,
                finished_root: _,
                earlier_nano,
                accruing_since,
                deposit: _,
                available: _,
                redeemed: _,
            } = status;
            let contract = (state, deposit_nano, epoch, challenge_seconds, challenge_ends_at);
            let vouchers = (vouchers, cap_nano, cap_epoch);
            let sums = (accrued_nano, reserved_nano, redeemed_nano, claimed_nano);
            let others = (unexplained_nano, finished_nano, earlier_nano, accruing_since);
            (observed_generation, conditions, contract, vouchers, sums, others)
        })
    }
    if before.is_some_and(|before| read(before) == read(channel)) {
        return Concerns::None;
    }
    Concerns::One(pays(channel))
}

fn settlement(before: Option<&Settlement>, settlement: &Settlement) -> Concerns {
    if before.is_some_and(|before| before.status == settlement.status) {
        return Concerns::None;
    }
    Concerns::One(signed_by(settlement))
}
