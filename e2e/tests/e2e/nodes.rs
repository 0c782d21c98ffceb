//! Agents on several nodes: GPUs as the nodes' labels say, devices as the kubelet gave them, work on each of them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use cocoon_api::crd::{CocoonProvider, InferenceJob, provider::InventorySource};
use e2e::{
    container::Process,
    farm::{Farm, Offer, PROVIDER, prompts},
    room,
    stack::Stack,
    wait,
};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, ResourceExt as _, api::ListParams};

use super::{on_stack, receipts::assert_all_paid};

const RESOURCE: &str = "nvidia.com/gpu";
/// Enough requests that a job still runs when the next one is dispatched.
const REQUESTS: usize = 24;

/// One node with GPUs, in the words of GPU feature discovery.
#[derive(Debug)]
struct GpuNode {
    name: String,
    labels: BTreeMap<String, String>,
    capacity: u32,
    allocatable: u32,
}

impl GpuNode {
    async fn all(stack: &Stack) -> Result<Vec<Self>> {
        let nodes: Api<Node> = Api::all(stack.client.clone());
        let params = ListParams::default().labels("nvidia.com/gpu.present=true");
        nodes.list(&params).await?.items.iter().map(Self::of).collect()
    }

    fn of(node: &Node) -> Result<Self> {
        let status = node.status.as_ref().context("the node has a status")?;
        let count = |quantities: &Option<BTreeMap<_, _>>| -> Result<u32> {
            let quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity = quantities
                .as_ref()
                .and_then(|quantities| quantities.get(RESOURCE))
                .with_context(|| format!("node {} has no {RESOURCE}", node.name_any()))?;
            Ok(quantity.0.parse()?)
        };
        Ok(Self {
            name: node.name_any(),
            labels: node.labels().clone(),
            capacity: count(&status.capacity)?,
            allocatable: count(&status.allocatable)?,
        })
    }

    fn label(&self, name: &str) -> Result<&str> {
        let found = self.labels.get(&format!("nvidia.com/{name}"));
        Ok(found.with_context(|| format!("node {} lacks the label nvidia.com/{name}", self.name))?)
    }

    fn product(&self) -> Result<&str> {
        self.label("gpu.product")
    }

    /// The labels agree with what the kubelet offers, and a software GPU is named so.
    fn check(&self) -> Result<()> {
        ensure!(
            self.label("gpu.count")?.parse::<u32>()? == self.capacity && self.allocatable == self.capacity,
            "{self:?}"
        );
        if self.label("gpu.machine")? == "Cocoon-Testbed" {
            ensure!(
                self.product()?.contains("Software"),
                "{} could be taken for a real GPU",
                self.product()?
            );
        }
        Ok(())
    }
}

/// The provider's status has the GPUs of the labels, none more and none less.
fn assert_inventory(provider: &CocoonProvider, nodes: &[GpuNode]) -> Result<()> {
    let status = provider.status.as_ref().context("the provider has a status")?;
    let total: u32 = nodes.iter().map(|node| node.allocatable).sum();
    let gpus = status.gpus;
    ensure!(
        (gpus.capacity, gpus.allocatable) == (total, total),
        "{gpus:?}, the nodes have {total}"
    );
    ensure!(gpus.allocated + gpus.free == total, "{gpus:?}");
    let count = u32::try_from(nodes.len())?;
    ensure!(
        (status.nodes.matched, status.nodes.ready) == (count, count),
        "{:?}, {count} nodes have GPUs",
        status.nodes
    );
    ensure!(
        status.inventory_source == Some(InventorySource::GFD),
        "{:?}",
        status.inventory_source
    );
    let names: BTreeSet<_> = nodes.iter().map(GpuNode::product).collect::<Result<_>>()?;
    ensure!(status.products.len() == names.len(), "{:?}", status.products);
    for product in &status.products {
        let mut of_product = Vec::new();
        for node in nodes {
            if node.product()? == product.name {
                of_product.push(node);
            }
        }
        let first = of_product
            .first()
            .with_context(|| format!("no node has {}", product.name))?;
        let count: u32 = of_product.iter().map(|node| node.allocatable).sum();
        let capability = format!(
            "{}.{}",
            first.label("gpu.compute.major")?,
            first.label("gpu.compute.minor")?
        );
        ensure!(
            product.count == count
                && product.memory_mib == Some(first.label("gpu.memory")?.parse()?)
                && product.compute_capability == Some(capability)
                && product.driver.as_deref() == Some(first.label("cuda.driver-version.full")?),
            "{product:?} is not what {} says",
            first.name
        );
    }
    Ok(())
}

