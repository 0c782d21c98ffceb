//! `cargo xtask kind`: a cluster made by kind, whose nodes are containers, with software GPUs and our images on them.
//!
//! What runs on it goes there through the path of a cluster that is given: [`stack::up`] with a kubeconfig. Nothing but
//! this folder knows kind.

mod configuration;
mod engine;
mod host;
mod modules;
mod node_image;
mod packages;
mod traces;
mod trial;
mod workers;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::{cache, e2e, image, model, stack};
pub(crate) use configuration::Gpus;
use configuration::{CONFIGURATION, DRIVER, FAILURES, MEMORY, MEMORY_FILE, config};
use engine::Engine;
pub(crate) use engine::Unable;
use modules::KIND;
use node_image::NodeImage;
pub(crate) use traces::Traces;

/// kind's name of the cluster, which begins those of its nodes.
const NAME: &str = "cocoon";
/// Nodes unless asked otherwise: agents on two workers are one of the tests.
const NODES: u8 = 3;
/// GPUs that each worker offers unless asked otherwise.
const GPUS: u16 = 2;
/// kind's limit for the control plane to become ready.
const READY_LIMIT: &str = "180s";
/// Folder of the state folder with what runs on this machine: the testbed's stack is another, and each ends by itself.
const STACK: &str = "stack";
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
    /// Build the node image where the cache has none
    Image {
        /// Build it anew, twice, and compare the bytes
        #[arg(long)]
        check: bool,
    },
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

/// Runs `cargo xtask kind`.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Action::Up(options) => println!("{}", stack::up(&up(options)?)?.display()),
        Action::Down => down()?,
        Action::Test {
            up: options,
            down,
            tests,
        } => return test(options, *down, tests),
        Action::Image { check: true } => node_image::check(&node_image::Parts::build()?)?,
        Action::Image { check: false } => {
            println!("{}", node_image::build(&node_image::Parts::build()?)?.reference);
        }
        Action::Repin => packages::repin(&node_image::recipe().join("packages.txt"))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// How a program ends that could do nothing for want of what it stands on, in the words of automake's tests.
pub(crate) const SKIPPED: u8 = 77;

/// Runs end-to-end tests; [`SKIPPED`] is the answer of a machine that cannot run kind's nodes at all.
fn test(options: &Up, ends: bool, tests: &[String]) -> Result<ExitCode> {
    let described = remove_interrupted()
        .and_then(|()| up(options))
        .and_then(|stack| stack::up(&stack));
    let result = match described {
        Ok(description) => e2e::on(&description, tests, e2e::Ignored::Run),
        Err(error) if error.is::<Unable>() => {
            eprintln!("{error:#}");
            Ok(ExitCode::from(SKIPPED))
        }
        Err(error) => Err(error),
    };
    if ends {
        // Whatever happened: who asks for it wants the machine as it was.
        let ended = down();
        return result.and_then(|code| ended.map(|()| code));
    }
    result
}

/// Removes a cluster that was not finished, or on which a run of tests was interrupted: what that left holds GPUs. One
/// whose engine does not answer any more cannot be removed, and is forgotten.
fn remove_interrupted() -> Result<()> {
    let state = state()?;
    if !is_there()? || stack::has_tests(&kubeconfig(&state)).is_ok_and(|has| !has) {
        return Ok(());
    }
    if is_forgotten(&state, Engine::answers)? {
        return Ok(());
    }
    stack::say("removing the cluster, since a run before was interrupted");
    down()
}

