//! `cargo xtask kind`: a cluster made by kind, whose nodes are containers, with software GPUs and our images on them.
//!
//! What runs on it goes there through the path of a cluster that is given: [`stack::up`] with a kubeconfig. Nothing but
//! this folder knows kind.

mod engine;
mod host;
mod node_image;
mod packages;
mod workers;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use crate::{cache, cluster, e2e, image, model, stack, workspace};
use engine::Engine;
use node_image::NodeImage;

/// kind's name of the cluster, which begins those of its nodes.
const NAME: &str = "cocoon";
/// Nodes unless asked otherwise: agents on two workers are one of the tests.
const NODES: u8 = 3;
/// GPUs that each worker offers unless asked otherwise.
const GPUS: u16 = 2;
/// kind's limit for the control plane to become ready.
const READY_LIMIT: &str = "180s";
/// Folders of the state folder with the driver in software, and with a file of each node's name that holds the indices of
/// its failed GPUs. A worker has each at the path after it.
const DRIVER: (&str, &str) = ("driver", "/opt/testbed-driver");
const FAILURES: (&str, &str) = ("failures", "/opt/testbed-failures");
/// Folder of the state folder with what runs on this machine: the testbed's stack is another, and each ends by itself.
const STACK: &str = "stack";
/// Where NVIDIA's container runtime reads from a container's mounts which GPUs it may have, here all of them.
const EVERY_GPU: &str = "/var/run/nvidia-container-devices/all";

/// Arguments of `cargo xtask kind`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Make the cluster, or what of it is missing, and run the stack on it
    Up(Up),
    /// Remove the cluster and every trace of it
    Down,
    /// Run the end-to-end tests on it
    Test {
        #[command(flatten)]
        up: Up,
        /// Remove the cluster afterwards
        #[arg(long)]
        down: bool,
        /// Names of tests, or parts of names [default: all]
        tests: Vec<String>,
    },
    /// Build the node image and print its name and digest
    Image,
    /// Pin the Debian packages that the archive offers
    Repin,
}

/// What to make.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct Up {
    /// Nodes, the control plane included [default: 3]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) nodes: Option<u8>,
    /// Software GPUs of each worker, or `all` for this machine's own cards [default: 2]
    #[arg(long, value_name = "N|all")]
    pub(crate) gpus: Option<Gpus>,
    /// Use this node image, which may be one of kind's own, instead of building it
    #[arg(long, value_name = "REF")]
    pub(crate) node_image: Option<String>,
    /// Put this operator into its image instead of building it
    #[arg(long, value_name = "PATH")]
    pub(crate) operator_binary: Option<PathBuf>,
    /// Put this agent into its image instead of building it
    #[arg(long, value_name = "PATH")]
    pub(crate) agent_binary: Option<PathBuf>,
}

/// Which GPUs the workers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gpus {
    /// So many of the testbed's on each, whose driver is software.
    Software(u16),
    /// This machine's cards, all of them on each.
    All,
}

impl FromStr for Gpus {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "all" => Ok(Self::All),
            number => number
                .parse()
                .map(Self::Software)
                .map_err(|_| anyhow!("{number} is neither a number of GPUs nor `all`")),
        }
    }
}

/// Runs `cargo xtask kind`.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Action::Up(options) => println!("{}", stack::up(&up(options)?)?.display()),
        Action::Down => down()?,
        Action::Test {
            up: options,
            down: ends,
            tests,
        } => {
            let code = e2e::on(&stack::up(&up(options)?)?, tests)?;
            if *ends {
                down()?;
            }
            return Ok(code);
        }
        Action::Image => drop(node_image::build(&cluster::program()?, true)?),
        Action::Repin => packages::repin(&node_image::recipe().join("packages.txt"))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What is made before the cluster.
struct Made {
    images: Vec<image::Built>,
    /// Folder of the programs that run beside the cluster.
    binaries: PathBuf,
    kind: PathBuf,
    node: NodeImage,
    model: PathBuf,
}

/// Makes the cluster, or what of it is missing, and answers how the stack goes on it.
pub(crate) fn up(options: &Up) -> Result<stack::Up> {
    let gpus = options.gpus.unwrap_or(Gpus::Software(GPUS));
    let state = state()?;
    fs::create_dir_all(&state).with_context(|| format!("create {}", state.display()))?;
    let engine = Engine::choose(&state)?;
    if engine.name == "podman" {
        // Before its first command, which makes folders already.
        host::note(&state)?;
    }
    if gpus == Gpus::All {
        workers::check_cards(&engine)?;
    }
    let made = make(options)?;
    let cluster = Cluster { engine, state, made };
    cluster.create(options, gpus)?;
    cluster.start(gpus)
}

