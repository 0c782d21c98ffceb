//! The processes of a pod's containers, as this machine sees them: the nodes that tests run on are namespaces of it.
//!
//! The images have no shell, so that nothing can be looked at or killed from inside.

use std::{
    collections::BTreeMap, fs, net::SocketAddr, os::unix::fs::MetadataExt as _, path::Path, process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

/// What takes connections within the cluster does so within this time.
const CONNECT_SECONDS: u32 = 3;
/// What a web server of a pod's own answers is there within this time, however busy the machine is.
const ANSWER_SECONDS: u32 = 30;

/// One process of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(u32);

impl Process {
    /// The process of a pod that runs `program`.
    pub fn of(pod: &Pod, program: &str) -> Result<Self> {
        let uid = pod.uid().context("the pod has a uid")?;
        let processes = fs::read_dir("/proc").context("could not list the processes")?;
        let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let is_it = |number: &u32| {
            let read = |name: &str| fs::read_to_string(format!("/proc/{number}/{name}")).unwrap_or_default();
            // A process that ends meanwhile is not the one.
            read("comm").trim_end() == program && is_of_pod(&read("cgroup"), &uid)
        };
        let found = numbers.into_iter().find(is_it).with_context(|| {
            format!(
                "no {program} of pod {} runs on this machine: run this test on its testbed or its kind cluster, with \
                 `./x test e2e` or `./x kind test`",
                pod.name_any()
            )
        })?;
        Ok(Self(found))
    }

    /// Its environment as it was started.
    pub fn environment(self) -> Result<BTreeMap<String, String>> {
        let path = format!("/proc/{}/environ", self.0);
        let bytes = fs::read(Path::new(&path)).with_context(|| format!("could not read {path}"))?;
        let text = String::from_utf8_lossy(&bytes);
        let variables = text.split('\0').filter_map(|variable| variable.split_once('='));
        Ok(variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect())
    }

    /// Place on its node of the one GPU whose device node the container was given.
    pub fn gpu_index(self) -> Result<u16> {
        let path = format!("/proc/{}/root/dev", self.0);
        let entries = fs::read_dir(&path).with_context(|| format!("could not list {path}"))?;
        let indices: Vec<u16> = entries
            .filter_map(|entry| {
                let name = entry.ok()?.file_name();
                name.to_str()?.strip_prefix("nvidia")?.parse().ok()
            })
            .collect();
        match indices[..] {
            [index] => Ok(index),
            _ => bail!("the container has the device nodes of GPUs {indices:?}, and one was expected"),
        }
    }

    /// Whether a connection to that address can be opened from where this process is. Images have no shell, so this
    /// machine's goes into the network of the process.
    pub fn reaches(self, address: SocketAddr) -> Result<bool> {
        let script = format!(
            "timeout {CONNECT_SECONDS} bash -c 'exec 3<>/dev/tcp/{}/{}' 2>/dev/null && echo yes || echo no",
            address.ip(),
            address.port()
        );
        let output = Command::new("nsenter")
            .args(["--target", &self.0.to_string(), "--net", "sh", "-c", &script])
            .output()
            .context("could not run nsenter")?;
        match output.stdout.trim_ascii() {
            b"yes" => Ok(true),
            b"no" => Ok(false),
            _ => bail!(
                "could not enter the network of process {}: {}",
                self.0,
                String::from_utf8_lossy(&output.stderr).trim()
            ),
        }
    }

    /// What a web server answers to a GET from where this process is, its head included. Between it and a server of its
    /// own pod stands no policy.
    pub fn get(self, address: SocketAddr, path: &str) -> Result<String> {
        let script = format!(
            "exec 3<>/dev/tcp/{}/{} && printf 'GET {path} HTTP/1.0\\r\\nHost: {address}\\r\\n\\r\\n' >&3 && cat <&3",
            address.ip(),
            address.port()
        );
        let output = Command::new("nsenter")
            .args(["--target", &self.0.to_string(), "--net", "timeout"])
            .args([&ANSWER_SECONDS.to_string(), "bash", "-c", &script])
            .output()
            .context("could not run nsenter")?;
        ensure!(
            output.status.success(),
            "{address} did not answer {path}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        String::from_utf8(output.stdout).with_context(|| format!("{address}{path} answers no text"))
    }

    /// `kill -9`.
    pub fn kill(self) -> Result<()> {
        let number = self.0.to_string();
        let status = Command::new("kill")
            .args(["-KILL", &number])
            .status()
            .context("could not run kill")?;
        ensure!(status.success(), "could not kill process {number}");
        Ok(())
    }

    /// Whether the kernel may write its memory to a file, or to a program.
    pub fn may_be_dumped(self) -> Result<bool> {
        let path = format!("/proc/{}", self.0);
        let read = |name: &str| {
            fs::read_to_string(format!("{path}/{name}"))
                .with_context(|| format!("could not read {path}/{name}"))
        };
        let limits = read("limits")?;
        let limit = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max core file size"))
            .context("the limit of core dumps is told")?;
        let none = limit.split_whitespace().take(2).all(|word| word == "0");
        let status = read("status")?;
        let user: u32 = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1)?.parse().ok())
            .context("the user of the process is told")?;
        ensure!(user != 0, "who owns the files of a process of root says nothing");
        // proc(5): the files of a process that must not be dumped are root's.
        let owner = fs::metadata(format!("{path}/environ"))
            .with_context(|| format!("could not look at {path}"))?
            .uid();
        Ok(!none || owner == user)
    }
}

/// Whether the cgroups of a process, as `/proc/PID/cgroup` has them, are those of the pod. The kubelet's cgroupfs
/// driver names a pod's cgroup by its uid, and the systemd driver by the same with `_` for `-`, which separates slices
/// there.
fn is_of_pod(cgroups: &str, uid: &str) -> bool {
    cgroups.contains(uid) || cgroups.contains(&uid.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::is_of_pod;

    const UID: &str = "0f7ae1c2-9d3b-4a55-8f0e-6b1c2d3e4f50";

    #[test]
    fn a_pods_cgroup_is_known_under_both_of_the_kubelets_drivers() {
        let cgroupfs = format!("4:memory:/cocoon-testbed/node1/kubepods/besteffort/pod{UID}/1c9e");
        assert!(is_of_pod(&cgroupfs, UID));
        let slice = "kubepods-besteffort-pod0f7ae1c2_9d3b_4a55_8f0e_6b1c2d3e4f50.slice";
        let systemd = format!("0::/kubelet.slice/kubelet-kubepods.slice/{slice}/cri-containerd-1c9e.scope");
        assert!(is_of_pod(&systemd, UID));
    }

    #[test]
    fn another_pods_cgroup_is_not_taken_for_it() {
        let other = "4:memory:/kubepods/besteffort/pod9f7ae1c2-9d3b-4a55-8f0e-6b1c2d3e4f50/1c9e";
        assert!(!is_of_pod(other, UID));
        assert!(!is_of_pod("", UID));
    }
}
