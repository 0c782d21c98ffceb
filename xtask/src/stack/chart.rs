//! The chart on the cluster, and what the cluster says where the operator does not come up.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::{GLOBAL_ID, NETWORK, OPERATOR_NAMESPACE, Parts, RELEASE, succeed, write_json};
use crate::{tools, workspace};

/// Helm's own limit for the operator to become ready.
const HELM_TIMEOUT: &str = "180s";

/// Installs the chart, or brings what is installed to its state.
pub(super) fn install(parts: &Parts) -> Result<()> {
    let mut values = json!({
        "images": {"operator": parts.operator_image, "agent": parts.agent_image},
        "ton": {"networks": [
            {"name": NETWORK, "globalId": GLOBAL_ID, "endpoints": [format!("{}/api/v2", parts.chain)]},
        ]},
    });
    if let Some(folder) = &parts.models {
        values["models"] = json!({"cache": {"path": folder, "size": "4Gi"}});
    }
    let file = parts.state.join("values.json");
    write_json(&file, &values)?;
    let installed = succeed(
        Command::new(tools::helm()?)
            .args(["upgrade", "--install", RELEASE])
            .arg(workspace::root().join("charts/cocoon-farm"))
            .args([
                "--namespace",
                OPERATOR_NAMESPACE,
                "--create-namespace",
                "--wait",
                "--timeout",
                HELM_TIMEOUT,
            ])
            .arg("--values")
            .arg(&file)
            .env("KUBECONFIG", &parts.kubeconfig),
    );
    installed.with_context(|| {
        format!(
            "install the chart; what the cluster says:\n{}",
            said(&parts.kubeconfig).join("\n")
        )
    })
}

/// Pods of the operator, warnings about them, and the nodes' conditions and taints: Helm names the time that passed and
/// none of these. What cannot be asked is said in the answer's place.
fn said(kubeconfig: &Path) -> Vec<String> {
    let questions: [&[&str]; 3] = [
        &[
            "get",
            "pods",
            "--namespace",
            OPERATOR_NAMESPACE,
            "--output",
            "wide",
        ],
        &[
            "get",
            "events",
            "--namespace",
            OPERATOR_NAMESPACE,
            "--field-selector",
            "type=Warning",
            "--output",
            "custom-columns=OBJECT:.involvedObject.name,REASON:.reason,MESSAGE:.message",
        ],
        &[
            "get",
            "nodes",
            "--output",
            "custom-columns=NODE:.metadata.name,TAINTS:.spec.taints[*].key,\
             CONDITIONS:.status.conditions[?(@.status==\"True\")].type",
        ],
    ];
    let ask = |question: &&[&str]| -> Result<String> {
        let output = Command::new(tools::kubectl()?)
            .args(*question)
            .env("KUBECONFIG", kubeconfig)
            .output()
            .context("run kubectl")?;
        let printed = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&printed).trim_end().to_owned())
    };
    questions
        .iter()
        .map(|question| ask(question).unwrap_or_else(|error| format!("{error:#}")))
        .collect()
}
