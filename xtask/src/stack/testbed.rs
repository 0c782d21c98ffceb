//! The testbed's own cluster, with software GPUs and the images on its nodes.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Parts, Up, chain, install_driver, process, say, succeed, wait_for_gpus};
use crate::{cluster, image, model};

/// GPUs that each node offers unless asked otherwise.
const GPUS: u16 = 2;

/// Folder of the state folder with the driver in software, and what it shares between the containers of a node.
const DRIVER: &str = "driver";
/// Folder of the state folder with a file of each node's name that holds the indices of its failed GPUs.
const FAILURES: &str = "failures";
/// File with another size of the GPUs' memory, in MiB, for containers that start while it is there.
const MEMORY: &str = "gpu-memory";

/// What `testbed-cluster status --json` says, as far as it is needed here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    state: PathBuf,
    kubeconfig: PathBuf,
    #[serde(rename = "nodeIP")]
    node_ip: IpAddr,
    /// Null while the cluster is down.
    nodes: Option<Vec<Node>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    name: String,
    kubelet_root_dir: PathBuf,
}

/// What is made before anything starts.
struct Made {
    images: Vec<image::Built>,
    /// Folder of the programs that run beside the cluster.
    binaries: PathBuf,
}

fn make(options: &Up) -> Result<Made> {
    say("building images");
    let images = image::build(&image::Args {
        operator_binary: options.operator_binary.clone(),
        agent_binary: options.agent_binary.clone(),
        ..image::Args::default()
    })?;
    let binaries = super::build_binaries()?;
    Ok(Made { images, binaries })
}

/// Builds Kubernetes and fetches what is downloaded.
fn fetch() -> Result<(PathBuf, PathBuf)> {
    let program = cluster::program()?;
    cluster::install_packages(cluster::PACKAGES)?;
    say("fetching the model");
    Ok((program, model::fetch()?))
}

pub(super) fn up(options: &Up) -> Result<Parts> {
    // Side by side, since neither cargo nor go keeps all cores busy to its end. Nothing is started before both are
    // through: a cluster that starts among compilers misses its own deadlines.
    let (made, fetched) = std::thread::scope(|scope| {
        let made = scope.spawn(|| make(options));
        let fetched = fetch();
        (made.join().expect("a panic has been printed"), fetched)
    });
    let (Made { images, binaries }, (program, model_path)) = (made?, fetched?);
    say("starting Kubernetes");
    let mut up = Command::new(&program);
    up.arg("up");
    if let Some(nodes) = options.nodes {
        up.args(["--nodes", &nodes.to_string()]);
    }
    if let Some(family) = options.ip_family {
        up.args(["--ip-family", family.name()]);
    }
    succeed(&mut up)?;
    let status = status(&program)?;
    let found = |name: &str| {
        let image = images.iter().find(|image| image.name.ends_with(name));
        image.with_context(|| format!("no image of {name} was built"))
    };
    let (operator, agent) = (found("operator")?, found("gpu-agent")?);
    say("loading images");
    succeed(
        Command::new(&program)
            .arg("load")
            .args([&operator.file, &agent.file]),
    )?;
    say("starting the TON network");
    let within = |binary: &Path| {
        // Inside the node's network, so that pods reach it, and so that `down` ends it.
        let mut command = Command::new(&program);
        command.args(["exec", "--"]).arg(binary);
        command
    };
    let chain = chain::start(&status.state, status.node_ip, &binaries, within)?;
    say("offering software GPUs");
    let driver = install_driver(&status.state.join(DRIVER), &binaries)?;
    let per_node = options.gpus.unwrap_or(GPUS);
    let nodes = status.nodes.as_deref().unwrap_or_default();
    for node in nodes {
        start_device_plugin(&status, node, per_node, &driver, &binaries, within)?;
    }
    let gpus = usize::from(per_node) * nodes.len();
    wait_for_gpus(&status.kubeconfig, gpus)?;
    Ok(Parts {
        kubeconfig: status.kubeconfig.clone(),
        chain,
        operator_image: operator.reference.clone(),
        agent_image: agent.reference.clone(),
        model_path,
        plugin: binaries.join("kubectl-cocoon"),
        gpus,
        gpu_failures: Some(status.state.join(FAILURES)),
        gpu_memory: Some(status.state.join(MEMORY)),
        // This machine is every node, and what nodes keep goes with its state.
        models: Some(status.state.join("models")),
        state: status.state,
    })
}

/// Asks the cluster, whether it is up or not.
fn status(program: &Path) -> Result<Status> {
    let output = Command::new(program)
        .args(["status", "--json"])
        .output()
        .context("run testbed-cluster status")?;
    serde_json::from_slice(&output.stdout).context("read the status of the cluster")
}

fn start_device_plugin(
    status: &Status,
    node: &Node,
    gpus: u16,
    driver: &Path,
    binaries: &Path,
    command: impl Fn(&Path) -> Command,
) -> Result<()> {
    let failures = status.state.join(FAILURES);
    fs::create_dir_all(&failures).with_context(|| format!("create {}", failures.display()))?;
    let binary = binaries.join("testbed-device-plugin");
    let mut command = command(&binary);
    command.arg("--kubelet-dir").arg(&node.kubelet_root_dir);
    command.arg("--kubeconfig").arg(&status.kubeconfig);
    command.args(["--node", &node.name, "--gpus", &gpus.to_string()]);
    command.arg("--failures").arg(failures.join(&node.name));
    command.arg("--driver").arg(driver);
    command.arg("--driver-memory").arg(status.state.join(MEMORY));
    command
        .arg("--driver-state")
        .arg(status.state.join(DRIVER).join(&node.name));
    process::start(
        &status.state,
        &format!("device-plugin-{}", node.name),
        &binary,
        &mut command,
    )
}
