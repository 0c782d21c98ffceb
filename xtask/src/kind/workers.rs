//! The GPUs of kind's workers: software ones, which the testbed's device plugin offers, or this machine's cards.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::engine::Engine;
use crate::workspace;

/// The device plugin, and the unit that it runs as in a node.
const PLUGIN: &str = "testbed-device-plugin";
/// Where it lies in a node.
const PLUGIN_PATH: &str = "/usr/local/bin/testbed-device-plugin";
/// The kubelet's own credentials, which may label its node and nothing else.
const CREDENTIALS: &str = "/etc/kubernetes/kubelet.conf";

/// Where the driver in software keeps, in a node, what its containers share.
const DRIVER_STATE: &str = "/var/lib/testbed-cuda";

/// How errors about this machine's cards begin and end.
const CARDS_NEED: &str = "this machine's cards need docker with NVIDIA's container runtime";
const SETUP: &str = "e2e/kind/README.md says how to set it up";
/// What sets a node up for them.
const SCRIPT: &str = "e2e/kind/cards.sh";

/// GPUs of one node whose driver is software. Paths are the node's.
pub(super) struct Software<'a> {
    pub(super) count: u16,
    pub(super) driver: &'a Path,
    /// File with the indices of those that have failed.
    pub(super) failures: &'a Path,
    /// File with another size of their memory.
    pub(super) memory: &'a Path,
}

impl Software<'_> {
    /// Starts the device plugin in a node, in the place of one that runs there.
    pub(super) fn offer(&self, engine: &Engine, node: &str, binaries: &Path) -> Result<()> {
        let within = |arguments: &[&str]| engine.run(&[&["exec", node], arguments].concat());
        // One that is not there cannot be stopped.
        let _ = within(&["systemctl", "stop", PLUGIN]);
        let binary = binaries.join(PLUGIN);
        engine
            .run(&[
                "cp",
                &binary.display().to_string(),
                &format!("{node}:{PLUGIN_PATH}"),
            ])
            .context("copy the device plugin into a node")?;
        let count = self.count.to_string();
        let [driver, failures, memory] =
            [self.driver, self.failures, self.memory].map(|path| path.display().to_string());
        within(&[
            "systemd-run",
            "--quiet",
            "--collect",
            "--unit",
            PLUGIN,
            PLUGIN_PATH,
            "--kubeconfig",
            CREDENTIALS,
            "--node",
            node,
            "--gpus",
            &count,
            "--failures",
            &failures,
            "--driver",
            &driver,
            "--driver-state",
            DRIVER_STATE,
            "--driver-memory",
            &memory,
        ])
        .context("start the device plugin in a node")?;
        Ok(())
    }
}

/// docker, where it gives this machine's cards to containers.
pub(super) fn engine_with_cards() -> Result<Engine> {
    let engine = Engine::running_docker()
        .with_context(|| format!("{CARDS_NEED}, and docker does not answer: {SETUP}"))?;
    check_runtime(&engine.run(&["info", "--format", "{{.DefaultRuntime}}"])?)?;
    Ok(engine)
}

/// Who gives a container its cards: kind has no word for them, so it must be the runtime of every container.
fn check_runtime(default: &str) -> Result<()> {
    let default = default.trim();
    ensure!(
        default == "nvidia",
        "{CARDS_NEED}, and docker's default runtime is {default:?} instead of \"nvidia\": {SETUP}"
    );
    Ok(())
}

/// Sets a node up so that its containerd gives cards to pods, as NVIDIA's toolkit does on a machine.
pub(super) fn give_cards(engine: &Engine, node: &str) -> Result<()> {
    let script = workspace::root().join(SCRIPT);
    let script = fs::read_to_string(&script).with_context(|| format!("read {}", script.display()))?;
    engine
        .run(&["exec", node, "bash", "-c", &script])
        .with_context(|| format!("set up NVIDIA's container toolkit in {node}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::{Command, Output};

    use super::*;

    /// Runs the script with programs in the place of NVIDIA's, which note how they are called.
    fn run_script(programs: &[&str]) -> (Output, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let calls = folder.path().join("calls");
        for name in programs {
            let path = folder.path().join(name);
            let text = format!("#!/bin/sh\necho {name} \"$@\" >> {}\n", calls.display());
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let output = Command::new("/bin/bash")
            .arg(workspace::root().join(SCRIPT))
            .env("PATH", folder.path())
            .output()
            .unwrap();
        let calls = fs::read_to_string(calls).unwrap_or_default();
        (output, calls.lines().map(str::to_owned).collect())
    }

    #[test]
    fn a_node_gets_nvidias_runtime_as_containerds_default_and_its_own_view_of_the_cards() {
        let (output, calls) = run_script(&["nvidia-smi", "nvidia-ctk", "systemctl", "mountpoint", "umount"]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(
            calls,
            [
                "nvidia-smi --list-gpus",
                "nvidia-ctk runtime configure --runtime=containerd --set-as-default",
                "systemctl restart containerd",
                "mountpoint --quiet /proc/driver/nvidia",
                "umount --recursive /proc/driver/nvidia",
            ]
        );
    }

    #[test]
    fn a_node_without_the_driver_is_left_alone_and_the_cause_is_named() {
        let (output, calls) = run_script(&["nvidia-ctk", "systemctl", "mountpoint", "umount"]);
        assert!(!output.status.success() && calls.is_empty(), "{calls:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("/var/run/nvidia-container-devices/all"), "{said}");
    }

    #[test]
    fn docker_with_another_runtime_is_refused_with_what_is_missing() {
        check_runtime("nvidia\n").unwrap();
        let said = check_runtime("runc\n").unwrap_err().to_string();
        assert!(said.contains("\"runc\"") && said.contains("README"), "{said}");
    }
}
