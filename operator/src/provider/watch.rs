//! Keeps what providers depend on in memory, pruned to what is read, and says which provider a change concerns.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use cocoon_api::{
    crd::{CocoonProvider, InferenceJob, PaymentChannel, Settlement},
    names,
};
use cocoon_core::placement::demand;
use futures::{SinkExt as _, Stream, StreamExt as _, channel::mpsc};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Container, Node, Pod, PodSpec},
};
use kube::{
    Api, Resource, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher::{self, Event, watcher},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{context::Context, error};

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
}

impl Stores {
    /// Waits until all are filled for the first time; answers whether they are.
    pub(super) async fn ready(&self) -> bool {
        let Self {
            nodes,
            pods,
            deployments,
            jobs,
            channels,
            settlements,
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
        nodes: watch.follow(Api::all(ctx.client.clone()), everything(), Prune::node),
        pods: watch.follow(Api::all(ctx.client.clone()), alive, Prune::pod),
        deployments: watch.follow(ctx.api_all(), ours, Prune::deployment),
        jobs: watch.follow(ctx.api_all(), everything(), Prune::job),
        channels: watch.follow(ctx.api_all(), everything(), Prune::channel),
        settlements: watch.follow(ctx.api_all(), everything(), Prune::settlement),
    };
    (stores, taken)
}

/// Whom a change concerns.
enum Concerns {
    /// Every provider.
    All,
    /// One of the object's namespace.
    One(Option<String>),
}

/// What is kept of an object.
struct Kept {
    /// A change of this is a change.
    mark: u64,
    concerns: Concerns,
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

/// What is kept of each kind, and whom it concerns.
struct Prune;

impl Prune {
    #[expect(clippy::unnecessary_wraps, reason = "the signature of every kind")]
    fn node(node: &mut Node) -> Option<Kept> {
        node.metadata.managed_fields = None;
        node.metadata.annotations = None;
        if let Some(status) = &mut node.status {
            status.images = None;
            status
                .conditions
                .get_or_insert_default()
                .retain(|condition| condition.type_ == "Ready");
        }
        let status = node.status.as_ref();
        let ready = status
            .and_then(|status| status.conditions.as_ref()?.first())
            .map(|condition| &condition.status);
        let resources = status.map(|status| (&status.capacity, &status.allocatable));
        let mark = mark(&(&node.metadata.labels, &node.spec, ready, resources));
        Some(Kept {
            mark,
            concerns: Concerns::All,
        })
    }

    fn pod(pod: &mut Pod) -> Option<Kept> {
        let is_agent = pod
            .labels()
            .get(names::COMPONENT_LABEL)
            .is_some_and(|name| name == names::AGENT_COMPONENT);
        if !is_agent && !pod.spec.as_ref().is_some_and(requests_extended_resources) {
            return None;
        }
        pod.metadata.managed_fields = None;
        pod.metadata.annotations = None;
        if let Some(spec) = &mut pod.spec {
            let containers = spec.containers.drain(..).map(resources_only).collect();
            let init = spec.init_containers.take().unwrap_or_default();
            let init_containers = Some(init.into_iter().map(resources_only).collect());
            *spec = PodSpec {
                node_name: spec.node_name.take(),
                containers,
                init_containers,
                ..PodSpec::default()
            };
        }
        let mark = mark(&(
            &pod.metadata.uid,
            &pod.metadata.deletion_timestamp,
            &pod.spec,
            &pod.status,
        ));
        let provider = pod.labels().get(names::PROVIDER_LABEL).cloned();
        let placed = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        // A pod of anyone takes GPUs once it has a node; before, an agent's pod concerns its provider alone.
        let concerns = if placed {
            Concerns::All
        } else {
            Concerns::One(provider)
        };
        Some(Kept { mark, concerns })
    }

    fn deployment(deployment: &mut Deployment) -> Option<Kept> {
        deployment.metadata.managed_fields = None;
        if let Some(spec) = &mut deployment.spec {
            spec.template.spec = None;
        }
        let provider = deployment.labels().get(names::PROVIDER_LABEL)?.clone();
        let conditions = deployment
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_ref());
        let refused: Vec<_> = conditions
            .into_iter()
            .flatten()
            .filter(|it| it.type_ == "ReplicaFailure")
            .collect();
        let mark = mark(&(
            &deployment.metadata.generation,
            &deployment.metadata.annotations,
            refused,
        ));
        Some(Kept {
            mark,
            concerns: Concerns::One(Some(provider)),
        })
    }

    #[expect(clippy::unnecessary_wraps, reason = "the signature of every kind")]
    fn job(job: &mut InferenceJob) -> Option<Kept> {
        job.metadata.managed_fields = None;
        job.metadata.annotations = None;
        job.spec.input.inline = None;
        let provider = job.status.as_ref().and_then(|status| status.provider.clone());
        let stage = provider
            .as_deref()
            .and_then(|provider| demand::stage(job, provider));
        let active = super::deletion::is_active(job);
        let mut hasher = DefaultHasher::new();
        (&provider, stage, active).hash(&mut hasher);
        Some(Kept {
            mark: hasher.finish(),
            concerns: Concerns::One(provider),
        })
    }

    #[expect(clippy::unnecessary_wraps, reason = "the signature of every kind")]
    fn channel(channel: &mut PaymentChannel) -> Option<Kept> {
        channel.metadata.managed_fields = None;
        if let Some(status) = &mut channel.status {
            status.reservations = Vec::new();
            status.counters = Vec::new();
        }
        let provider = channel.spec.provider.name.clone();
        Some(Kept {
            mark: mark(&channel.status),
            concerns: Concerns::One(Some(provider)),
        })
    }

    #[expect(clippy::unnecessary_wraps, reason = "the signature of every kind")]
    fn settlement(settlement: &mut Settlement) -> Option<Kept> {
        settlement.metadata.managed_fields = None;
        settlement.spec.message = String::new();
        let provider = settlement.spec.provider_ref.name.clone();
        Some(Kept {
            mark: mark(&settlement.status),
            concerns: Concerns::One(Some(provider)),
        })
    }
}

/// Resources outside of Kubernetes' own names are extended ones, and their names have a slash.
fn requests_extended_resources(spec: &PodSpec) -> bool {
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let resources = containers.filter_map(|container| container.resources.as_ref());
    let mut names = resources
        .flat_map(|resources| resources.limits.iter().chain(&resources.requests))
        .flatten();
    names.any(|(name, _)| name.contains('/'))
}

fn resources_only(container: Container) -> Container {
    let Container {
        name,
        resources,
        restart_policy,
        ..
    } = container;
    Container {
        name,
        resources,
        restart_policy,
        ..Container::default()
    }
}

fn mark(value: &impl Serialize) -> u64 {
    let mut hasher = DefaultHasher::new();
    // These are Kubernetes' own types, which are JSON; what was not would count as unchanged until the next resync.
    serde_json::to_string(value).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}