/// Every agent holds as many GPUs as it asked for, and no two of one node hold the same.
fn assert_devices(agents: &[Pod], gpus_per_replica: usize) -> Result<()> {
    let mut given = BTreeSet::new();
    for agent in agents {
        let environment = Process::of(agent, "gpu-agent")?.environment()?;
        let visible = environment
            .get("NVIDIA_VISIBLE_DEVICES")
            .with_context(|| format!("agent {} was given no GPU", agent.name_any()))?;
        let devices: Vec<&str> = visible.split(',').collect();
        ensure!(
            devices.len() == gpus_per_replica && devices.iter().all(|device| device.starts_with("GPU-")),
            "{visible} are not {gpus_per_replica} GPUs"
        );
        for device in devices {
            ensure!(given.insert(device.to_owned()), "{device} was given twice");
        }
    }
    Ok(())
}

fn node_of(agents: &[Pod], job: &InferenceJob) -> Result<String> {
    let assignments = job.status.clone().unwrap_or_default().assignments;
    let [assignment] = &assignments[..] else {
        anyhow::bail!("one attempt was expected: {assignments:?}");
    };
    let pod = agents
        .iter()
        .find(|pod| pod.name_any() == assignment.pod)
        .with_context(|| format!("{} is no agent", assignment.pod))?;
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    node.context("the agent has a node")
}

#[test]
fn agents_on_two_nodes_hold_their_gpus_and_are_paid_for_what_each_did() -> Result<()> {
    on_stack("two-nodes", |stack, namespace| async move {
        // Each agent takes most of a node, so nobody else can hold any.
        room::with_every_gpu(&stack, || two_nodes(&stack, &namespace)).await
    })
}

async fn two_nodes(stack: &Stack, namespace: &str) -> Result<()> {
    let nodes = GpuNode::all(stack).await?;
    ensure!(
        nodes.len() >= 2,
        "one node has GPUs, and this test needs two: `./x down`, then `./x test e2e` starts two"
    );
    for node in &nodes {
        node.check()?;
    }
    // So many that no node has room for two agents.
    let most = nodes
        .iter()
        .map(|node| node.allocatable)
        .max()
        .unwrap_or_default();
    let gpus_per_replica = most / 2 + 1;
    let offer = Offer {
        gpus_per_replica,
        min_replicas: 2,
        max_replicas: 2,
        ..Offer::of(stack)
    };
    let farm = Farm::start(stack, namespace, &offer).await?;
    farm.open_channel("2", "1.9").await?;
    farm.ready().await?;

    let agents = farm.agents().await?;
    assert_devices(&agents, usize::try_from(gpus_per_replica)?)?;
    let held = 2 * gpus_per_replica;
    let all_held = |provider: &CocoonProvider| {
        let status = provider.status.as_ref();
        status.is_some_and(|status| status.gpus.allocated == held && status.models[0].ready == 2)
    };
    let providers = farm.api::<CocoonProvider>();
    let provider = wait::object(&providers, PROVIDER, "both agents hold their GPUs", all_held).await?;
    assert_inventory(&provider, &nodes)?;

    let prompts = prompts(REQUESTS);
    farm.submit("one", &prompts, 900_000_000).await?;
    farm.wait_for("one", "Scheduled").await?;
    // The agent with the fewest jobs takes the next: the other one, on the other node.
    farm.submit("two", &prompts, 900_000_000).await?;
    let one = farm.wait_for("one", "Settled").await?;
    let two = farm.wait_for("two", "Settled").await?;
    ensure!(
        node_of(&agents, &one)? != node_of(&agents, &two)?,
        "each node worked on one of the jobs"
    );
    assert_all_paid(&farm, &[(&one, REQUESTS), (&two, REQUESTS)]).await
}