/// Builds and downloads what is needed, cargo's part and go's side by side.
fn make(options: &Up) -> Result<Made> {
    let cargo = || -> Result<_> {
        stack::say("building images");
        let images = image::build(&image::Args {
            operator_binary: options.operator_binary.clone(),
            agent_binary: options.agent_binary.clone(),
            ..image::Args::default()
        })?;
        Ok((images, stack::build_binaries()?))
    };
    let go = || -> Result<_> {
        let kind = node_image::kind()?;
        let node = match &options.node_image {
            Some(reference) => NodeImage::given(reference),
            None => node_image::build(&cluster::program()?, false)?,
        };
        Ok((kind, node, model::fetch()?))
    };
    let (built, fetched) = std::thread::scope(|scope| {
        let built = scope.spawn(cargo);
        let fetched = go();
        (built.join().expect("a panic has been printed"), fetched)
    });
    let ((images, binaries), (kind, node, model)) = (built?, fetched?);
    Ok(Made {
        images,
        binaries,
        kind,
        node,
        model,
    })
}

/// The cluster, whether it is there or not.
struct Cluster {
    engine: Engine,
    state: PathBuf,
    made: Made,
}

impl Cluster {
    /// Creates the nodes unless they are there.
    fn create(&self, options: &Up, gpus: Gpus) -> Result<()> {
        let there = nodes(&self.engine, &self.made.kind)?;
        if !there.is_empty() {
            let asked = options.nodes.map_or(there.len(), usize::from);
            ensure!(
                asked == there.len(),
                "the cluster has {} nodes and {asked} are asked for: `./x kind down` first",
                there.len()
            );
            return Ok(());
        }
        // kind gives it to every node, and some machines have none.
        fs::create_dir_all("/lib/modules").context("create /lib/modules")?;
        let image = &self.made.node;
        if let Some(file) = image
            .file
            .as_deref()
            .filter(|_| !self.engine.has_image(&image.reference))
        {
            stack::say("loading the node image");
            self.engine
                .run(&["load", "--input", &file.display().to_string()])?;
        }
        stack::say("starting Kubernetes");
        let file = self.state.join("cluster.json");
        let models = self.made.model.parent().unwrap_or(Path::new("/"));
        for (folder, _) in [DRIVER, FAILURES] {
            let folder = self.state.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        }
        let config = config(options.nodes.unwrap_or(NODES), gpus, models, &self.state)?;
        stack::write_json(&file, &config)?;
        let mut create = self.engine.command(&self.made.kind);
        create
            .args(["create", "cluster", "--name", NAME, "--wait", READY_LIMIT])
            .args(["--image", &image.reference])
            .arg("--config")
            .arg(&file)
            .arg("--kubeconfig")
            .arg(kubeconfig(&self.state));
        stack::succeed(&mut create)
    }

    /// Brings images and GPUs to the nodes.
    fn start(&self, gpus: Gpus) -> Result<stack::Up> {
        let nodes = nodes(&self.engine, &self.made.kind)?;
        let found = |name: &str| {
            let image = self.made.images.iter().find(|image| image.name.ends_with(name));
            image.with_context(|| format!("no image of {name} was built"))
        };
        let (operator, agent) = (found("operator")?, found("gpu-agent")?);
        stack::say("loading images");
        for image in [operator, agent] {
            let mut load = self.engine.command(&self.made.kind);
            load.args(["load", "image-archive", "--name", NAME])
                .arg(&image.file);
            stack::succeed(&mut load)?;
        }
        let workers = workers(&nodes);
        match gpus {
            Gpus::Software(count) => {
                stack::say("offering software GPUs");
                let driver = stack::install_driver(&self.state.join(DRIVER.0), &self.made.binaries)?;
                let driver = driver.file_name().context("the driver has a name")?;
                let driver = Path::new(DRIVER.1).join(driver);
                for worker in &workers {
                    let software = workers::Software {
                        count,
                        driver: &driver,
                        failures: &Path::new(FAILURES.1).join(worker),
                    };
                    software.offer(&self.engine, worker, &self.made.binaries)?;
                }
                stack::wait_for_gpus(&kubeconfig(&self.state), usize::from(count) * workers.len())?;
            }
            Gpus::All => {
                stack::say("giving the workers this machine's GPUs");
                for worker in &workers {
                    workers::give_cards(&self.engine, worker)?;
                }
            }
        }
        Ok(stack::Up {
            kubeconfig: Some(kubeconfig(&self.state)),
            operator_image: Some(operator.reference.clone()),
            agent_image: Some(agent.reference.clone()),
            host_address: Some(IpAddr::V4(self.engine.host_address()?)),
            model_path: Some(self.made.model.clone()),
            gpu_failures: (gpus != Gpus::All).then(|| self.state.join(FAILURES.0)),
            state: Some(self.state.join(STACK)),
            ..stack::Up::default()
        })
    }
}

