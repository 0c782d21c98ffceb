//! Each kind is watched once, into a store that all controllers read. Who wants to know of changes listens.
//!
//! What is in a store may be older than what the API server holds: plans are made from it, and what must not be decided
//! on something old (ledgers, claims, finalizers) is read afresh and written by compare-and-swap.

mod merge;
pub mod prune;
mod wakes;

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cocoon_api::{
    crd::{CocoonProvider, InferenceJob, PaymentChannel, Settlement},
    names,
};
use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::{
    ClusterResourceScope, NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{Namespace, Node, Pod},
    },
};
use kube::{
    Api, Client, Resource,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use wakes::Wakes;

use merge::Merge;

use crate::{error, pages::PAGE, scope};

/// Failed pods of one page: few are there, and nobody waits for them.
const FAILED_PAGE: u32 = 1;

/// Hears of every event of a kind, in order, and of what was known of its object before. It is called while the store
/// stands still: it answers at once.
pub type Listener<K> = Box<dyn FnMut(&Event<K>, Option<&K>) + Send>;

/// One kind as it is known to this process.
pub struct Watched<K: Resource<DynamicType = ()> + Clone + 'static> {
    store: Store<K>,
    shared: Arc<Shared<K>>,
    ready: watch::Receiver<bool>,
}

struct Shared<K>(Mutex<Listeners<K>>);

struct Listeners<K> {
    listeners: Vec<Listener<K>>,
    /// Whether all objects were read once.
    is_ready: bool,
}

impl<K> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, Listeners<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Watched<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// Follows the events until `stop`. `prune` leaves what is read of an object, and says whether it is kept at all.
    fn start(
        events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
        prune: fn(&mut K) -> bool,
        stop: &CancellationToken,
    ) -> Self {
        let (watched, follower) = Self::unfilled(prune);
        tokio::spawn(stop.clone().run_until_cancelled_owned(follower.run(events)));
        watched
    }

    /// Follows the events of listed namespaces as if they were of one watch. One that `is_gone` has no objects: its
    /// watch fails, since the rights in it went with it, and the others are not to wait for it.
    fn start_merged<S>(
        namespaces: Vec<(String, S)>,
        is_gone: impl Fn(&str) -> bool + Send + 'static,
        prune: fn(&mut K) -> bool,
        stop: &CancellationToken,
    ) -> Self
    where
        S: Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    {
        let (watched, follower) = Self::unfilled(prune);
        let follow = follower.run_merged(namespaces, is_gone);
        tokio::spawn(stop.clone().run_until_cancelled_owned(follow));
        watched
    }

    fn unfilled(prune: fn(&mut K) -> bool) -> (Self, Follower<K>) {
        let (store, writer) = reflector::store();
        let (filled, ready) = watch::channel(false);
        let shared = Arc::new(Shared(Mutex::new(Listeners {
            listeners: Vec::new(),
            is_ready: false,
        })));
        let follower = Follower {
            store: store.clone(),
            writer,
            shared: shared.clone(),
            filled,
            prune,
        };
        (Self { store, shared, ready }, follower)
    }

    /// Has every event told from here on, and before it all that is known already, as a listing.
    pub fn listen(&self, mut listener: impl FnMut(&Event<K>, Option<&K>) + Send + 'static) {
        let mut listeners = self.shared.lock();
        if listeners.is_ready {
            listener(&Event::Init, None);
            for object in self.store.state() {
                listener(&Event::InitApply(K::clone(&object)), None);
            }
            listener(&Event::InitDone, None);
        }
        listeners.listeners.push(Box::new(listener));
    }

    /// For a controller of this kind.
    pub fn reader(&self) -> Store<K> {
        self.store.clone()
    }

    /// All objects.
    pub fn state(&self) -> Vec<Arc<K>> {
        self.store.state()
    }

    /// All of a namespace.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.store
            .state_filter(|object| object.meta().namespace.as_deref() == Some(namespace))
    }

    /// One of them.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>>
    where
        K: Resource<Scope = NamespaceResourceScope>,
    {
        self.store.get(&ObjectRef::new(name).within(namespace))
    }

    /// Tells of a name whether no object has it, once all were read.
    pub fn lacks(&self) -> impl Fn(&str) -> bool + Send + use<K>
    where
        K: Resource<Scope = ClusterResourceScope>,
    {
        let (store, ready) = (self.store.clone(), self.ready.clone());
        move |name| *ready.borrow() && store.get(&ObjectRef::new(name)).is_none()
    }

    /// Waits until all objects were read once; answers whether they were.
    async fn filled(&self) -> bool {
        self.ready.clone().wait_for(|ready| *ready).await.is_ok()
    }
}

