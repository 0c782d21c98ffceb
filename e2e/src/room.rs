//! Room for a test that needs every GPU: other farms are paused while it runs, so that their agents go once they have
//! finished what they have.

use std::{future::Future, panic::AssertUnwindSafe};

use anyhow::{Context as _, Result, ensure};
use cocoon_api::crd::CocoonProvider;
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::{stack::Stack, wait};

/// The extended resource that stands for a GPU.
const GPU: &str = "nvidia.com/gpu";

/// Runs `test` while no GPU of the cluster is held, and lets other farms go on afterwards whatever happens.
pub async fn with_every_gpu<F>(stack: &Stack, test: impl FnOnce() -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let everywhere: Api<CocoonProvider> = Api::all(stack.client.clone());
    let mut farms = everywhere
        .list(&ListParams::default())
        .await
        .context("could not list the providers")?
        .items;
    farms.retain(|farm| !farm.spec.paused);
    let outcome = AssertUnwindSafe(async {
        for farm in &farms {
            pause(stack, farm, true).await?;
        }
        no_gpu_is_held(stack).await?;
        test().await
    })
    .catch_unwind()
    .await;
    let mut resumed = Ok(());
    for farm in &farms {
        resumed = resumed.and(pause(stack, farm, false).await);
    }
    match outcome {
        Ok(result) => result.and(resumed),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

async fn pause(stack: &Stack, farm: &CocoonProvider, paused: bool) -> Result<()> {
    let (namespace, name) = (farm.namespace().unwrap_or_default(), farm.name_any());
    let patch = Patch::Merge(json!({"spec": {"paused": paused}}));
    Api::<CocoonProvider>::namespaced(stack.client.clone(), &namespace)
        .patch(&name, &PatchParams::default(), &patch)
        .await
        .with_context(|| format!("could not pause or resume {namespace}/{name}"))?;
    Ok(())
}

async fn no_gpu_is_held(stack: &Stack) -> Result<()> {
    let pods: Api<Pod> = Api::all(stack.client.clone());
    wait::until("every GPU of the cluster is free", || async {
        let all = pods.list(&ListParams::default()).await?.items;
        let holders: Vec<String> = all
            .iter()
            .filter(|pod| holds_gpus(pod))
            .map(|pod| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()))
            .collect();
        ensure!(
            holders.is_empty(),
            "{} hold GPUs: this test needs them all, so delete those pods or let their jobs end",
            holders.join(", ")
        );
        Ok(Some(()))
    })
    .await
}

/// Whether the scheduler counts GPUs for the pod: from its placement to its end.
fn holds_gpus(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let Some(spec) = &pod.spec else { return false };
    spec.node_name.is_some()
        && !matches!(phase, Some("Succeeded" | "Failed"))
        && spec.containers.iter().any(|container| {
            let limits = container
                .resources
                .as_ref()
                .and_then(|resources| resources.limits.as_ref());
            limits.is_some_and(|limits| limits.contains_key(GPU))
        })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn pod(spec: &Value, phase: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "pod"}, "spec": spec, "status": {"phase": phase}}))
            .expect("a pod")
    }

    #[test]
    fn a_pod_holds_its_gpus_from_placement_to_end() {
        let containers = json!([{"name": "agent", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]);
        let placed = json!({"nodeName": "node1", "containers": containers});
        assert!(holds_gpus(&pod(&placed, "Pending")));
        assert!(holds_gpus(&pod(&placed, "Running")));
        assert!(!holds_gpus(&pod(&placed, "Succeeded")));
        assert!(!holds_gpus(&pod(&json!({"containers": containers}), "Pending")));
        let without = json!({"nodeName": "node1", "containers": [{"name": "agent"}]});
        assert!(!holds_gpus(&pod(&without, "Running")));
    }
}
