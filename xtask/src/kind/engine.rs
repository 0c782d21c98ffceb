//! The container engine that kind's nodes run on: docker where it answers, else Debian's podman with everything that it
//! keeps in the state folder.

use std::fmt;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cluster;

/// What podman needs, beside itself.
const PACKAGES: &[&str] = &[
    "podman",
    "runc",
    "netavark",
    "aardvark-dns",
    "iptables",
    "nftables",
];
/// What every node image made here is called, but for its tag.
pub(super) const REPOSITORY: &str = "localhost/cocoon-kind-node";
/// The network that kind makes for its nodes.
const NETWORK: &str = "kind";
/// The variable by which kind is told which engine to use.
const PROVIDER: &str = "KIND_EXPERIMENTAL_PROVIDER";
/// What podman keeps while containers run: sockets among it, whose paths must be short.
pub(super) const PODMAN_RUN: &str = "/run/cocoon-kind";
/// The capability without which no limit can be raised, as its bit in `/proc/self/status`.
const CAP_SYS_RESOURCE: u32 = 24;

/// Marks an error whose cause is the machine: no container engine can be had, or it cannot run the simplest container.
#[derive(Debug)]
pub(crate) struct Unable;

impl fmt::Display for Unable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("this machine cannot run kind's nodes")
    }
}

/// A container engine.
pub(super) struct Engine {
    /// Its command, which is also kind's word for it.
    pub(super) name: &'static str,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Engine {
    /// The engine that [`PROVIDER`] names, else docker where it answers, else podman, installed where it is missing.
    pub(super) fn choose(state: &Path) -> Result<Self> {
        let asked = std::env::var(PROVIDER).unwrap_or_default();
        match asked.as_str() {
            "docker" => return Ok(Self::docker()),
            "" if docker_answers() => return Ok(Self::docker()),
            "" | "podman" => {}
            other => bail!("{PROVIDER} is {other}: only docker and podman are known here"),
        }
        Self::install_packages()?;
        ensure_podman_answers().context(Unable)?;
        let engine = Self::podman(state);
        configure_podman(state)?;
        Ok(engine)
    }

    /// Installs podman's packages where docker does not answer.
    pub(super) fn install_packages() -> Result<()> {
        if docker_answers() {
            return Ok(());
        }
        cluster::install_packages(PACKAGES).context(Unable)
    }

    /// docker, where it answers.
    pub(super) fn running_docker() -> Option<Self> {
        docker_answers().then(Self::docker)
    }

    pub(super) fn docker() -> Self {
        Self {
            name: "docker",
            environment: Vec::new(),
        }
    }

    pub(super) fn podman(state: &Path) -> Self {
        Self {
            name: "podman",
            environment: vec![
                ("CONTAINERS_CONF", containers_conf(state)),
                ("CONTAINERS_STORAGE_CONF", storage_conf(state)),
            ],
        }
    }

    /// Whether it does what it is told: docker may have been stopped, and podman has nothing that runs beside it.
    pub(super) fn answers(&self) -> bool {
        self.name != "docker" || docker_answers()
    }