/// Removes the cluster and every trace of it. None is no error.
pub(crate) fn down() -> Result<()> {
    let state = state()?;
    if !state.exists() {
        return Ok(());
    }
    stack::forget(&state.join(STACK))?;
    let engine = Engine::of(&state);
    let mut delete = engine.command(node_image::kind()?);
    delete
        .args(["delete", "cluster", "--name", NAME, "--kubeconfig"])
        .arg(kubeconfig(&state));
    stack::succeed(&mut delete)?;
    engine.clear(&state)?;
    host::restore(&state)?;
    fs::remove_dir_all(&state).with_context(|| format!("remove {}", state.display()))
}

fn state() -> Result<PathBuf> {
    Ok(cache::folder("kind")?.join("state"))
}

fn kubeconfig(state: &Path) -> PathBuf {
    state.join("kubeconfig")
}

/// The names of the cluster's nodes, sorted; none where it is not there.
fn nodes(engine: &Engine, kind: &Path) -> Result<Vec<String>> {
    let output = engine
        .command(kind)
        .args(["get", "nodes", "--name", NAME])
        .output()
        .context("run kind get nodes")?;
    ensure!(
        output.status.success(),
        "kind get nodes failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let mut nodes: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    nodes.sort();
    Ok(nodes)
}

/// The nodes that pods of users run on: where there is but the control plane, that one.
fn workers(nodes: &[String]) -> Vec<&String> {
    let workers: Vec<&String> = nodes.iter().filter(|node| node.contains("-worker")).collect();
    if workers.is_empty() {
        nodes.iter().collect()
    } else {
        workers
    }
}

/// The committed configuration with so many nodes, and what each worker is given of this machine.
fn config(nodes: u8, gpus: Gpus, models: &Path, state: &Path) -> Result<Value> {
    let path = workspace::root().join("e2e/kind/cluster.yaml");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let mut config: Value =
        serde_saphyr::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    let Some([control_plane, worker]) = config["nodes"].as_array().map(Vec::as_slice) else {
        bail!("{} has not a control plane and a worker", path.display());
    };
    // At the same path, since tests name it to the node and read it themselves.
    let mut mounts = vec![json!({"hostPath": models, "containerPath": models, "readOnly": true})];
    match gpus {
        Gpus::All => mounts.push(json!({"hostPath": "/dev/null", "containerPath": EVERY_GPU})),
        // What NVIDIA's runtime would put there because of that mount: the driver.
        Gpus::Software(_) => mounts.extend([DRIVER, FAILURES].map(
            |(folder, path)| json!({"hostPath": state.join(folder), "containerPath": path, "readOnly": true}),
        )),
    }
    let (mut control_plane, mut worker) = (control_plane.clone(), worker.clone());
    let runs_pods = if nodes == 1 {
        &mut control_plane
    } else {
        &mut worker
    };
    runs_pods["extraMounts"] = Value::Array(mounts);
    let workers = std::iter::repeat_n(worker, usize::from(nodes) - 1);
    config["nodes"] = std::iter::once(control_plane).chain(workers).collect();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_has_the_models_and_only_with_real_cards_every_gpu() {
        let of = |nodes, gpus| config(nodes, gpus, Path::new("/models"), Path::new("/state")).unwrap();
        let three = of(3, Gpus::Software(2));
        let roles: Vec<&Value> = three["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| &node["role"])
            .collect();
        assert_eq!(roles, ["control-plane", "worker", "worker"]);
        assert_eq!(three["nodes"][2]["extraMounts"][0]["containerPath"], "/models");
        assert_eq!(
            three["nodes"][2]["extraMounts"][1],
            json!({"hostPath": "/state/driver", "containerPath": "/opt/testbed-driver", "readOnly": true})
        );
        assert!(!three.to_string().contains(EVERY_GPU));
        assert_eq!(
            of(2, Gpus::All)["nodes"][1]["extraMounts"][1],
            json!({"hostPath": "/dev/null", "containerPath": EVERY_GPU})
        );
        let alone = of(1, Gpus::Software(2));
        assert_eq!(alone["nodes"].as_array().unwrap().len(), 1);
        assert_eq!(alone["nodes"][0]["extraMounts"][0]["hostPath"], "/models");
    }

    #[test]
    fn pods_run_on_workers_and_on_a_control_plane_that_is_alone() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let all = names(&["cocoon-control-plane", "cocoon-worker", "cocoon-worker2"]);
        assert_eq!(workers(&all), [&all[1], &all[2]]);
        assert_eq!(workers(&all[..1]), [&all[0]]);
    }

    #[test]
    fn gpus_are_a_number_or_all() {
        assert_eq!("all".parse::<Gpus>().unwrap(), Gpus::All);
        assert_eq!("4".parse::<Gpus>().unwrap(), Gpus::Software(4));
        assert!("some".parse::<Gpus>().unwrap_err().to_string().contains("some"));
    }
}