/// Forgets a cluster whose engine does not answer; answers whether it did.
fn is_forgotten(state: &Path, answers: impl Fn(&Engine) -> bool) -> Result<bool> {
    let Some(engine) = engine_of(state).filter(|engine| !answers(engine)) else {
        return Ok(false);
    };
    stack::say(&format!(
        "forgetting the cluster of a run before, since {} does not answer",
        engine.name
    ));
    stack::forget(&state.join(STACK))?;
    remove_folder(state)?;
    Ok(true)
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
    let with_cards = match gpus {
        Gpus::Software(_) => None,
        Gpus::All => Some(workers::engine_with_cards()?),
    };
    fs::create_dir_all(&state).with_context(|| format!("create {}", state.display()))?;
    let engine = with_cards.map_or_else(|| Engine::choose(&state), Ok)?;
    if engine.name == "podman" {
        // Before its first command, which makes folders already.
        host::note(&state).context(Unable)?;
    }
    let kind = KIND.program()?;
    if nodes(&engine, &kind)?.is_empty() {
        trial::run(&engine, &state, &kind).context(Unable)?;
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
        let kind = KIND.program()?;
        let node = match &options.node_image {
            Some(reference) => NodeImage::given(reference),
            None => node_image::build(&node_image::Parts::build()?)?,
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
            ensure!(
                kubeconfig(&self.state).exists(),
                "{} has nodes of a cluster {NAME}, and there is no kubeconfig for it here: where its start was \
                 interrupted, `./x kind down` removes it, else `{} delete cluster --name {NAME}`",
                self.engine.name,
                self.made.kind.display()
            );
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
        let file = self.state.join(CONFIGURATION);
        let models = self.made.model.parent().unwrap_or(Path::new("/"));
        for (folder, _) in [DRIVER, FAILURES, MEMORY] {
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
                        memory: &Path::new(MEMORY.1).join(MEMORY_FILE),
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
        let software = gpus != Gpus::All;
        Ok(stack::Up {
            kubeconfig: Some(kubeconfig(&self.state)),
            operator_image: Some(operator.reference.clone()),
            agent_image: Some(agent.reference.clone()),
            host_address: Some(IpAddr::V4(self.engine.host_address()?)),
            model_path: Some(self.made.model.clone()),
            gpu_failures: software.then(|| self.state.join(FAILURES.0)),
            gpu_memory: software.then(|| self.state.join(MEMORY.0).join(MEMORY_FILE)),
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
    if let Some(engine) = engine_of(&state) {
        remove_cluster(&engine, &state)?;
    }
    remove_folder(&state)
}

fn remove_folder(state: &Path) -> Result<()> {
    fs::remove_dir_all(state).with_context(|| format!("remove {}", state.display()))
}

/// The engine that a cluster in this state folder runs on; none where no engine has done anything for it.
fn engine_of(state: &Path) -> Option<Engine> {
    if host::is_noted(state) {
        Some(Engine::podman(state))
    } else if state.join(CONFIGURATION).exists() {
        Some(Engine::docker())
    } else {
        None
    }
}

fn remove_cluster(engine: &Engine, state: &Path) -> Result<()> {
    ensure!(
        engine.answers(),
        "{} does not answer, and the cluster's containers are with it: start it and run `./x kind down` again; where it \
         is gone for good, remove {}",
        engine.name,
        state.display()
    );
    let mut delete = engine.command(KIND.program()?);
    delete
        .args(["delete", "cluster", "--name", NAME, "--kubeconfig"])
        .arg(kubeconfig(state));
    stack::succeed(&mut delete)?;
    engine.clear(state)?;
    host::restore(state)
}

/// Installs the Debian packages that it takes, which stay: what a cluster leaves is what comes after them.
pub(crate) fn install_packages() -> Result<()> {
    Engine::install_packages()?;
    node_image::install_packages()
}

/// Whether there is a cluster, or a part of one.
pub(crate) fn is_there() -> Result<bool> {
    Ok(state()?.exists())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_whose_engine_does_not_answer_is_forgotten_and_no_other_one() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        fs::create_dir(&state).unwrap();
        // No engine has done anything for it yet.
        assert!(!is_forgotten(&state, |_| false).unwrap());
        fs::write(state.join(CONFIGURATION), "{}").unwrap();
        assert!(!is_forgotten(&state, |_| true).unwrap());
        assert!(state.exists());
        assert!(is_forgotten(&state, |engine| engine.name != "docker").unwrap());
        assert!(!state.exists());
    }

    #[test]
    fn pods_run_on_workers_and_on_a_control_plane_that_is_alone() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let all = names(&["cocoon-control-plane", "cocoon-worker", "cocoon-worker2"]);
        assert_eq!(workers(&all), [&all[1], &all[2]]);
        assert_eq!(workers(&all[..1]), [&all[0]]);
    }
}
