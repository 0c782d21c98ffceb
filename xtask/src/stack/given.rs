//! A cluster that is there already. This machine only runs the TON network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{
    CHAIN, DEMO_NAMESPACES, DESCRIPTION, OPERATOR_NAMESPACE, Parts, RELEASE, Up, address, build_binaries,
    chain, count_gpus, described_kubeconfig, process, succeed,
};
use crate::{cache, model, tools};

/// Folder of the cache with what belongs to this machine's part.
const FOLDER: &str = "given-cluster";
/// kubectl's limit for each deletion: twice what the operator needs to let go of everything.
const DELETE_TIMEOUT: &str = "60s";

/// Starts the chain; the images and the model are the cluster's.
pub(super) fn up(kubeconfig: &Path, options: &Up) -> Result<Parts> {
    let image = |image: &Option<String>, name| {
        image
            .clone()
            .with_context(|| format!("--kubeconfig needs --{name}-image"))
    };
    let kubeconfig = kubeconfig
        .canonicalize()
        .with_context(|| format!("find the kubeconfig {}", kubeconfig.display()))?;
    let state = match &options.state {
        Some(state) => state.clone(),
        None => cache::folder(FOLDER)?,
    };
    fs::create_dir_all(&state).with_context(|| format!("create {}", state.display()))?;
    refuse_another_installation(&kubeconfig, &state)?;
    let binaries = build_binaries()?;
    let address = match options.host_address {
        Some(address) => address,
        None => address::toward(&kubeconfig)?,
    };
    let chain = chain::start(&state, address, &binaries, |chain| Command::new(chain))?;
    let model_path = match &options.model_path {
        Some(path) => path.clone(),
        None => model::fetch()?,
    };
    Ok(Parts {
        state,
        chain,
        operator_image: image(&options.operator_image, "operator")?,
        agent_image: image(&options.agent_image, "agent")?,
        model_path,
        plugin: binaries.join("kubectl-cocoon"),
        gpus: count_gpus(&kubeconfig)?,
        gpu_failures: options.gpu_failures.clone(),
        gpu_memory: options.gpu_memory.clone(),
        models: None,
        kubeconfig,
    })
}

/// Refuses a cluster whose installation is somebody's farm: the demo would give it a network of simulated money.
fn refuse_another_installation(kubeconfig: &Path, state: &Path) -> Result<()> {
    let ours = last_kubeconfig(state)?.is_some_and(|described| described == kubeconfig);
    let release = Command::new(tools::helm()?)
        .args(["list", "--short", "--namespace", OPERATOR_NAMESPACE])
        .args(["--filter", &format!("^{RELEASE}$")])
        .env("KUBECONFIG", kubeconfig)
        .output()
        .context("run helm list")?;
    ensure!(
        release.status.success(),
        "helm cannot read the cluster of {}: {}",
        kubeconfig.display(),
        String::from_utf8_lossy(&release.stderr).trim()
    );
    ensure!(
        ours || release.stdout.trim_ascii().is_empty(),
        "the cluster of {} has an installation {RELEASE} in {OPERATOR_NAMESPACE} that is not the demo's; \
         the demo would change it, so give it another cluster",
        kubeconfig.display()
    );
    Ok(())
}

/// The cluster that the last `up` was for.
fn last_kubeconfig(state: &Path) -> Result<Option<PathBuf>> {
    let path = state.join(DESCRIPTION);
    path.exists().then(|| described_kubeconfig(&path)).transpose()
}

/// Removes from the cluster what was installed there, ends the chain, and removes its state.
pub(super) fn down() -> Result<()> {
    let state = cache::folder(FOLDER)?;
    if let Some(kubeconfig) = last_kubeconfig(&state)? {
        // The chain is still there: what has a finalizer may need it.
        uninstall(&kubeconfig).with_context(|| {
            format!(
                "remove the demo from the cluster of {}; if that is gone, remove {}",
                kubeconfig.display(),
                state.display()
            )
        })?;
    }
    process::stop(&state, CHAIN)?;
    fs::remove_dir_all(&state).with_context(|| format!("remove {}", state.display()))
}

/// Ends the chain and removes its state, with all that is there.
pub(super) fn forget(state: &Path) -> Result<()> {
    if !state.exists() {
        return Ok(());
    }
    process::stop(state, CHAIN)?;
    fs::remove_dir_all(state).with_context(|| format!("remove {}", state.display()))
}

fn uninstall(kubeconfig: &Path) -> Result<()> {
    let delete = |arguments: &[&str]| {
        succeed(
            Command::new(tools::kubectl()?)
                .args(["delete", "--ignore-not-found", "--timeout", DELETE_TIMEOUT])
                .args(arguments)
                .env("KUBECONFIG", kubeconfig),
        )
    };
    for namespace in DEMO_NAMESPACES {
        delete(&["namespace", namespace])?;
    }
    succeed(
        Command::new(tools::helm()?)
            .args(["uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE])
            .args(["--ignore-not-found", "--wait"])
            .env("KUBECONFIG", kubeconfig),
    )?;
    // The chart keeps them by default, so that an uninstallation loses nobody's objects.
    let ours = format!("app.kubernetes.io/part-of=cocoon,app.kubernetes.io/instance={RELEASE}");
    delete(&["customresourcedefinition", "--selector", &ours])?;
    delete(&["namespace", OPERATOR_NAMESPACE])
}
