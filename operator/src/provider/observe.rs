//! Reads everything that an offer depends on: from memory, but for what agents themselves say.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cocoon_api::{
    agent::FetchProgress,
    crd::{CocoonProvider, FullName, InferenceJob},
    names,
};
use cocoon_core::{
    agents::{
        AgentPod, AgentState,
        fetch::{self, FetchPod},
        lost::{self, Lost},
        pods::agents_in,
        rejected,
        worst::unmade,
    },
    placement::demand::{self, Demand},
};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Node, Pod},
    },
    jiff::Timestamp,
};
use kube::ResourceExt as _;

use super::{Providers, figures::Figures};
use crate::{error::Result, tls::secret};

/// What was read for one provider.
pub(super) struct Seen {
    pub(super) now: Timestamp,
    pub(super) nodes: Vec<Arc<Node>>,
    /// Agents, and pods of anyone that request an extended resource.
    pub(super) pods: Vec<Arc<Pod>>,
    /// The provider's agents, ordered by name.
    pub(super) agents: Vec<AgentPod>,
    /// Pods that download models onto nodes, ordered by model and node.
    pub(super) downloads: Vec<FetchPod>,
    /// How far they are, by UID.
    pub(super) progress: BTreeMap<String, FetchProgress>,
    /// Models and nodes whose agents found a copy there.
    pub(super) copies: BTreeSet<(String, String)>,
    /// Of the agents, those that have lost what they need, and in whose place another pod may get it.
    pub(super) lost: Vec<Lost>,
    /// Pods that their node rejected so long ago that nothing of it is told any more: nobody else removes them.
    pub(super) past: Vec<Arc<Pod>>,
    /// Of the agents, how many have a node, by model.
    pub(super) placed: BTreeMap<String, u32>,
    /// Deployments of the namespace that this operator made.
    pub(super) deployments: Vec<Arc<Deployment>>,
    pub(super) demand: BTreeMap<String, Demand>,
    /// What agents are to trust.
    pub(super) trusted: secret::Data,
    /// What those that serve say of themselves, by UID of the agent's pod.
    pub(super) figures: BTreeMap<String, Figures>,
}

pub(super) async fn observe(provider: &CocoonProvider, providers: &Providers) -> Result<Seen> {
    let Providers {
        ctx,
        answers,
        downloads: asked,
        ..
    } = providers;
    let watches = &ctx.watches;
    let (name, namespace) = (provider.name_any(), provider.namespace().unwrap_or_default());
    let now = ctx.now();
    ctx.tls.refresh(now).await?;
    let pods = watches.pods.state();
    let mut own = own_pods(&pods, &name, &namespace);
    let rejected = own_pods(&watches.rejected.in_namespace(&namespace), &name, &namespace);
    let (past, recent): (Vec<_>, Vec<_>) = rejected.into_iter().partition(|pod| rejected::is_past(pod, now));
    own.extend(recent);
    let mut found = agents_in(own.iter().map(AsRef::as_ref), now);
    found.sort();
    let downloads = downloads(&own, now);
    fetch::tell(&mut found, &downloads, unmade(provider));
    let full_name = FullName::of(provider);
    let jobs: Vec<Arc<InferenceJob>> = watches.jobs.state();
    let figures = answers.ask(ctx, provider, &found).await;
    Ok(Seen {
        now,
        nodes: watches.nodes.state(),
        lost: own.iter().filter_map(|pod| lost::lost(pod, now)).collect(),
        past,
        placed: placed(&own, now),
        demand: demand::demand(jobs.iter().map(AsRef::as_ref), &full_name),
        deployments: watches.deployments.in_namespace(&namespace),
        trusted: secret::write_bundle(ctx.tls.bundle()),
        figures,
        progress: asked.ask(&downloads, now).await,
        copies: own.iter().filter_map(|pod| fetch::copy_of(pod)).collect(),
        downloads,
        agents: found
            .into_iter()
            .map(|agent| {
                let stranger = ctx.agents.stranger(&agent.uid);
                agent.recognised(stranger)
            })
            .collect(),
        pods,
    })
}

fn own_pods(pods: &[Arc<Pod>], provider: &str, namespace: &str) -> Vec<Arc<Pod>> {
    let owned = |pod: &&Arc<Pod>| {
        pod.metadata.namespace.as_deref() == Some(namespace)
            && pod
                .labels()
                .get(names::PROVIDER_LABEL)
                .is_some_and(|name| name == provider)
    };
    pods.iter().filter(owned).cloned().collect()
}

fn downloads(pods: &[Arc<Pod>], now: Timestamp) -> Vec<FetchPod> {
    let mut found: Vec<FetchPod> = pods
        .iter()
        .filter_map(|pod| FetchPod::from_pod(pod, now))
        .collect();
    found.sort();
    found
}

fn placed(pods: &[Arc<Pod>], now: Timestamp) -> BTreeMap<String, u32> {
    let mut placed = BTreeMap::<String, u32>::new();
    for pod in pods
        .iter()
        .filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()))
    {
        let Some(agent) = AgentPod::from_pod(pod, now) else {
            continue;
        };
        if agent.state != AgentState::Terminating && !agent.state.has_ended() {
            *placed.entry(agent.model).or_default() += 1;
        }
    }
    placed
}