    /// A program, kind or the engine itself, that finds the engine as it is set up here.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env(PROVIDER, self.name);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the engine to its end and answers what it prints.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self
            .command(self.name)
            .args(arguments)
            .output()
            .with_context(|| format!("run {}", self.name))?;
        ensure!(
            output.status.success(),
            "{} {} failed: {}",
            self.name,
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Whether it has the image.
    pub(super) fn has_image(&self, reference: &str) -> bool {
        self.run(&["image", "inspect", reference]).is_ok()
    }

    /// This machine's address as the nodes reach it: the gateway of their network.
    pub(super) fn host_address(&self) -> Result<Ipv4Addr> {
        let network = self.run(&["network", "inspect", NETWORK])?;
        let network: Value = serde_json::from_str(&network).context("read the network of kind")?;
        gateway(&network).with_context(|| format!("{}'s network {NETWORK} has no IPv4 gateway", self.name))
    }

    /// Removes the network and our node images, and what podman keeps in the state folder. Containers must be gone.
    pub(super) fn clear(&self, state: &Path) -> Result<()> {
        if self.name == "docker" {
            // It stays where somebody else's cluster uses it.
            let _ = self.run(&["network", "rm", NETWORK]);
            let names = ["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", REPOSITORY];
            for image in self.run(&names)?.lines() {
                self.run(&["image", "rm", image])?;
            }
            return Ok(());
        }
        if self.run(&["network", "exists", NETWORK]).is_ok() {
            self.run(&["network", "rm", NETWORK])?;
        }
        self.run(&["image", "rm", "--all", "--force"])?;
        // podman mounts its storage on itself.
        for folder in [graph_root(state).join("overlay"), graph_root(state)] {
            while is_mount(&folder)? {
                let status = Command::new("umount")
                    .arg(&folder)
                    .status()
                    .context("run umount")?;
                ensure!(status.success(), "cannot unmount {}", folder.display());
            }
        }
        for folder in [graph_root(state), PathBuf::from(PODMAN_RUN)] {
            if folder.exists() {
                fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
            }
        }
        Ok(())
    }
}

fn ensure_podman_answers() -> Result<()> {
    let output = Command::new("podman")
        .arg("--version")
        .output()
        .context("run podman; where there is no apt, install it, or docker, by hand")?;
    ensure!(output.status.success(), "podman --version failed");
    Ok(())
}

fn docker_answers() -> bool {
    let status = Command::new("docker")
        .args(["version", "--format", "{{.Server.Version}}"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

fn containers_conf(state: &Path) -> PathBuf {
    state.join("containers.conf")
}

fn storage_conf(state: &Path) -> PathBuf {
    state.join("storage.conf")
}

fn graph_root(state: &Path) -> PathBuf {
    state.join("containers")
}

fn configure_podman(state: &Path) -> Result<()> {
    let networks = state.join("networks");
    fs::create_dir_all(&networks).with_context(|| format!("create {}", networks.display()))?;
    let write = |path: PathBuf, text: String| {
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    let status = fs::read_to_string("/proc/self/status").context("read own capabilities")?;
    let limits = fs::read_to_string("/proc/self/limits").context("read own limits")?;
    let limits = if may_raise_limits(&status) {
        String::new()
    } else {
        let most = fs::read_to_string("/proc/sys/kernel/pid_max").context("read the most processes")?;
        default_limits(&limits, most.trim().parse().context("read the most processes")?)
    };
    let cgroups = if Path::new("/run/systemd/system").exists() {
        "systemd"
    } else {
        "cgroupfs"
    };
    // runc, since crun refuses machines that mix both versions of cgroups.
    write(
        containers_conf(state),
        format!(
            "[containers]\n{limits}[engine]\ncgroup_manager = \"{cgroups}\"\nevents_logger = \"file\"\nruntime = \"runc\"\n\
             lock_type = \"file\"\ntmp_dir = \"{PODMAN_RUN}/libpod\"\n\
             [network]\nnetwork_backend = \"netavark\"\nnetwork_config_dir = \"{}\"\n",
            networks.display()
        ),
    )?;
    write(
        storage_conf(state),
        format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"{}\"\nrunroot = \"{PODMAN_RUN}\"\n",
            graph_root(state).display()
        ),
    )
}

/// Whether `/proc/self/status` has the capability that raising limits takes.
fn may_raise_limits(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .is_some_and(|bits| bits >> CAP_SYS_RESOURCE & 1 == 1)
}

/// The line that has podman give containers this process's own limits, from `/proc/self/limits`: it would raise them.
/// Its own limit of processes is never above the most that the machine can have.
fn default_limits(limits: &str, most_processes: u64) -> String {
    let hard = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let files = hard("Max open files").map(|limit| format!("\"nofile={limit}:{limit}\""));
    let processes = hard("Max processes").unwrap_or(u64::MAX).min(most_processes);
    let processes = Some(format!("\"nproc={processes}:{processes}\""));
    let named: Vec<String> = [files, processes].into_iter().flatten().collect();
    format!("default_ulimits = [{}]\n", named.join(", "))
}

/// The first IPv4 gateway in what `network inspect` says, in the words of podman or of docker.
fn gateway(inspected: &Value) -> Option<Ipv4Addr> {
    let network = inspected.get(0)?;
    let ranges = network
        .get("subnets")
        .or_else(|| network.pointer("/IPAM/Config"))?
        .as_array()?;
    ranges.iter().find_map(|range| {
        let gateway = range.get("gateway").or_else(|| range.get("Gateway"))?;
        gateway.as_str()?.parse().ok()
    })
}

fn is_mount(folder: &Path) -> Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("list the mounts")?;
    let folder = folder.display().to_string();
    Ok(mounts.lines().any(|line| line.split(' ').nth(4) == Some(&folder)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_gateway_is_found_in_either_engines_words() {
        let podman = json!([{"subnets": [{"subnet": "fc00::/64", "gateway": "fc00::1"},
                                         {"subnet": "10.89.0.0/24", "gateway": "10.89.0.1"}]}]);
        let docker = json!([{"IPAM": {"Config": [{"Subnet": "fc00::/64"}, {"Gateway": "172.18.0.1"}]}}]);
        assert_eq!(gateway(&podman), Some(Ipv4Addr::new(10, 89, 0, 1)));
        assert_eq!(gateway(&docker), Some(Ipv4Addr::new(172, 18, 0, 1)));
        assert_eq!(gateway(&json!([])), None);
    }

    #[test]
    fn containers_get_the_limits_that_this_process_has_where_it_cannot_raise_them() {
        assert!(may_raise_limits("CapEff:\t000001ffffffffff\n"));
        assert!(!may_raise_limits("CapEff:\t000001fffeffffff\n"));
        let limits = "Limit  Soft Limit  Hard Limit  Units\n\
                      Max processes             96365                96365                processes\n\
                      Max open files            1024                 20000                files\n";
        assert_eq!(
            default_limits(limits, 32_768),
            "default_ulimits = [\"nofile=20000:20000\", \"nproc=32768:32768\"]\n"
        );
    }
}
