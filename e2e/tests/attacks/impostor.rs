//! Whoever makes pods in a farm's namespace, with an agent's labels, owners, image and every Secret that is there, gets
//! no prompt.

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    conditions,
    crd::{CocoonProvider, InferenceJob},
};
use e2e::{
    farm::{Farm, Offer, PROVIDER},
    wait,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Secret},
};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, ListParams},
};
use serde_json::{Value, json};

use super::on_stack;

/// A pod as an agent's, made by somebody else.
const IMPOSTOR: &str = "a-impostor";
/// The same, which also says that the agents' `ReplicaSet` owns it.
const FORGED: &str = "a-forgery";
/// What an agent logs when it is given work.
const GIVEN_WORK: &str = "attempt accepted";
/// What an agent logs once it serves.
const SERVES: &str = "serving";

#[test]
fn a_pod_that_poses_as_an_agent_gets_no_prompt_whatever_it_mounts_and_whoever_owns_it() -> Result<()> {
    on_stack("impostor", |stack, namespace| async move {
        let offer = Offer::of(&stack);
        let farm = Farm::start(&stack, &namespace, &offer).await?;
        farm.open_channel("1", "0.9").await?;
        // The farm's own agents go nowhere, so that there is nobody else to ask.
        go(
            &farm,
            &offer,
            json!({"nodeSelector": {"e2e.cocoon.farm/nowhere": "true"}}),
        )
        .await?;
        farm.submit("wanted", &["Once upon a time"], 300_000_000).await?;
        farm.wait_for_reason("wanted", "Scheduled", "NoMatchingNode")
            .await?;

        let impostor = pose(&farm, IMPOSTOR, &json!({}), Loot::None).await?;
        unrecognised(&farm, IMPOSTOR, "it was not made by the Deployment").await?;
        let node = impostor.spec.and_then(|spec| spec.node_name).context("it runs")?;
        pose(&farm, FORGED, &forged(&farm, &node).await?, Loot::EverySecret).await?;
        unrecognised(&farm, FORGED, "its volumes are not what the operator asked for").await?;
        let message = farm
            .wait_for_reason("wanted", "Scheduled", "AgentUnrecognised")
            .await?;
        ensure!(message.contains("is no agent"), "{message}");
        let given = farm.job_status("wanted").await?.assignments;
        ensure!(given.is_empty(), "it was given to {given:?}");
        got_nothing(&farm, FORGED).await?;

        // The farm removes the forgery, which stands in the way of its own agent; the other one may stay.
        let pods = farm.api::<Pod>();
        pods.delete(FORGED, &DeleteParams::default().grace_period(0))
            .await?;
        go(&farm, &offer, json!({})).await?;
        let job = farm.wait_for("wanted", "Settled").await?;
        served_by_an_agent(&job)?;
        got_nothing(&farm, IMPOSTOR).await
    })
}

/// Has the farm's agents go where `pod` says.
async fn go(farm: &Farm<'_>, offer: &Offer, pod: Value) -> Result<()> {
    let mut models = farm.provider(offer)["spec"]["models"].clone();
    models[0]["pod"] = pod;
    farm.patch::<CocoonProvider>(PROVIDER, &json!({"spec": {"models": models}}))
        .await
        .map(drop)
}

/// What a pod has beside that of an agent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loot {
    None,
    /// Every Secret of the namespace.
    EverySecret,
}

