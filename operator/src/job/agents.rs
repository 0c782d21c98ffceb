//! The agents that a job may have, as their pods show them, and why there are none.

use cocoon_api::{
    crd::{FullName, InferenceJobStatus},
    names,
};
use cocoon_core::{
    agents::{
        AgentPod, Refusal,
        fetch::{self, FetchPod},
        pods::agents_in,
        worst::{refusal, unmade},
    },
    job::plan::Agent,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};

use super::{context::Jobs, queue::Wanted};
use crate::error::{KubeContext as _, Result};

/// Why no pod of an agent that is wanted can be made.
pub(super) fn refused(wanted: &Wanted, jobs: &Jobs) -> Option<Refusal> {
    let FullName { namespace, name } = &wanted.provider;
    let deployments = jobs.ctx.watches.deployments.in_namespace(namespace);
    let provider = jobs.ctx.watches.providers.get(namespace, name);
    let words = refusal(
        deployments.iter().map(AsRef::as_ref),
        name,
        &wanted.model,
        provider.as_deref().and_then(unmade),
    )?;
    Some(Refusal::of(words))
}

/// The agents that are wanted, by name.
pub(super) fn agents(wanted: &Wanted, jobs: &Jobs) -> Vec<Agent> {
    let now = jobs.ctx.now();
    let FullName { namespace, name } = &wanted.provider;
    let watches = &jobs.ctx.watches;
    let pods = [&watches.pods, &watches.rejected].map(|watched| watched.in_namespace(namespace));
    let own = || {
        pods.iter().flatten().filter(|pod| {
            let labels = pod.labels();
            labels.get(names::PROVIDER_LABEL) == Some(name)
                && labels.get(names::MODEL_LABEL) == Some(&wanted.model)
        })
    };
    let mut serving = agents_in(own().map(AsRef::as_ref), now);
    let downloads: Vec<FetchPod> = own().filter_map(|pod| FetchPod::from_pod(pod, now)).collect();
    let provider = jobs.ctx.watches.providers.get(namespace, name);
    fetch::tell(&mut serving, &downloads, provider.as_deref().and_then(unmade));
    let mut agents: Vec<Agent> = serving
        .into_iter()
        .map(|pod| Agent {
            active: jobs.queue.busy(&pod.uid),
            pod: {
                let stranger = jobs.ctx.agents.stranger(&pod.uid);
                pod.recognised(stranger)
            },
        })
        .collect();
    agents.sort_by(|a, b| a.pod.name.cmp(&b.pod.name));
    agents
}

/// The agent of the active attempt, where it has vanished since the cluster took it from its node: a pod that the
/// kubelet evicts ends and says so in the same moment, and no watch tells of pods that have ended.
pub(super) async fn displaced(
    status: &InferenceJobStatus,
    wanted: Option<&Wanted>,
    there: &[Agent],
    jobs: &Jobs,
) -> Result<Option<Agent>> {
    let Some((active, wanted)) = status.active().zip(wanted) else {
        return Ok(None);
    };
    if there.iter().any(|agent| agent.pod.uid == active.pod_uid) {
        return Ok(None);
    }
    let namespace = &wanted.provider.namespace;
    let pods: Api<Pod> = Api::namespaced(jobs.ctx.client.clone(), namespace);
    let found = pods
        .get_opt(&active.pod)
        .await
        .attempt("read", format!("Pod {}.{namespace}", active.pod))?;
    let agent = found.and_then(|pod| AgentPod::from_pod(&pod, jobs.ctx.now()));
    let is_its = |agent: &AgentPod| agent.uid == active.pod_uid && agent.displaced;
    Ok(agent.filter(is_its).map(|pod| Agent { pod, active: 0 }))
}
