//! Downloads of models onto nodes: how far they are, those that begin and those that go.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use cocoon_api::{
    agent::{FetchProgress, PROGRESS_PATH},
    conditions::{ChildrenApplied, Observation, Reason as _},
    json, names,
};
use cocoon_core::agents::fetch::FetchPod;
use futures::{StreamExt as _, stream};
use k8s_openapi::{
    api::core::v1::{Pod, Secret},
    jiff::{SignedDuration, Timestamp},
};
use kube::{Api, Client, ResourceExt as _, api::PostParams};
use tracing::debug;

use super::{
    Providers, apply,
    plan::{Beginning, Plan},
    validate::ValidProvider,
};
use crate::{
    error::{KubeContext as _, Result},
    removal::remove,
};

/// Time between two questions to one download. Its answer is written into the status: one write in this time while
/// something is downloaded.
pub(super) const INTERVAL: SignedDuration = SignedDuration::from_secs(5);
/// A download answers from memory; a reconcile does not wait longer for figures that are only shown.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Downloads asked at once.
const AT_ONCE: usize = 16;
/// Bytes of an answer at most.
const MAX_ANSWER_BYTES: usize = 4096;

/// What downloads said last, by UID of their pods.
pub(super) struct Downloads {
    http: reqwest::Client,
    known: Mutex<BTreeMap<String, Said>>,
}

#[derive(Clone, Copy)]
struct Said {
    at: Timestamp,
    progress: Option<FetchProgress>,
}

impl Downloads {
    pub(super) fn new() -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self {
            http,
            known: Mutex::default(),
        })
    }

    /// How far these downloads are, by UID, of those that answered. Each is asked once in [`INTERVAL`].
    pub(super) async fn ask(
        &self,
        downloads: &[FetchPod],
        now: Timestamp,
    ) -> BTreeMap<String, FetchProgress> {
        let answers: Vec<_> = stream::iter(self.due(downloads, now))
            .map(|(uid, address)| async move { (uid, self.progress(address).await) })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (uid, progress) in answers {
            known.insert(uid, Said { at: now, progress });
        }
        // One that nobody asked for long is gone.
        let forget = INTERVAL * 12;
        known.retain(|_, said| now.duration_since(said.at) < forget);
        let progress =
            |download: &FetchPod| Some((download.uid.clone(), known.get(&download.uid)?.progress?));
        downloads.iter().filter_map(progress).collect()
    }

    fn due(&self, downloads: &[FetchPod], now: Timestamp) -> Vec<(String, IpAddr)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = |uid: &String| {
            known
                .get(uid)
                .is_none_or(|said| now.duration_since(said.at) >= INTERVAL)
        };
        downloads
            .iter()
            .filter_map(|download| Some((download.uid.clone(), download.address?)))
            .filter(|(uid, _)| is_due(uid))
            .collect()
    }

    /// What a download says of itself: anything else than numbers and codes is dropped.
    async fn progress(&self, address: IpAddr) -> Option<FetchProgress> {
        let url = format!(
            "http://{}{PROGRESS_PATH}",
            SocketAddr::new(address, names::AGENT_HEALTH_PORT)
        );
        match self.http.get(&url).send().await {
            Ok(answer) if answer.status().is_success() => read(answer).await,
            Ok(answer) => {
                debug!(%address, status = answer.status().as_u16(), "a download did not say how far it is");
                None
            }
            Err(_) => {
                debug!(%address, "a download did not answer");
                None
            }
        }
    }
}

async fn read(mut answer: reqwest::Response) -> Option<FetchProgress> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            return None;
        }
    }
    json::read(&body).ok()
}

/// Begins the downloads that are due, and removes those that nobody needs. What is refused is said; the rest is done
/// all the same.
pub(super) async fn apply(
    valid: &ValidProvider,
    plan: &Plan,
    providers: &Providers,
) -> Result<Option<Observation>> {
    let client = &providers.ctx.client;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &valid.namespace);
    for FetchPod { name, uid, .. } in &plan.downloads.remove {
        remove(&pods, name, uid, &valid.namespace).await?;
    }
    let mut refused = None;
    for beginning in &plan.downloads.start {
        if let Some(refusal) = missing_headers(client, valid, beginning).await? {
            refused.get_or_insert(refusal);
            continue;
        }
        if let Err(error) = begin(&pods, valid, beginning).await {
            refused.get_or_insert(apply::refusal(error)?);
        }
    }
    Ok(refused)
}

/// Why the Secret of headers may not be sent, where one is named: only what is meant to be sent is.
async fn missing_headers(
    client: &Client,
    valid: &ValidProvider,
    beginning: &Beginning,
) -> Result<Option<Observation>> {
    let Some(name) = &beginning.headers else {
        return Ok(None);
    };
    let label = names::HEADERS_LABEL;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &valid.namespace);
    let found = secrets
        .get_metadata_opt(name)
        .await
        .attempt("read", format!("Secret {name}.{}", valid.namespace))?;
    let problem = match found {
        None => format!("does not exist: create it, with the label {label}: \"true\""),
        Some(secret) if secret.labels().get(label).is_some_and(|value| value == "true") => return Ok(None),
        Some(_) => format!("lacks the label {label}: \"true\", without which nothing of it is sent"),
    };
    let message = format!(
        "model {}: the Secret {name} of source.headersFrom {problem}",
        beginning.model
    );
    Ok(Some(ChildrenApplied::Refused.condition(message)))
}

/// Makes the pod. One of its name that has ended, which no watch shows, is removed, so that the next reconcile makes
/// another.
async fn begin(pods: &Api<Pod>, valid: &ValidProvider, beginning: &Beginning) -> Result<()> {
    let name = &beginning.child.name;
    let object = || format!("Pod {name}.{}", valid.namespace);
    let pod: Pod = serde_json::from_value(beginning.child.body.clone())
        .map_err(kube::Error::SerdeError)
        .attempt("make", object())?;
    match pods.create(&PostParams::default(), &pod).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        made => return made.map(drop).attempt("create", object()),
    }
    let Some(found) = pods.get_opt(name).await.attempt("read", object())? else {
        return Ok(());
    };
    let phase = found.status.as_ref().and_then(|status| status.phase.as_deref());
    let is_own = found
        .owner_references()
        .iter()
        .any(|owner| owner.uid == valid.owner.uid);
    match (phase, found.uid()) {
        (Some("Succeeded" | "Failed"), Some(uid)) if is_own => {
            remove(pods, name, &uid, &valid.namespace).await.map(drop)
        }
        _ => Ok(()),
    }
}