/// Makes a pod as the agents' own, and `metadata` over its own. It runs the agent's image, which serves as an agent
/// does.
async fn pose(farm: &Farm<'_>, name: &str, change: &Value, loot: Loot) -> Result<Pod> {
    let deployment = only(farm.api::<Deployment>().list(&ListParams::default()).await?.items)?;
    let template = deployment
        .spec
        .context("a Deployment has a specification")?
        .template;
    let template = serde_json::to_value(&template)?;
    let (mut metadata, mut spec) = (template["metadata"].clone(), template["spec"].clone());
    metadata["name"] = json!(name);
    for (field, value) in change["metadata"].as_object().into_iter().flatten() {
        match (metadata[field].as_object_mut(), value.as_object()) {
            (Some(into), Some(from)) => into.extend(from.clone()),
            _ => metadata[field] = value.clone(),
        }
    }
    if loot == Loot::EverySecret {
        let secrets = farm.api::<Secret>().list(&ListParams::default()).await?.items;
        ensure!(secrets.len() > 1, "wallet and authority are there to be taken");
        let sources: Vec<Value> = secrets
            .iter()
            .map(|secret| json!({"secret": {"name": secret.name_any()}}))
            .collect();
        let volumes = spec["volumes"].as_array_mut().context("an agent has volumes")?;
        volumes.push(json!({"name": "loot", "projected": {"sources": sources}}));
        let mounts = spec["containers"][0]["volumeMounts"]
            .as_array_mut()
            .context("an agent has mounts")?;
        mounts.push(json!({"name": "loot", "mountPath": "/loot", "readOnly": true}));
    }
    spec["containers"][0]["resources"] = json!({});
    spec["nodeSelector"] = Value::Null;
    spec["affinity"] = Value::Null;
    spec["nodeName"] = change["nodeName"].clone();
    farm.create::<Pod>(&json!({"metadata": metadata, "spec": spec}))
        .await?;
    let is_ready = |pod: &Pod| {
        let conditions = pod
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        conditions
            .into_iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    wait::object(&farm.api::<Pod>(), name, "it serves as an agent does", is_ready).await
}

/// What makes a pod look as if the agents' `ReplicaSet` had made it: what is written on one that it did make.
async fn forged(farm: &Farm<'_>, node: &str) -> Result<Value> {
    let agents = farm.agents().await?;
    let own = agents.iter().find(|pod| !pod.owner_references().is_empty());
    let own = own.context("the farm's own agent waits for a node")?;
    Ok(json!({
        "metadata": {"labels": own.labels(), "ownerReferences": own.owner_references()},
        "nodeName": node,
    }))
}

fn only<T>(mut found: Vec<T>) -> Result<T> {
    ensure!(
        found.len() == 1,
        "{} of the farm's agents instead of one",
        found.len()
    );
    found.pop().context("there is one")
}

/// Waits until the provider names this pod, and why it is no agent.
async fn unrecognised(farm: &Farm<'_>, pod: &str, why: &str) -> Result<()> {
    let is_named = |provider: &CocoonProvider| {
        let conditions = provider.status.as_ref().map(|status| &status.conditions);
        conditions
            .and_then(|conditions| conditions::find(conditions, "AgentsAvailable"))
            .is_some_and(|available| {
                available.reason == "AgentUnrecognised"
                    && available.message.contains(&format!("pod {pod} is no agent"))
                    && available.message.contains(why)
            })
    };
    let what = format!("the provider says that {pod} is no agent: {why}");
    wait::object(&farm.api::<CocoonProvider>(), PROVIDER, &what, is_named).await?;
    Ok(())
}

fn served_by_an_agent(job: &InferenceJob) -> Result<()> {
    let status = job.status.as_ref().context("it has a status")?;
    let pods: Vec<&str> = status
        .assignments
        .iter()
        .map(|assignment| assignment.pod.as_str())
        .collect();
    ensure!(
        !pods.is_empty() && !pods.contains(&IMPOSTOR) && !pods.contains(&FORGED),
        "it ran on {pods:?}"
    );
    Ok(())
}

/// An agent logs that it serves, and each attempt that it is given.
async fn got_nothing(farm: &Farm<'_>, pod: &str) -> Result<()> {
    let logs = ["--namespace", &farm.namespace, "logs", pod, "--tail=-1"];
    let logs = farm.stack.kubectl(&logs).await?;
    ensure!(
        logs.contains(SERVES),
        "{pod} does not serve: nothing would be looked at"
    );
    ensure!(!logs.contains(GIVEN_WORK), "{pod} was given work");
    Ok(())
}
