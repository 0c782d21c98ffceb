//! GPUs of the testbed, which can be made to fail.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;

use crate::{container::Process, stack::Stack, wait};

/// The extended resource.
pub const RESOURCE: &str = "nvidia.com/gpu";

/// GPUs that a node offers at the moment.
pub fn allocatable(node: &Node) -> u32 {
    let allocatable = node
        .status
        .as_ref()
        .and_then(|status| status.allocatable.as_ref());
    allocatable
        .and_then(|allocatable| allocatable.get(RESOURCE)?.0.parse().ok())
        .unwrap_or(0)
}

/// A GPU that has failed, for as long as this lives: its driver has lost it, and the kubelet is told that it is
/// unhealthy.
#[derive(Debug)]
pub struct Pulled {
    failures: PathBuf,
    /// The node that had it.
    pub node: String,
    /// GPUs that the node offered before.
    pub before: u32,
}

impl Pulled {
    /// Pulls the only GPU of an agent out of its node.
    pub async fn of(stack: &Stack, agent: &Pod) -> Result<Self> {
        let node = agent.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let node = node.context("the agent has no node")?;
        let folder = stack.description.gpu_failures.as_ref().context(
            "the GPUs of this cluster cannot be made to fail: run this test on the testbed, with `./x test e2e`",
        )?;
        let index = Process::of(agent, "gpu-agent")?.gpu_index()?;
        let nodes: Api<Node> = Api::all(stack.client.clone());
        let before = allocatable(&nodes.get(&node).await?);
        let failures = folder.join(&node);
        fs::write(&failures, index.to_string())
            .with_context(|| format!("could not write {}", failures.display()))?;
        Ok(Self {
            failures,
            node,
            before,
        })
    }

    /// Waits until the node offers so many GPUs.
    pub async fn wait_for_allocatable(&self, stack: &Stack, wanted: u32) -> Result<()> {
        let nodes: Api<Node> = Api::all(stack.client.clone());
        let what = format!("node {} offers {wanted} GPUs", self.node);
        wait::object(&nodes, &self.node, &what, |node| allocatable(node) == wanted).await?;
        Ok(())
    }

    /// Puts it back, and waits until it is offered again.
    pub async fn put_back(self, stack: &Stack) -> Result<()> {
        fs::remove_file(&self.failures)
            .with_context(|| format!("could not remove {}", self.failures.display()))?;
        self.wait_for_allocatable(stack, self.before).await
    }
}

impl Drop for Pulled {
    fn drop(&mut self) {
        // A test that failed leaves its GPU to the next one. Where it was put back, there is nothing to remove.
        let _ = fs::remove_file(&self.failures);
    }
}

/// Another size of the GPUs' memory, for containers that start as long as this lives.
#[derive(Debug)]
pub struct Memory(PathBuf);

impl Memory {
    /// Gives every GPU so many MiB.
    pub fn of_every_gpu(stack: &Stack, mib: u64) -> Result<Self> {
        let file = stack.description.gpu_memory.clone().context(
            "the GPUs of this cluster have the memory that they have: run this test on the testbed, with `./x test e2e`",
        )?;
        fs::write(&file, mib.to_string()).with_context(|| format!("could not write {}", file.display()))?;
        Ok(Self(file))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // Where it cannot be removed, the next test with a GPU says that its memory is small.
        let _ = fs::remove_file(&self.0);
    }
}
