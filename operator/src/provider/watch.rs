//! Keeps what providers depend on in memory, pruned to what is read, and says which provider a change concerns.

mod prune;

use std::{collections::HashMap, fmt::Debug};

use cocoon_api::{
    crd::{CocoonProvider, InferenceJob, PaymentChannel, Settlement},
    names,
};
use futures::{SinkExt as _, Stream, StreamExt as _, channel::mpsc};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod},
};
use kube::{
    Api, Resource, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{context::Context, error};
use prune::{Concerns, Kept};

/// Changes that the controller has not yet taken. It takes them at once and merges those of one provider, so that
/// only a burst fills it; then the watches wait.
const CHANGES: usize = 256;

/// What providers depend on.
pub(super) struct Stores {
    pub(super) nodes: Store<Node>,
    /// Agents, and pods of anyone that request an extended resource.
    pub(super) pods: Store<Pod>,
    pub(super) deployments: Store<Deployment>,
    pub(super) jobs: Store<InferenceJob>,
    pub(super) channels: Store<PaymentChannel>,
    pub(super) settlements: Store<Settlement>,
    /// A store wakes only the last of those that wait for it: one waits for all, and the others for that one.
    is_ready: OnceCell<bool>,
}

impl Stores {
    /// Waits until all are filled for the first time; answers whether they are.
    pub(super) async fn ready(&self) -> bool {
        *self.is_ready.get_or_init(|| self.fill()).await
    }

    async fn fill(&self) -> bool {
        let Self {
            nodes,
            pods,
            deployments,
            jobs,
            channels,
            settlements,
            is_ready: _,
        } = self;
        nodes.wait_until_ready().await.is_ok()
            && pods.wait_until_ready().await.is_ok()
            && deployments.wait_until_ready().await.is_ok()
            && jobs.wait_until_ready().await.is_ok()
            && channels.wait_until_ready().await.is_ok()
            && settlements.wait_until_ready().await.is_ok()
    }
}

type Changes = mpsc::Sender<ObjectRef<CocoonProvider>>;

/// Starts the watches; the stream names the providers that a change concerns.
pub(super) fn start(
    ctx: &Context,
    providers: Store<CocoonProvider>,
    stop: &CancellationToken,
) -> (
    Stores,
    impl Stream<Item = ObjectRef<CocoonProvider>> + Send + 'static,
) {
    let (changes, taken) = mpsc::channel(CHANGES);
    let watch = Watch {
        providers,
        changes,
        stop: stop.clone(),
    };
    let everything = watcher::Config::default;
    let ours = everything().labels(&format!("{}={}", names::MANAGED_BY_LABEL, names::FIELD_MANAGER));
    let alive = everything().fields("status.phase!=Succeeded,status.phase!=Failed");
    let stores = Stores {
        nodes: watch.follow(Api::all(ctx.client.clone()), everything(), prune::node),
        pods: watch.follow(Api::all(ctx.client.clone()), alive, prune::pod),
        deployments: watch.follow(ctx.api_all(), ours, prune::deployment),
        jobs: watch.follow(ctx.api_all(), everything(), prune::job),
        channels: watch.follow(ctx.api_all(), everything(), prune::channel),
        settlements: watch.follow(ctx.api_all(), everything(), prune::settlement),
        is_ready: OnceCell::new(),
    };
    (stores, taken)
}

struct Watch {
    providers: Store<CocoonProvider>,
    changes: Changes,
    stop: CancellationToken,
}

impl Watch {
    fn follow<K>(&self, api: Api<K>, config: watcher::Config, prune: fn(&mut K) -> Option<Kept>) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (store, writer) = reflector::store();
        let follower = Follower {
            providers: self.providers.clone(),
            changes: self.changes.clone(),
            writer,
            prune,
            marks: HashMap::new(),
        };
        let events = watcher(api, config).default_backoff();
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(follower.run(events)));
        store
    }
}

struct Follower<K: Resource<DynamicType = ()> + Clone + 'static> {
    providers: Store<CocoonProvider>,
    changes: Changes,
    writer: Writer<K>,
    prune: fn(&mut K) -> Option<Kept>,
    marks: HashMap<ObjectRef<K>, u64>,
}

impl<K: Resource<DynamicType = ()> + Clone + Debug> Follower<K> {
    async fn run(mut self, events: impl Stream<Item = watcher::Result<Event<K>>>) {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event).await,
                Err(error) => {
                    let kind = K::kind(&());
                    warn!(
                        kind = kind.as_ref(),
                        error = error::chain(&error),
                        "watch failed; it is started again"
                    );
                }
            }
        }
    }

    async fn take(&mut self, event: Event<K>) {
        match event {
            Event::Init => {
                self.marks.clear();
                self.writer.apply_watcher_event(&Event::Init);
            }
            Event::InitDone => {
                self.writer.apply_watcher_event(&Event::InitDone);
                self.send(None, Concerns::All).await;
            }
            Event::InitApply(mut object) => {
                if let Some(kept) = (self.prune)(&mut object) {
                    self.marks.insert(ObjectRef::from_obj(&object), kept.mark);
                    self.writer.apply_watcher_event(&Event::InitApply(object));
                }
            }
            Event::Apply(mut object) => {
                let Some(Kept { mark, concerns }) = (self.prune)(&mut object) else {
                    return;
                };
                let namespace = object.namespace();
                let before = self.marks.insert(ObjectRef::from_obj(&object), mark);
                self.writer.apply_watcher_event(&Event::Apply(object));
                if before != Some(mark) {
                    self.send(namespace, concerns).await;
                }
            }
            Event::Delete(mut object) => {
                let Some(kept) = (self.prune)(&mut object) else {
                    return;
                };
                let namespace = object.namespace();
                self.marks.remove(&ObjectRef::from_obj(&object));
                self.writer.apply_watcher_event(&Event::Delete(object));
                self.send(namespace, kept.concerns).await;
            }
        }
    }

    async fn send(&mut self, namespace: Option<String>, concerns: Concerns) {
        let concerned = match concerns {
            Concerns::All => self
                .providers
                .state()
                .iter()
                .map(|provider| ObjectRef::from_obj(&**provider))
                .collect(),
            Concerns::One(Some(name)) => vec![ObjectRef::new(&name).within(&namespace.unwrap_or_default())],
            Concerns::One(None) => Vec::new(),
        };
        for provider in concerned {
            // The receiver goes only when the controller does, and then nobody needs to know.
            if self.changes.send(provider).await.is_err() {
                return;
            }
        }
    }
}
