//! Makes the world what the plan says, and leaves alone what already is.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, PoisonError},
};

use cocoon_api::{
    conditions::{ChildrenApplied, Observation, Reason as _},
    names,
};
use cocoon_core::agents::lost::Lost;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{Pod, Secret},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
    jiff::{SignedDuration, Timestamp},
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use tracing::warn;

use super::{
    Providers, RESYNC,
    children::{Child, Kind},
    observe::Seen,
    plan::Plan,
    validate::ValidProvider,
};
use crate::{
    error::{Error, KubeContext as _, Result, chain},
    removal::remove,
};

/// Pods that are removed in one reconcile at most, of those that nodes rejected; the next one is soon.
const MAX_REMOVED: usize = 50;

/// What was applied, so that the same is not applied again at every event. An entry goes with its provider.
#[derive(Default)]
pub(super) struct Applied(Mutex<BTreeMap<Key, Entry>>);

/// Namespace, kind and name.
type Key = (String, Kind, String);

#[derive(Clone, Copy)]
struct Entry {
    digest: u64,
    generation: Option<i64>,
    at: Timestamp,
}

impl Applied {
    /// Forgets a provider that goes, whose agents' names begin with its own.
    pub(super) fn forget(&self, namespace: &str, provider: &str) {
        let begins = |name: &str| name.starts_with(provider);
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|(of, _, name), _| of != namespace || !begins(name));
    }

    fn entry(&self, key: &Key) -> Option<Entry> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .copied()
    }

    fn record(&self, key: Key, entry: Entry) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, entry);
    }

    fn remove(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

impl Entry {
    fn is_old(&self, now: Timestamp) -> bool {
        let resync = SignedDuration::try_from(RESYNC).unwrap_or(SignedDuration::ZERO);
        now.duration_since(self.at) >= resync
    }
}

/// Applies the children in their order, then removes agents that have lost what they need and what is not offered any
/// more. What the API server refuses keeps nothing else from being applied; the first of it is answered, in its words.
pub(super) async fn apply(
    valid: &ValidProvider,
    plan: &Plan,
    seen: &Seen,
    providers: &Providers,
) -> Result<Observation> {
    let mut refused = None;
    let Plan {
        inventory: _,
        placement: _,
        children,
        lost,
        surplus,
        downloads: _,
    } = plan;
    for child in children {
        let key = (valid.namespace.clone(), child.kind, child.name.clone());
        let digest = digest(child);
        if providers
            .applied
            .entry(&key)
            .is_some_and(|entry| is_there(child, &entry, digest, seen))
        {
            continue;
        }
        let generation = match write(&providers.ctx.client, valid, child).await {
            Ok(generation) => generation,
            Err(error) => {
                refused.get_or_insert(refusal(error)?);
                continue;
            }
        };
        providers.applied.record(
            key,
            Entry {
                digest,
                generation,
                at: seen.now,
            },
        );
    }
    for agent in lost {
        replace(&providers.ctx.client, valid, agent).await?;
    }
    let pods: Api<Pod> = Api::namespaced(providers.ctx.client.clone(), &valid.namespace);
    for pod in seen.past.iter().take(MAX_REMOVED) {
        let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
        remove(&pods, &name, &uid, &valid.namespace).await?;
    }
    for name in surplus {
        delete_agents(&providers.ctx.client, &valid.namespace, name).await?;
        providers
            .applied
            .remove(&(valid.namespace.clone(), Kind::Deployment, name.clone()));
        providers
            .applied
            .remove(&(valid.namespace.clone(), Kind::PodDisruptionBudget, name.clone()));
    }
    Ok(refused.unwrap_or_else(|| ChildrenApplied::Applied.condition("what is made for it is there")))
}

/// Deletes the pod of an agent that has lost what it needs: its Deployment makes another, which the scheduler places.
/// What the agent had delivered is stored, and what it had not runs elsewhere already.
async fn replace(client: &Client, valid: &ValidProvider, agent: &Lost) -> Result<()> {
    let Lost { pod, uid, what } = agent;
    let namespace = &valid.namespace;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    if remove(&pods, pod, uid, namespace).await? {
        let reason = what.word();
        warn!(pod, namespace, reason, "another pod takes the agent's place");
    }
    Ok(())
}

/// What a person must see to; any other error is tried again.
pub(super) fn refusal(error: Error) -> Result<Observation> {
    match &error {
        Error::Foreign { .. } => Ok(ChildrenApplied::Foreign.condition(chain(&error))),
        Error::Kube { source, .. } => match source.as_ref() {
            // 409 is a race, and 429 asks to wait.
            kube::Error::Api(status) if matches!(status.code, 400..=408 | 410..=428) => {
                Ok(ChildrenApplied::Refused.condition(chain(&error)))
            }
            _ => Err(error),
        },
        _ => Err(error),
    }
}

/// Whether the same was applied, lately, and nobody changed it since.
fn is_there(child: &Child, entry: &Entry, digest: u64, seen: &Seen) -> bool {
    if entry.digest != digest || entry.is_old(seen.now) {
        return false;
    }
    match child.kind {
        Kind::Deployment => {
            let found = seen
                .deployments
                .iter()
                .find(|deployment| deployment.name_any() == child.name);
            found.is_some_and(|deployment| deployment.metadata.generation == entry.generation)
        }
        Kind::NetworkPolicy | Kind::Secret | Kind::PodDisruptionBudget | Kind::Pod => true,
    }
}

fn digest(child: &Child) -> u64 {
    let mut hasher = DefaultHasher::new();
    child.body.to_string().hash(&mut hasher);
    hasher.finish()
}

async fn write(client: &Client, valid: &ValidProvider, child: &Child) -> Result<Option<i64>> {
    match child.kind {
        Kind::NetworkPolicy => patch::<NetworkPolicy>(client, valid, child).await,
        Kind::Secret => patch::<Secret>(client, valid, child).await,
        Kind::PodDisruptionBudget => patch::<PodDisruptionBudget>(client, valid, child).await,
        Kind::Deployment => patch::<Deployment>(client, valid, child).await,
        Kind::Pod => patch::<Pod>(client, valid, child).await,
    }
}

/// Server-side apply; answers the generation.
///
/// An object of the name that is not the provider's is left alone: applying by force would take it over. What is there
/// is written in the version with this UID only, and what is not there is written without force, so that one which came
/// in between is refused.
async fn patch<K>(client: &Client, valid: &ValidProvider, child: &Child) -> Result<Option<i64>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let namespace = &valid.namespace;
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let object = || format!("{} {}.{namespace}", K::kind(&()), child.name);
    let found = api
        .get_metadata_opt(&child.name)
        .await
        .attempt("read", object())?;
    let mut body = child.body.clone();
    let params = match &found {
        None => PatchParams::apply(names::FIELD_MANAGER),
        Some(found) if is_owned(found.owner_references(), &valid.owner.uid) => {
            body["metadata"]["uid"] = found.uid().into();
            PatchParams::apply(names::FIELD_MANAGER).force()
        }
        Some(_) => return Err(Error::Foreign { object: object() }),
    };
    let written = api
        .patch(&child.name, &params, &Patch::Apply(&body))
        .await
        .attempt("apply", object())?;
    Ok(written.meta().generation)
}

fn is_owned(owners: &[OwnerReference], uid: &str) -> bool {
    owners.iter().any(|owner| owner.uid == uid)
}

/// Deletes a Deployment and its disruption budget; the budget first, so that what is left is found by the Deployment.
pub(super) async fn delete_agents(client: &Client, namespace: &str, name: &str) -> Result<()> {
    delete::<PodDisruptionBudget>(client, namespace, name).await?;
    delete::<Deployment>(client, namespace, name).await
}

async fn delete<K>(client: &Client, namespace: &str, name: &str) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error).attempt("delete", format!("{} {name}.{namespace}", K::kind(&()))),
    }
}
