//! `cargo xtask stack`: everything that the demo and the end-to-end tests run on.
//!
//! A cluster with software GPUs, a TON network of one process beside it, the images on its nodes, and the chart
//! installed. What is there already stays: a second `up` takes seconds. `stack.json` in the state folder tells the
//! programs that use it where everything is.

mod address;
mod chain;
mod chart;
mod given;
mod process;
mod testbed;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{cache, cluster, image, model, tools, workspace};

/// Namespace of the operator.
const OPERATOR_NAMESPACE: &str = "cocoon-system";
/// Namespaces of the demo, as `e2e::demo` names them.
const DEMO_NAMESPACES: [&str; 2] = ["cocoon-demo", "cocoon-demo-cuda"];
/// Names of the end-to-end tests' namespaces begin so, as `e2e::namespace` names them.
const TEST_PREFIX: &str = "e2e-";
/// Name of the description in the state folder.
const DESCRIPTION: &str = "stack.json";
/// Helm's name for the installation.
const RELEASE: &str = "cocoon";
/// Name of the TON network, in the chart's values and in resources.
const NETWORK: &str = "testbed";
/// Its global id: neither mainnet's nor testnet's, so that nothing signed here is valid there.
const GLOBAL_ID: i32 = -217;
/// Name of the chain's process.
const CHAIN: &str = "chain";
/// What is started answers within this time, or its log tells why not.
const START_LIMIT: Duration = Duration::from_secs(90);
/// Between two looks at what is being started.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Arguments of `cargo xtask stack`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Start it, or what of it is missing, and print the path of its description
    Up(Box<Up>),
    /// End it and remove every trace
    Down,
}

/// What to start.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct Up {
    /// Nodes of the testbed's cluster
    #[arg(long)]
    pub(crate) nodes: Option<u8>,
    /// Software GPUs of each node [default: 2]
    #[arg(long)]
    pub(crate) gpus: Option<u16>,
    /// IP family of the testbed's nodes, pods and services [default: that of the running one, or ipv4]
    #[arg(long, value_name = "FAMILY", conflicts_with = "kubeconfig")]
    pub(crate) ip_family: Option<IpFamily>,
    /// Put this operator into its image instead of building it
    #[arg(long, value_name = "PATH", conflicts_with = "kubeconfig")]
    pub(crate) operator_binary: Option<PathBuf>,
    /// Put this agent into its image instead of building it
    #[arg(long, value_name = "PATH", conflicts_with = "kubeconfig")]
    pub(crate) agent_binary: Option<PathBuf>,
    /// Use this cluster instead of the testbed's
    #[arg(long, value_name = "PATH", requires_all = ["operator_image", "agent_image"])]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Operator image that the cluster of --kubeconfig can pull
    #[arg(long, value_name = "REF", requires = "kubeconfig")]
    pub(crate) operator_image: Option<String>,
    /// Agent image that the cluster of --kubeconfig can pull
    #[arg(long, value_name = "REF", requires = "kubeconfig")]
    pub(crate) agent_image: Option<String>,
    /// This machine's address as the pods of --kubeconfig reach it
    #[arg(long, value_name = "ADDRESS", requires = "kubeconfig")]
    pub(crate) host_address: Option<std::net::IpAddr>,
    /// The model's file on the nodes of --kubeconfig
    #[arg(long, value_name = "PATH", requires = "kubeconfig")]
    pub(crate) model_path: Option<PathBuf>,
    /// Folder in which a file of a node's name holds the indices of its failed GPUs, where those of --kubeconfig are
    /// the testbed's
    #[arg(long, value_name = "DIR", requires = "kubeconfig")]
    pub(crate) gpu_failures: Option<PathBuf>,
    /// File that sets another size of the GPUs' memory while it is there, where those of --kubeconfig are the testbed's
    #[arg(long, value_name = "FILE", requires = "kubeconfig")]
    pub(crate) gpu_memory: Option<PathBuf>,
    /// Where this machine's part for the cluster of --kubeconfig keeps its state, unless in the cache: what has its own
    /// is ended by [`forget`] and not by [`down`]
    #[arg(skip)]
    pub(crate) state: Option<PathBuf>,
}

/// Which addresses there are, by the names of kind's configuration.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum IpFamily {
    Ipv4,
    Ipv6,
    /// Both, IPv4 first
    Dual,
}

impl IpFamily {
    /// As the cluster's program takes it.
    fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Dual => "dual",
        }
    }
}

impl Up {
    /// The same with so many nodes, unless their number is given.
    pub(crate) fn or_nodes(mut self, nodes: u8) -> Self {
        self.nodes = self.nodes.or(Some(nodes));
        self
    }
}

/// Runs `cargo xtask stack`.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.command {
        Action::Up(options) => println!("{}", up(options)?.display()),
        Action::Down => down()?,
    }
    Ok(())
}

/// Where the parts are that the chart and the description need.
struct Parts {
    state: PathBuf,
    kubeconfig: PathBuf,
    /// Root of the chain's HTTP server, from here and from pods.
    chain: String,
    operator_image: String,
    agent_image: String,
    model_path: PathBuf,
    plugin: PathBuf,
    gpus: usize,
    /// Folder with a file for each node that holds the indices of its failed GPUs, where the GPUs are the testbed's.
    gpu_failures: Option<PathBuf>,
    /// File that sets another size of the GPUs' memory, where the GPUs are the testbed's.
    gpu_memory: Option<PathBuf>,
    /// Folder of the nodes that keeps the models which were downloaded, unless it is the chart's.
    models: Option<PathBuf>,
}

/// Starts what is missing and answers the path of the description.
pub(crate) fn up(options: &Up) -> Result<PathBuf> {
    let parts = match &options.kubeconfig {
        None => testbed::up(options)?,
        Some(kubeconfig) => given::up(kubeconfig, options)?,
    };
    say("installing the chart");
    chart::install(&parts)?;
    describe(&parts)
}

