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

/// GPUs of one node whose driver is software. Paths are the node's.
pub(super) struct Software<'a> {
    pub(super) count: u16,
    pub(super) driver: &'a Path,
    /// File with the indices of those that have failed.
    pub(super) failures: &'a Path,
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
        let (driver, failures) = (
            self.driver.display().to_string(),
            self.failures.display().to_string(),
        );
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
        ])
        .context("start the device plugin in a node")?;
        Ok(())
    }
}

/// Refuses an engine that cannot give cards to containers.
pub(super) fn check_cards(engine: &Engine) -> Result<()> {
    let readme = "e2e/kind/README.md says how to set it up";
    ensure!(
        engine.name == "docker",
        "this machine's cards need docker with NVIDIA's container runtime, and docker does not answer: {readme}"
    );
    let runtime = engine.run(&["info", "--format", "{{.DefaultRuntime}}"])?;
    ensure!(
        runtime.trim() == "nvidia",
        "docker's default runtime is {}, not nvidia: {readme}",
        runtime.trim()
    );
    Ok(())
}

/// Sets a node up so that its containerd gives cards to pods, as NVIDIA's toolkit does on a machine.
pub(super) fn give_cards(engine: &Engine, node: &str) -> Result<()> {
    let script = workspace::root().join("e2e/kind/cards.sh");
    let script = fs::read_to_string(&script).with_context(|| format!("read {}", script.display()))?;
    engine
        .run(&["exec", node, "bash", "-c", &script])
        .with_context(|| format!("set up NVIDIA's container toolkit in {node}"))?;
    Ok(())
}