struct Follower<K: Resource<DynamicType = ()> + Clone + 'static> {
    store: Store<K>,
    writer: Writer<K>,
    shared: Arc<Shared<K>>,
    filled: watch::Sender<bool>,
    prune: fn(&mut K) -> bool,
}

impl<K: Resource<DynamicType = ()> + Clone + Debug> Follower<K> {
    async fn run(mut self, events: impl Stream<Item = watcher::Result<Event<K>>>) {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event),
                Err(error) => failed::<K>(&error),
            }
        }
    }

    async fn run_merged<S>(mut self, namespaces: Vec<(String, S)>, is_gone: impl Fn(&str) -> bool)
    where
        S: Stream<Item = watcher::Result<Event<K>>> + Send,
    {
        let names: Vec<String> = namespaces.iter().map(|(name, _)| name.clone()).collect();
        let mut merge = Merge::of(names.len());
        let placed = namespaces
            .into_iter()
            .enumerate()
            .map(|(place, (_, events))| events.map(move |event| (place, event)).boxed());
        let mut events = stream::select_all(placed);
        while let Some((place, event)) = events.next().await {
            let namespace = &names[place];
            let events = match event {
                Ok(event) => vec![event],
                Err(_) if is_gone(namespace) => vec![Event::Init, Event::InitDone],
                Err(error) => {
                    failed::<K>(&error);
                    continue;
                }
            };
            for mut event in events {
                if self.keeps(&mut event) {
                    for event in merge.take((place, namespace), event, &self.store) {
                        self.tell(&event);
                    }
                }
            }
        }
    }

    fn take(&mut self, mut event: Event<K>) {
        if self.keeps(&mut event) {
            self.tell(&event);
        }
    }

    /// Prunes what the event shows, and answers whether it is kept.
    fn keeps(&self, event: &mut Event<K>) -> bool {
        match event {
            Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) => (self.prune)(object),
            Event::Init | Event::InitDone => true,
        }
    }

    fn tell(&mut self, event: &Event<K>) {
        let mut shared = self.shared.lock();
        let before = match event {
            Event::Apply(object) | Event::Delete(object) => self.store.get(&ObjectRef::from_obj(object)),
            Event::Init | Event::InitApply(_) | Event::InitDone => None,
        };
        self.writer.apply_watcher_event(event);
        for listener in &mut shared.listeners {
            listener(event, before.as_deref());
        }
        if matches!(event, Event::InitDone) {
            shared.is_ready = true;
            self.filled.send_replace(true);
        }
    }
}

fn failed<K: Resource<DynamicType = ()>>(error: &watcher::Error) {
    let kind = K::kind(&());
    warn!(
        kind = kind.as_ref(),
        error = error::chain(error),
        "watch failed; it is started again"
    );
}

