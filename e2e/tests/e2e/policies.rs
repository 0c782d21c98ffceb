//! Who reaches whom, on a cluster whose network enforces policies.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use e2e::{
    container::Process,
    farm::{Farm, Offer},
    stack::Stack,
    wait,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service},
};
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::{Value, json};

use super::{on_stack, receipts::assert_all_paid};

/// Where an agent takes work.
const AGENT_PORT: u16 = 8443;
/// Where the operator tells its metrics.
const METRICS_PORT: u16 = 8080;
/// A pod of the farm's namespace that runs the same program as an agent and has none of its labels.
const STRANGER: &str = "stranger";
/// Its program, and an agent's.
const AGENT: &str = "gpu-agent";

#[test]
#[ignore = "the testbed's network enforces no NetworkPolicy: `./x test kind` runs it"]
fn an_agent_reaches_nobody_and_nobody_but_the_operator_reaches_an_agent() -> Result<()> {
    on_stack("policies", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::kept(&stack)).await?;
        farm.ready().await?;
        farm.open_channel("1", "0.9").await?;
        let agent = farm.agents().await?.pop().context("an agent is kept")?;
        let operator = operator(&stack).await?;
        let stranger = stranger(&farm).await?;
        let agent_address = at(&agent, AGENT_PORT)?;
        let stranger_address = at(&stranger, AGENT_PORT)?;
        let metrics = at(&operator, METRICS_PORT)?;
        let (api, chain) = (api_server(&stack).await?, chain(&stack)?);
        let agent = Process::of(&agent, AGENT)?;
        let stranger = Process::of(&stranger, AGENT)?;
        let operator = Process::of(&operator, "cocoon-operator")?;

        // What nobody is kept from answers, so that what follows is the policies' doing.
        for address in [stranger_address, metrics, api, chain] {
            comes_to(stranger, address, true).await?;
        }
        comes_to(operator, agent_address, true).await?;
        comes_to(stranger, agent_address, false).await?;
        for address in [stranger_address, metrics, api, chain] {
            comes_to(agent, address, false).await?;
        }
        comes_to(operator, stranger_address, false).await?;

        farm.submit("served", &["Once upon a time"], 300_000_000).await?;
        let job = farm.wait_for("served", "Settled").await?;
        assert_all_paid(&farm, &[(&job, 1)]).await?;
        // Whoever was kept from others still is.
        ensure!(!stranger.reaches(agent_address)? && !agent.reaches(api)?);
        Ok(())
    })
}

/// Waits until a process reaches an address, or does not: rules follow what they are made from.
async fn comes_to(from: Process, address: SocketAddr, wanted: bool) -> Result<()> {
    let verb = if wanted { "reaches" } else { "does not reach" };
    wait::until(&format!("{from:?} {verb} {address}"), || async {
        Ok((from.reaches(address)? == wanted).then_some(()))
    })
    .await
}

fn at(pod: &Pod, port: u16) -> Result<SocketAddr> {
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
    let ip = ip.with_context(|| format!("pod {} has no address", pod.name_any()))?;
    Ok(SocketAddr::new(ip.parse()?, port))
}

async fn operator(stack: &Stack) -> Result<Pod> {
    let pods: Api<Pod> = Api::namespaced(stack.client.clone(), &stack.description.operator_namespace);
    let found = pods
        .list(&ListParams::default().labels("app.kubernetes.io/name=cocoon-operator"))
        .await?;
    found.items.into_iter().next().context("an operator runs")
}

async fn api_server(stack: &Stack) -> Result<SocketAddr> {
    let services: Api<Service> = Api::namespaced(stack.client.clone(), "default");
    let service = services.get("kubernetes").await?;
    let ip = service.spec.and_then(|spec| spec.cluster_ip);
    Ok(SocketAddr::new(
        ip.context("the API server has an address")?.parse()?,
        443,
    ))
}

fn chain(stack: &Stack) -> Result<SocketAddr> {
    let address = stack.description.chain.trim_start_matches("http://");
    address
        .parse()
        .with_context(|| format!("{address} is no address"))
}

/// Makes a pod as the agents' own, and takes from it what makes it one.
async fn stranger(farm: &Farm<'_>) -> Result<Pod> {
    let deployments = farm.api::<Deployment>().list(&ListParams::default()).await?;
    let deployment = deployments.items.into_iter().next().and_then(|found| found.spec);
    let template = deployment.context("the farm has a Deployment")?.template;
    let mut spec = serde_json::to_value(&template)?["spec"].clone();
    spec["containers"][0]["resources"] = json!({});
    spec["nodeSelector"] = Value::Null;
    spec["affinity"] = Value::Null;
    farm.create::<Pod>(&json!({"metadata": {"name": STRANGER}, "spec": spec}))
        .await?;
    let is_ready = |pod: &Pod| {
        let status = pod.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|conditions| {
            conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        })
    };
    wait::object(&farm.api::<Pod>(), STRANGER, "the stranger serves", is_ready).await
}
