//! How fast agents are, as they measured themselves at start. Asked once of each, and a pod that is no agent from time to time: it may
//! have become one.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cocoon_api::crd::{CocoonProvider, FullName};
use cocoon_core::agents::AgentPod;
use futures::{StreamExt as _, stream};
use kube::ResourceExt as _;
use tracing::debug;

use super::wanted::wanted;
use crate::{agents::Agent, context::Context, dispatch::AgentClient, error};

/// An agent answers from memory; a reconcile does not wait longer for a figure that is only shown.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Questions to one agent at most; one that does not answer has a reason that its probes tell better.
const MAX_ATTEMPTS: u32 = 3;
/// Agents asked at once: together they delay a reconcile by one timeout for each sixteen.
const AT_ONCE: usize = 16;

#[derive(Debug, Clone, Copy)]
enum Answer {
    Speed(f64),
    Failed(u32),
}

/// By provider and UID of the agent's pod; an entry goes with its pod.
#[derive(Default)]
pub(super) struct Speeds(Mutex<BTreeMap<(String, String), Answer>>);

impl Speeds {
    /// Completion tokens a second by UID, of those that answered.
    pub(super) async fn measure(
        &self,
        ctx: &Context,
        provider: &CocoonProvider,
        agents: &[AgentPod],
    ) -> BTreeMap<String, f64> {
        let owner = FullName::of(provider).to_string();
        let unknown = self.unknown(&owner, agents, |uid| ctx.agents.is_due(uid, ctx.now()));
        let answers: Vec<(String, Option<f64>)> = stream::iter(unknown)
            .map(|(agent, address)| async move {
                let answer = ask(ctx, provider, &agent, address).await;
                (agent.uid, answer)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (uid, answer) in answers {
            let entry = known.entry((owner.clone(), uid)).or_insert(Answer::Failed(0));
            *entry = match (answer, *entry) {
                (Some(speed), _) | (None, Answer::Speed(speed)) => Answer::Speed(speed),
                (None, Answer::Failed(attempts)) => Answer::Failed(attempts + 1),
            };
        }
        let speed = |agent: &AgentPod| match known.get(&(owner.clone(), agent.uid.clone())) {
            Some(Answer::Speed(speed)) => Some((agent.uid.clone(), *speed)),
            _ => None,
        };
        agents
            .iter()
            .filter(|agent| agent.ready_address().is_some())
            .filter_map(speed)
            .collect()
    }

    /// Ready agents that are still to be asked, or are `due`, and their addresses; forgets those that are gone.
    fn unknown(
        &self,
        owner: &str,
        agents: &[AgentPod],
        due: impl Fn(&str) -> bool,
    ) -> Vec<(AgentPod, IpAddr)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(of, uid), _| of != owner || agents.iter().any(|agent| agent.uid == *uid));
        let is_unknown = |uid: &String| match known.get(&(owner.to_owned(), uid.clone())) {
            None => true,
            Some(Answer::Failed(attempts)) => *attempts < MAX_ATTEMPTS || due(uid),
            Some(Answer::Speed(_)) => false,
        };
        let ready = agents
            .iter()
            .filter_map(|agent| Some((agent.clone(), agent.ready_address()?)));
        ready.filter(|(agent, _)| is_unknown(&agent.uid)).collect()
    }
}

async fn ask(ctx: &Context, provider: &CocoonProvider, agent: &AgentPod, address: IpAddr) -> Option<f64> {
    let namespace = provider.namespace().unwrap_or_default();
    let wanted = wanted(Some(provider), &namespace, &agent.model, &ctx.config);
    let client = AgentClient::of(
        ctx.agents.clone(),
        Agent {
            pod: agent.name.clone(),
            uid: agent.uid.clone(),
            address,
            wanted: Arc::new(wanted),
        },
    );
    match tokio::time::timeout(TIMEOUT, client.identity()).await {
        Ok(Ok(identity)) => {
            Some(identity.tokens_per_second).filter(|speed| speed.is_finite() && *speed >= 0.0)
        }
        Ok(Err(error)) => {
            debug!(%address, error = error::chain(&error), "agent did not say how fast it is");
            None
        }
        Err(_) => {
            debug!(%address, "agent did not say in time how fast it is");
            None
        }
    }
}
