//! A namespace as careful administrators make it.

use anyhow::{Context as _, Result, ensure};
use cocoon_api::crd::CocoonProvider;
use e2e::{
    farm::{Farm, Offer, PROVIDER},
    receipts::assert_paid_once,
    stack::Stack,
};
use k8s_openapi::api::{
    core::v1::{LimitRange, Namespace, PersistentVolume, PersistentVolumeClaim, Pod},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{and_then_restore, on_stack};

/// Name of the volume's claim.
const CLAIM: &str = "models";

#[test]
fn the_first_job_runs_in_a_restricted_namespace_with_a_limit_range_and_no_traffic_by_default() -> Result<()> {
    on_stack("restricted", |stack, namespace| async move {
        let volumes: Api<PersistentVolume> = Api::all(stack.client.clone());
        let remove = || async {
            volumes.delete(&namespace, &DeleteParams::default()).await?;
            Ok(())
        };
        and_then_restore(Box::pin(first_job(&stack, &namespace)), remove).await
    })
}

/// Every pod must satisfy `restricted`, and reaches nobody unless a policy says so.
async fn guard(stack: &Stack, farm: &Farm<'_>) -> Result<()> {
    let labels = json!({"metadata": {"labels": {
        "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest",
    }}});
    Api::<Namespace>::all(stack.client.clone())
        .patch(&farm.namespace, &PatchParams::default(), &Patch::Merge(labels))
        .await?;
    farm.create::<NetworkPolicy>(&json!({
        "metadata": {"name": "default-deny"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    }))
    .await?;
    farm.create::<LimitRange>(&json!({
        "metadata": {"name": "limits"},
        "spec": {"limits": [{
            "type": "Container", "default": {"cpu": "2", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m", "memory": "256Mi"},
            "max": {"cpu": "4", "memory": "4Gi"},
        }]},
    }))
    .await?;
    Ok(())
}

/// The model's folder as a volume: what an administrator offers where `hostPath` is not allowed.
async fn offer_volume(stack: &Stack, farm: &Farm<'_>) -> Result<String> {
    let path = &stack.description.model_path;
    let folder = path.parent().context("the model lies in a folder")?;
    let file = path
        .file_name()
        .context("the model has a name")?
        .to_string_lossy();
    let size = json!({"storage": "1Gi"});
    let volume = serde_json::from_value(json!({
        "metadata": {"name": farm.namespace},
        "spec": {
            "capacity": size, "accessModes": ["ReadOnlyMany"], "storageClassName": "", "hostPath": {"path": folder},
            "claimRef": {"namespace": farm.namespace, "name": CLAIM}, "persistentVolumeReclaimPolicy": "Retain",
        },
    }))?;
    Api::<PersistentVolume>::all(stack.client.clone())
        .create(&PostParams::default(), &volume)
        .await?;
    farm.create::<PersistentVolumeClaim>(&json!({
        "metadata": {"name": CLAIM},
        "spec": {
            "accessModes": ["ReadOnlyMany"], "storageClassName": "", "volumeName": farm.namespace,
            "resources": {"requests": size},
        },
    }))
    .await?;
    Ok(file.into_owned())
}

async fn first_job(stack: &Stack, namespace: &str) -> Result<()> {
    let farm = Farm::start(stack, namespace, &Offer::of(stack)).await?;
    guard(stack, &farm).await?;
    let file = offer_volume(stack, &farm).await?;
    let provider = farm.api::<CocoonProvider>().get(PROVIDER).await?;
    let mut models = serde_json::to_value(&provider.spec.models)?;
    let sha256 = &stack.description.model_sha256;
    models[0]["source"] = json!({"pvc": {"claimName": CLAIM, "path": file}, "sha256": sha256});
    farm.patch::<CocoonProvider>(PROVIDER, &json!({"spec": {"models": models}}))
        .await?;
    farm.open_channel("1", "0.5").await?;
    farm.submit("first", &["Once upon a time"], 20_000_000).await?;
    let job = farm.wait_for("first", "Settled").await?;
    assert_paid_once(&farm, &job, 1).await?;

    let policies = farm
        .api::<NetworkPolicy>()
        .list(&ListParams::default())
        .await?
        .items;
    let admits = policies.iter().filter(|policy| {
        let rules = policy.spec.as_ref().and_then(|spec| spec.ingress.as_ref());
        rules.is_some_and(|rules| !rules.is_empty())
    });
    ensure!(admits.count() > 0, "a policy lets the operator in to the agents");
    let pods: Vec<Pod> = farm.agents().await?;
    let limited = pods
        .iter()
        .flat_map(|pod| &pod.spec)
        .flat_map(|spec| &spec.containers);
    for container in limited {
        let limits = container
            .resources
            .as_ref()
            .and_then(|resources| resources.limits.as_ref());
        ensure!(
            limits.is_some_and(|limits| limits.contains_key("memory")),
            "the limit range was applied"
        );
    }
    Ok(())
}
