//! Recognises agents, and dials them.
//!
//! An agent makes its certificate itself. Whose it is, the operator asks on the connection on which it is shown: the
//! agent answers with a token that the API server bound to its pod. From then on the operator takes this certificate,
//! and no other, for this pod, until it is over or another is shown: then it asks anew. The agent gives its token only
//! to who shows the operator's certificate, so that nobody in between can have it
//! ([decision 14](../../docs/decisions/0014-agents-are-recognised-by-their-pods.md)).
//!
//! Nothing of a job is told on a connection on which the question is still open.

mod agent;
mod dial;
mod review;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cocoon_core::agents::recognition::Stranger;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Client;
use rustls::pki_types::CertificateDer;
use tracing::{info, warn};

use crate::{
    error::Result,
    reconcile::within,
    tls::{AgentTls, Identity},
};
use dial::Asked;

pub use agent::{Agent, Line, Unrecognised};

/// Agents that are known at most: more than one operator has work for at a time, 256 attempts. Beyond it all are
/// recognised anew.
const MAX_KNOWN: usize = 1024;
/// How long a certificate is taken for its pod's, if it is not over before. An agent makes a new one every 12 hours.
const KNOWN_LIFE: SignedDuration = SignedDuration::from_hours(24);
/// How long a pod that is no agent is not asked again. What is wrong may be put right by a person.
const STRANGER_INTERVAL: SignedDuration = SignedDuration::from_secs(30);
/// For recognising one agent: the answers of an agent take seconds at most and those of an API server milliseconds.
/// What takes longer is tried again.
pub const RECOGNITION_LIMIT: Duration = Duration::from_secs(15);

/// What is known of a pod.
enum Known {
    Agent {
        line: Line,
        address: IpAddr,
        identity: Arc<Identity>,
        until: Timestamp,
    },
    Stranger {
        why: Stranger,
        at: Timestamp,
    },
}

#[derive(Default)]
struct Entry {
    known: Mutex<Option<Known>>,
    /// Held while the agent is asked, so that one of many callers does it.
    asking: tokio::sync::Mutex<()>,
}

/// Agents by the UID of their pods.
pub struct Agents {
    client: Client,
    tls: Arc<AgentTls>,
    entries: Mutex<HashMap<String, Arc<Entry>>>,
}

impl Agents {
    /// Knows none yet.
    pub fn new(client: Client, tls: Arc<AgentTls>) -> Arc<Self> {
        let entries = Mutex::default();
        Arc::new(Self { client, tls, entries })
    }

    /// A line to this agent, which is recognised first where it is not known.
    pub async fn line(&self, agent: &Agent, now: Timestamp) -> Result<Line, Unrecognised> {
        let entry = self.entry(&agent.uid);
        if let Some(known) = self.known(&entry, agent, now) {
            return known.map_err(Unrecognised::Stranger);
        }
        let _asking = entry.asking.lock().await;
        if let Some(known) = self.known(&entry, agent, now) {
            return known.map_err(Unrecognised::Stranger);
        }
        let identity = self.tls.identity();
        // Seldom, so that every question to an agent is not as large as this.
        let recognise = Box::pin(async { Ok(self.recognise(agent, &identity, now).await) });
        let (line, until) = match within(RECOGNITION_LIMIT, "recognise an agent", recognise).await {
            Ok(Ok(recognised)) => recognised,
            Ok(Err(error)) => {
                if let Unrecognised::Stranger(why) = error {
                    warn!(pod = agent.pod, namespace = agent.wanted.namespace, %why, "a pod with an agent's labels is no agent");
                    *lock(&entry.known) = Some(Known::Stranger { why, at: now });
                }
                return Err(error);
            }
            Err(error) => return Err(Unrecognised::Unreachable(Box::new(error))),
        };
        info!(
            pod = agent.pod,
            namespace = agent.wanted.namespace,
            "agent recognised"
        );
        *lock(&entry.known) = Some(Known::Agent {
            line: line.clone(),
            address: agent.address,
            identity,
            until,
        });
        Ok(line)
    }

    /// Another certificate is shown, or none: the agent is recognised anew when it is dialled again.
    pub fn forget(&self, uid: &str, certificate: &CertificateDer<'_>) {
        let entry = self.entry(uid);
        let mut known = lock(&entry.known);
        if matches!(&*known, Some(Known::Agent { line, .. }) if line.certificate == *certificate) {
            *known = None;
        }
    }

    /// Why the pod of this UID is no agent; none where it is one, or was not asked yet.
    pub fn stranger(&self, uid: &str) -> Option<Stranger> {
        let entry = lock(&self.entries).get(uid).cloned()?;
        match &*lock(&entry.known) {
            Some(Known::Stranger { why, .. }) => Some(*why),
            _ => None,
        }
    }

    /// Whether the pod was no agent when it was asked, so long ago that it is asked again.
    pub fn is_due(&self, uid: &str, now: Timestamp) -> bool {
        let entry = lock(&self.entries).get(uid).cloned();
        let due = |entry: Arc<Entry>| matches!(&*lock(&entry.known), Some(Known::Stranger { at, .. }) if is_old(*at, now));
        entry.is_some_and(due)
    }

    /// What is known already, without asking anybody.
    fn known(&self, entry: &Entry, agent: &Agent, now: Timestamp) -> Option<Result<Line, Stranger>> {
        let mut known = lock(&entry.known);
        match &mut *known {
            Some(Known::Stranger { why, at }) => (!is_old(*at, now)).then_some(Err(*why)),
            Some(Known::Agent {
                line,
                address,
                identity,
                until,
            }) if now < *until && *address == agent.address => {
                let current = self.tls.identity();
                if !Arc::ptr_eq(identity, &current) {
                    let certificate = line.certificate.clone();
                    *line = dial::line(&current, agent, certificate).ok()?;
                    *identity = current;
                }
                Some(Ok(line.clone()))
            }
            _ => None,
        }
    }

    async fn recognise(
        &self,
        agent: &Agent,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<(Line, Timestamp), Unrecognised> {
        let asked = match dial::ask(identity, agent).await {
            Ok(asked) => asked,
            Err(error) => {
                // What does not answer may be no agent at all, and is told from one that is slow.
                review::look(&self.client, agent).await?;
                return Err(error);
            }
        };
        let pod = review::look(&self.client, agent).await?;
        let Asked {
            credential,
            certificate,
        } = asked;
        review::token(&self.client, &credential, &pod, agent).await?;
        let until = crate::tls::valid_until(&certificate, now)
            .ok_or(Unrecognised::Stranger(Stranger::CertificateInvalid))?;
        let line = dial::line(identity, agent, certificate)
            .map_err(|error| Unrecognised::Unreachable(Box::new(error)))?;
        Ok((line, until.min(now.saturating_add(KNOWN_LIFE).unwrap_or(until))))
    }

    fn entry(&self, uid: &str) -> Arc<Entry> {
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.get(uid) {
            return entry.clone();
        }
        if entries.len() >= MAX_KNOWN {
            entries.clear();
        }
        entries.entry(uid.to_owned()).or_default().clone()
    }
}

fn is_old(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) >= STRANGER_INTERVAL
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
