//! Clusters of IPv4, of IPv6, and of both: what is ours has an address of each family that the cluster has, and answers
//! there.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context as _, Result, ensure};
use cocoon_api::names::{AGENT_COMPONENT, AGENT_HEALTH_PORT, AGENT_PORT, COMPONENT_LABEL};
use e2e::{
    container::Process,
    farm::{CHANNEL, Farm, MODEL, Offer},
    stack::Stack,
    wait,
};
use k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::json;

use super::on_stack;

/// Where the operator tells its metrics and answers its probes.
const METRICS_PORT: u16 = 8080;
/// A Service that leads to the agents of a farm, as nobody needs one.
const SERVICE: &str = "agents";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    IPv4,
    IPv6,
}

impl Family {
    fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::IPv4 } else { Self::IPv6 }
    }

    /// As Kubernetes spells it.
    fn name(self) -> &'static str {
        match self {
            Self::IPv4 => "IPv4",
            Self::IPv6 => "IPv6",
        }
    }
}

type Families = BTreeSet<Family>;

#[test]
fn what_is_ours_answers_on_every_family_that_the_cluster_has() -> Result<()> {
    on_stack("families", |stack, namespace| async move {
        let families = families_of_nodes(&stack).await?;
        println!("the cluster has {families:?}");
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.5").await?;
        assert_command_line(&farm).await?;

        let operator = operator(&stack).await?;
        let operator_runs = Process::of(&operator, "cocoon-operator")?;
        for address in addresses(&operator, &families)? {
            assert_answers(operator_runs, address, METRICS_PORT, "/metrics")?;
        }
        let agent = farm.agents().await?.into_iter().next().context("an agent runs")?;
        let agent_runs = Process::of(&agent, "gpu-agent")?;
        for address in addresses(&agent, &families)? {
            assert_answers(agent_runs, address, AGENT_HEALTH_PORT, "/readyz")?;
            ensure!(
                operator_runs.reaches(SocketAddr::new(address, AGENT_PORT))?,
                "{address}"
            );
        }
        assert_agents_behind_a_service(&farm, operator_runs, &families).await?;
        assert_metrics_service(&stack, &families).await
    })
}

/// What a payer types goes through the API server, at an address of the cluster's family.
async fn assert_command_line(farm: &Farm<'_>) -> Result<()> {
    let run = format!("run --model {MODEL} --channel {CHANNEL} --max 0.1 --max-tokens 8 --settled Hello");
    for line in [&*run, "status", &format!("channel show {CHANNEL}")] {
        let words: Vec<&str> = line.split(' ').chain(["--namespace", &farm.namespace]).collect();
        let said = farm
            .stack
            .kubectl_cocoon(&words, &farm.payer_key)
            .await?
            .success()?;
        println!("$ kubectl cocoon {line}\n{said}");
    }
    Ok(())
}

async fn families_of_nodes(stack: &Stack) -> Result<Families> {
    let nodes = Api::<Node>::all(stack.client.clone());
    let nodes = nodes.list(&ListParams::default()).await?.items;
    let node = nodes.into_iter().next().context("the cluster has a node")?;
    let addresses = node
        .status
        .and_then(|status| status.addresses)
        .unwrap_or_default();
    let internal = addresses.iter().filter(|address| address.type_ == "InternalIP");
    let families = internal
        .map(|address| Ok(Family::of(address.address.parse()?)))
        .collect::<Result<Families>>()?;
    ensure!(!families.is_empty(), "a node has an address");
    Ok(families)
}

/// The addresses of a pod: one of each family. Its probes have passed at the first one.
fn addresses(pod: &Pod, families: &Families) -> Result<Vec<IpAddr>> {
    let status = pod.status.as_ref().context("the pod has a status")?;
    let conditions = status.conditions.iter().flatten();
    let is_ready = conditions
        .clone()
        .any(|is| is.type_ == "Ready" && is.status == "True");
    ensure!(
        is_ready,
        "{} is ready: {:?}",
        pod.name_any(),
        conditions.collect::<Vec<_>>()
    );
    let addresses = status
        .pod_ips
        .iter()
        .flatten()
        .map(|found| Ok(found.ip.parse()?))
        .collect::<Result<Vec<IpAddr>>>()?;
    let found: Families = addresses.iter().copied().map(Family::of).collect();
    ensure!(
        found == *families && addresses.len() == families.len(),
        "{addresses:?}"
    );
    Ok(addresses)
}

fn assert_answers(from: Process, address: IpAddr, port: u16, path: &str) -> Result<()> {
    let answer = from.get(SocketAddr::new(address, port), path)?;
    let line = answer.lines().next().unwrap_or_default();
    ensure!(line.contains(" 200"), "{address} answers {path} with {line:?}");
    Ok(())
}

/// A Service that asks for both families where there are both has an address of each, which leads to the agents.
async fn assert_agents_behind_a_service(
    farm: &Farm<'_>,
    operator: Process,
    families: &Families,
) -> Result<()> {
    let service = farm
        .create::<Service>(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE},
            "spec": {
                "ipFamilyPolicy": "PreferDualStack",
                "selector": {COMPONENT_LABEL: AGENT_COMPONENT},
                "ports": [{"port": AGENT_PORT}],
            },
        }))
        .await?;
    for address in cluster_addresses(&service, families)? {
        // Its rules are on the nodes a moment later.
        wait::until(&format!("{address} leads to an agent"), || async {
            Ok(operator
                .reaches(SocketAddr::new(address, AGENT_PORT))?
                .then_some(()))
        })
        .await?;
    }
    Ok(())
}

fn cluster_addresses(service: &Service, families: &Families) -> Result<Vec<IpAddr>> {
    let spec = service.spec.as_ref().context("a Service has a specification")?;
    let addresses = spec
        .cluster_ips
        .iter()
        .flatten()
        .map(|address| Ok(address.parse()?))
        .collect::<Result<Vec<IpAddr>>>()?;
    let found: Families = addresses.iter().copied().map(Family::of).collect();
    ensure!(found == *families, "{}: {addresses:?}", service.name_any());
    Ok(addresses)
}

/// The chart's own Service has an address and ready endpoints of each family.
async fn assert_metrics_service(stack: &Stack, families: &Families) -> Result<()> {
    let namespace = &stack.description.operator_namespace;
    let services: Api<Service> = Api::namespaced(stack.client.clone(), namespace);
    let ours = ListParams::default().labels("app.kubernetes.io/name=cocoon-operator");
    let service = services.list(&ours).await?.items.into_iter().next();
    let service = service.context("the chart has a Service")?;
    cluster_addresses(&service, families)?;
    let name = service.name_any();
    let slices: Api<EndpointSlice> = Api::namespaced(stack.client.clone(), namespace);
    let params = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
    wait::until("the metrics have an endpoint of each family", || async {
        let slices = slices.list(&params).await?.items;
        let has = |family: &Family| {
            slices.iter().any(|slice| {
                let is_ready = slice.endpoints.iter().any(|endpoint| {
                    endpoint
                        .conditions
                        .as_ref()
                        .is_some_and(|is| is.ready == Some(true))
                });
                slice.address_type == family.name() && is_ready
            })
        };
        Ok(families.iter().all(has).then_some(()))
    })
    .await
}

async fn operator(stack: &Stack) -> Result<Pod> {
    let pods: Api<Pod> = Api::namespaced(stack.client.clone(), &stack.description.operator_namespace);
    let params = ListParams::default().labels("app.kubernetes.io/name=cocoon-operator");
    pods.list(&params)
        .await?
        .items
        .into_iter()
        .next()
        .context("an operator runs")
}
