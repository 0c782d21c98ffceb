//! What agents say of themselves: how fast they are, as they measured it at start, and what has ended of their devices.
//! Asked once of each, and from time to time of one that can lose a device and go on, and of a pod that is no agent: it
//! may have become one.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cocoon_api::{
    agent::{Devices, Identity},
    crd::{CocoonProvider, FullName},
};
use cocoon_core::agents::AgentPod;
use futures::{StreamExt as _, stream};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
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

/// How often an agent with several devices is asked again. A lost one that it goes on without is shown as late as this,
/// and two reconciles, at most; an agent with one device ends with it, which its pod shows.
const DEVICES_INTERVAL: SignedDuration = SignedDuration::from_secs(30);

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figures {
    /// Completion tokens a second of one sequence.
    pub(super) tokens_per_second: f64,
    /// What computes, and what has ended of it.
    pub(super) devices: Devices,
}

#[derive(Debug, Clone)]
enum Answer {
    Said {
        figures: Figures,
        asked: Timestamp,
    },
    /// None yet, and how often it was asked.
    None(u32),
}

impl Answer {
    /// With what it answers when it is asked again. One that does not answer is what it said last: while it serves, its
    /// devices do.
    fn renew(&mut self, figures: Option<Figures>, now: Timestamp) {
        *self = match (figures, &*self) {
            (Some(figures), _) => Self::Said { figures, asked: now },
            (None, Self::Said { figures, .. }) => Self::Said {
                figures: figures.clone(),
                asked: now,
            },
            (None, Self::None(attempts)) => Self::None(attempts + 1),
        };
    }

    /// Whether it is time to ask again; `is_due` says so of one that was no agent.
    fn is_old(&self, now: Timestamp, is_due: impl FnOnce() -> bool) -> bool {
        match self {
            Self::Said { figures, asked } => {
                figures.devices.given > 1 && now.duration_since(*asked) >= DEVICES_INTERVAL
            }
            Self::None(attempts) => *attempts < MAX_ATTEMPTS || is_due(),
        }
    }
}

/// By provider and UID of the agent's pod; an entry goes with its pod.
#[derive(Default)]
pub(super) struct Answers(Mutex<BTreeMap<(String, String), Answer>>);

impl Answers {
    /// By UID, of those that serve and have answered.
    pub(super) async fn ask(
        &self,
        ctx: &Context,
        provider: &CocoonProvider,
        agents: &[AgentPod],
    ) -> BTreeMap<String, Figures> {
        let owner = FullName::of(provider).to_string();
        let now = ctx.now();
        let unknown = self.unknown(&owner, agents, now, |uid| ctx.agents.is_due(uid, now));
        let answers: Vec<(String, Option<Figures>)> = stream::iter(unknown)
            .map(|(agent, address)| async move {
                let answer = ask(ctx, provider, &agent, address).await;
                (agent.uid, answer)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (uid, figures) in answers {
            let entry = known.entry((owner.clone(), uid)).or_insert(Answer::None(0));
            entry.renew(figures, now);
        }
        let said = |agent: &AgentPod| match known.get(&(owner.clone(), agent.uid.clone())) {
            Some(Answer::Said { figures, .. }) => Some((agent.uid.clone(), figures.clone())),
            _ => None,
        };
        agents
            .iter()
            .filter(|agent| agent.ready_address().is_some())
            .filter_map(said)
            .collect()
    }

    /// Ready agents that are to be asked, and their addresses; forgets those that are gone.
    fn unknown(
        &self,
        owner: &str,
        agents: &[AgentPod],
        now: Timestamp,
        is_due: impl Fn(&str) -> bool,
    ) -> Vec<(AgentPod, IpAddr)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(of, uid), _| of != owner || agents.iter().any(|agent| agent.uid == *uid));
        let is_unknown = |uid: &String| {
            let answer = known.get(&(owner.to_owned(), uid.clone()));
            answer.is_none_or(|answer| answer.is_old(now, || is_due(uid)))
        };
        let ready = agents
            .iter()
            .filter_map(|agent| Some((agent.clone(), agent.ready_address()?)));
        ready.filter(|(agent, _)| is_unknown(&agent.uid)).collect()
    }
}

/// An agent's word on itself, as far as it can be shown.
pub(super) fn figures(identity: Identity) -> Option<Figures> {
    let Identity {
        tokens_per_second,
        devices,
        ..
    } = identity;
    let is_speed = tokens_per_second.is_finite() && tokens_per_second >= 0.0;
    is_speed.then_some(Figures {
        tokens_per_second,
        devices,
    })
}

async fn ask(ctx: &Context, provider: &CocoonProvider, agent: &AgentPod, address: IpAddr) -> Option<Figures> {
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
        Ok(Ok(identity)) => figures(identity),
        Ok(Err(error)) => {
            debug!(%address, error = error::chain(&error), "agent did not say what it computes with");
            None
        }
        Err(_) => {
            debug!(%address, "agent did not say in time what it computes with");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use cocoon_api::agent::{DeviceEnd, GpuFault};

    use super::*;

    fn said(given: u32, ended: &[GpuFault]) -> Figures {
        Figures {
            tokens_per_second: 10.0,
            devices: Devices {
                given,
                ended: ended.iter().copied().map(DeviceEnd::Gpu).collect(),
            },
        }
    }

    #[test]
    fn only_an_agent_that_can_go_on_without_a_device_is_asked_again() {
        let start = Timestamp::UNIX_EPOCH;
        let later = start + DEVICES_INTERVAL;
        for (given, again) in [(0, false), (1, false), (2, true)] {
            let mut answer = Answer::None(0);
            answer.renew(Some(said(given, &[])), start);
            assert!(!answer.is_old(start, || true), "{given}");
            assert_eq!(answer.is_old(later, || true), again, "{given}");
        }
    }

    #[test]
    fn what_an_agent_says_later_replaces_what_it_said_and_its_silence_does_not() {
        let start = Timestamp::UNIX_EPOCH;
        let later = start + DEVICES_INTERVAL;
        let mut answer = Answer::None(0);
        answer.renew(Some(said(2, &[])), start);
        answer.renew(Some(said(2, &[GpuFault::DeviceLost])), later);
        answer.renew(None, later + DEVICES_INTERVAL);
        let Answer::Said { figures, asked } = answer else {
            panic!("it has answered");
        };
        assert_eq!(figures, said(2, &[GpuFault::DeviceLost]));
        assert_eq!(asked, later + DEVICES_INTERVAL);
    }

    #[test]
    fn an_agent_that_never_answers_is_asked_a_few_times_and_when_it_may_have_become_one() {
        let now = Timestamp::UNIX_EPOCH;
        let mut answer = Answer::None(0);
        for _ in 0..MAX_ATTEMPTS {
            assert!(answer.is_old(now, || false));
            answer.renew(None, now);
        }
        assert!(!answer.is_old(now, || false));
        assert!(answer.is_old(now, || true));
    }
}