/// Everything that is watched.
pub struct Watches {
    /// Namespaces of the whole cluster: their labels.
    pub namespaces: Watched<Namespace>,
    /// Offers.
    pub providers: Watched<CocoonProvider>,
    /// Jobs, without their inputs.
    pub jobs: Watched<InferenceJob>,
    /// Channels.
    pub channels: Watched<PaymentChannel>,
    /// Settlements, without their messages.
    pub settlements: Watched<Settlement>,
    /// Nodes of the whole cluster.
    pub nodes: Watched<Node>,
    /// Of the whole cluster, pods that have not ended: agents, and pods of anyone that request an extended resource.
    pub pods: Watched<Pod>,
    /// Of the whole cluster, our pods that their node's kubelet rejected, with what it said.
    pub rejected: Watched<Pod>,
    /// Deployments that this operator made.
    pub deployments: Watched<Deployment>,
}

impl Watches {
    /// Watches everything in `scope` until `stop`.
    pub fn start(client: &Client, scope: scope::Scope<'_>, stop: &CancellationToken) -> Self {
        let everything = || watcher::Config::default().page_size(PAGE);
        let ours = everything().labels(&format!("{}={}", names::MANAGED_BY_LABEL, names::FIELD_MANAGER));
        let alive = everything().fields("status.phase!=Succeeded,status.phase!=Failed");
        let all_namespaces = watcher(Api::<Namespace>::all(client.clone()), everything()).default_backoff();
        let namespaces = Watched::start(all_namespaces, prune::namespace, stop);
        let scope = Scope {
            client,
            namespaces: scope.0,
            known: &namespaces,
            stop,
        };
        let all_nodes = watcher(Api::<Node>::all(client.clone()), everything()).default_backoff();
        let all_pods = watcher(Api::<Pod>::all(client.clone()), alive).default_backoff();
        let components = format!(
            "{} in ({},{})",
            names::COMPONENT_LABEL,
            names::AGENT_COMPONENT,
            names::DOWNLOAD_COMPONENT
        );
        let failed = everything()
            .labels(&components)
            .fields("status.phase=Failed")
            .page_size(FAILED_PAGE);
        let failed_pods = watcher(Api::<Pod>::all(client.clone()), failed).default_backoff();
        let (providers, jobs) = (
            scope.follow(&everything(), prune::provider),
            scope.follow(&everything(), prune::job),
        );
        let (channels, settlements) = (
            scope.follow(&everything(), prune::channel),
            scope.follow(&everything(), prune::settlement),
        );
        let deployments = scope.follow(&ours, prune::deployment);
        Self {
            namespaces,
            providers,
            jobs,
            channels,
            settlements,
            nodes: Watched::start(all_nodes, prune::node, stop),
            pods: Watched::start(all_pods, prune::pod, stop),
            rejected: Watched::start(failed_pods, prune::rejected, stop),
            deployments,
        }
    }

    /// Waits until all that is decided by was read once; answers whether it was.
    pub async fn filled(&self) -> bool {
        let Self {
            namespaces,
            providers,
            jobs,
            channels,
            settlements,
            nodes,
            pods,
            // Words, which nothing is decided by.
            rejected: _,
            deployments,
        } = self;
        namespaces.filled().await
            && providers.filled().await
            && jobs.filled().await
            && channels.filled().await
            && settlements.filled().await
            && nodes.filled().await
            && pods.filled().await
            && deployments.filled().await
    }
}

struct Scope<'a> {
    client: &'a Client,
    namespaces: &'a [String],
    /// Namespaces that there are.
    known: &'a Watched<Namespace>,
    stop: &'a CancellationToken,
}

impl Scope<'_> {
    fn follow<K>(&self, config: &watcher::Config, prune: fn(&mut K) -> bool) -> Watched<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let watch = |api: Api<K>| watcher(api, config.clone()).default_backoff();
        match self.namespaces {
            [] => Watched::start(watch(Api::all(self.client.clone())), prune, self.stop),
            listed => {
                let of = |name: &String| (name.clone(), watch(Api::namespaced(self.client.clone(), name)));
                let watches = listed.iter().map(of).collect();
                Watched::start_merged(watches, self.known.lacks(), prune, self.stop)
            }
        }
    }
}

#[cfg(test)]
mod tests;
