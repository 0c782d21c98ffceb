//! What kind is told: the committed configuration, and what each worker is given of this machine.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::workspace;

/// The configuration in the state folder, which is there once a cluster is.
pub(super) const CONFIGURATION: &str = "cluster.json";
/// Folders of the state folder: with the driver in software, with a file of each node's name that holds the indices of
/// its failed GPUs, and with a file that sets another size of their memory. A worker has each at the path after it.
pub(super) const DRIVER: (&str, &str) = ("driver", "/opt/testbed-driver");
pub(super) const FAILURES: (&str, &str) = ("failures", "/opt/testbed-failures");
pub(super) const MEMORY: (&str, &str) = ("memory", "/opt/testbed-memory");
/// The file in the folder of [`MEMORY`].
pub(super) const MEMORY_FILE: &str = "mib";
/// Where NVIDIA's container runtime reads from a container's mounts which GPUs it may have, here all of them.
const EVERY_GPU: &str = "/var/run/nvidia-container-devices/all";

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

/// The committed configuration with so many nodes, and what each worker is given of this machine.
pub(super) fn config(nodes: u8, gpus: Gpus, models: &Path, state: &Path) -> Result<Value> {
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
        Gpus::Software(_) => mounts.extend([DRIVER, FAILURES, MEMORY].map(
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
    fn gpus_are_a_number_or_all() {
        assert_eq!("all".parse::<Gpus>().unwrap(), Gpus::All);
        assert_eq!("4".parse::<Gpus>().unwrap(), Gpus::Software(4));
        assert!("some".parse::<Gpus>().unwrap_err().to_string().contains("some"));
    }
}