/// Starts what is missing for a run of tests. A testbed on which a run was interrupted is started anew: what that left
/// holds GPUs.
pub(crate) fn up_for_tests(options: &Up) -> Result<PathBuf> {
    let description = up(options)?;
    if options.kubeconfig.is_some() || !has_tests(&described_kubeconfig(&description)?)? {
        return Ok(description);
    }
    say("starting anew, since a run before was interrupted");
    cluster::down()?;
    up(options)
}

fn described_kubeconfig(description: &Path) -> Result<PathBuf> {
    let read = || format!("read {}", description.display());
    let text = fs::read(description).with_context(read)?;
    let description: Value = serde_json::from_slice(&text).with_context(read)?;
    let kubeconfig = description["kubeconfig"].as_str().with_context(read)?;
    Ok(kubeconfig.into())
}

/// Whether a namespace of a test is there.
pub(crate) fn has_tests(kubeconfig: &Path) -> Result<bool> {
    let output = Command::new(tools::kubectl()?)
        .args(["get", "namespaces", "--output", "name"])
        .env("KUBECONFIG", kubeconfig)
        .output()
        .context("run kubectl get namespaces")?;
    ensure!(
        output.status.success(),
        "kubectl get namespaces failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let names = String::from_utf8_lossy(&output.stdout);
    let mut names = names.lines().filter_map(|line| line.strip_prefix("namespace/"));
    Ok(names.any(|name| name.starts_with(TEST_PREFIX)))
}

/// Ends everything and removes every trace of it.
pub(crate) fn down() -> Result<()> {
    given::down()?;
    cluster::down()
}

/// Ends what runs on this machine, with its state in a folder of its own, for a given cluster that is about to go.
pub(crate) fn forget(state: &Path) -> Result<()> {
    given::forget(state)
}

/// Builds the programs that run beside the cluster, in the profile that the tests use.
pub(crate) fn build_binaries() -> Result<PathBuf> {
    say("building the testbed");
    // With the features of the whole workspace, as the tests are built: nothing is compiled twice.
    let mut build = workspace::cargo();
    build.args(["build", "--quiet", "--workspace"]);
    for binary in ["testbed-chain", "testbed-device-plugin", "kubectl-cocoon"] {
        build.args(["--bin", binary]);
    }
    succeed(&mut build)?;
    // By itself: asking for the workspace's libraries would build all of them.
    let mut driver = workspace::cargo();
    succeed(driver.args(["build", "--quiet", "--package", "testbed-libcuda", "--lib"]))?;
    Ok(image::target_folder().join("debug"))
}

/// Puts the driver in software into a folder, where nothing changes it while containers use it: cargo writes into the
/// file that it built. Answers its path.
pub(crate) fn install_driver(folder: &Path, binaries: &Path) -> Result<PathBuf> {
    let built = binaries.join("libtestbed_libcuda.so");
    let (file, unfinished) = (folder.join("libcuda.so.1"), folder.join("unfinished"));
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    if !file.exists() || cache::sha256_file(&file)? != cache::sha256_file(&built)? {
        fs::copy(&built, &unfinished)
            .with_context(|| format!("copy {} to {}", built.display(), unfinished.display()))?;
        fs::rename(&unfinished, &file).with_context(|| format!("replace {}", file.display()))?;
    }
    Ok(file)
}

fn count_gpus(kubeconfig: &Path) -> Result<usize> {
    let path = "{range .items[*]}{.status.allocatable.nvidia\\.com/gpu}{\"\\n\"}{end}";
    let output = Command::new(tools::kubectl()?)
        .args(["get", "nodes", "--output", &format!("jsonpath={path}")])
        .env("KUBECONFIG", kubeconfig)
        .output()
        .context("run kubectl get nodes")?;
    ensure!(
        output.status.success(),
        "kubectl get nodes failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter_map(|line| line.trim().parse::<usize>().ok())
        .sum())
}

/// Waits until the nodes offer so many GPUs.
pub(crate) fn wait_for_gpus(kubeconfig: &Path, wanted: usize) -> Result<()> {
    wait("the nodes offer their GPUs", || {
        Ok(count_gpus(kubeconfig)? == wanted)
    })
}

fn describe(parts: &Parts) -> Result<PathBuf> {
    let description = json!({
        "kubeconfig": parts.kubeconfig,
        "kubectl": tools::kubectl()?,
        "helm": tools::helm()?,
        "release": RELEASE,
        "plugin": parts.plugin,
        "operatorNamespace": OPERATOR_NAMESPACE,
        "network": NETWORK,
        "globalId": GLOBAL_ID,
        "chain": parts.chain,
        "modelPath": parts.model_path,
        "modelSha256": model::SHA256,
        "agentImage": parts.agent_image,
        "gpus": parts.gpus,
        "gpuFailures": parts.gpu_failures,
        "gpuMemory": parts.gpu_memory,
    });
    let path = parts.state.join(DESCRIPTION);
    write_json(&path, &description)?;
    Ok(path)
}

/// Writes a file for programs that people may read.
pub(crate) fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_vec_pretty(value).context("encode JSON")?;
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Looks until `is_so`.
fn wait(what: &str, is_so: impl Fn() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !is_so()? {
        ensure!(
            start.elapsed() < START_LIMIT,
            "waited {START_LIMIT:?} in vain until {what}; the logs are in the state folder"
        );
        std::thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}

/// Runs a command to its end. What it prints shows only when it fails.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("run {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "{} failed: {}{}",
        command.get_program().display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Tells the person what is being done.
pub(crate) fn say(words: &str) {
    eprintln!("· {words}");
}
