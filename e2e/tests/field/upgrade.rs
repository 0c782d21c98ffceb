//! `helm upgrade` and `helm rollback` while jobs run.

use anyhow::{Context as _, Result, ensure};
use e2e::{
    farm::{Farm, Offer},
    receipts::assert_all_paid,
    stack::Stack,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::ListParams};

use super::{REQUESTS, and_then_restore, on_stack, run_to_the_middle};

/// Helm's limit for the operator to become ready.
const TIMEOUT: &str = "120s";

/// UID of the operator's pod.
async fn operator(stack: &Stack) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(stack.client.clone(), &stack.description.operator_namespace);
    let params = ListParams::default().labels("app.kubernetes.io/name=cocoon-operator");
    let found = pods.list(&params).await?.items;
    let is_there = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
    found
        .iter()
        .find(is_there)
        .and_then(kube::ResourceExt::uid)
        .context("an operator runs")
}

/// The release's revision.
async fn revision(stack: &Stack) -> Result<u64> {
    let (name, namespace) = (&stack.description.release, &stack.description.operator_namespace);
    let text = stack
        .helm(&["status", name, "--namespace", namespace, "--output", "json"])
        .await?;
    let status: serde_json::Value = serde_json::from_str(&text)?;
    status["version"].as_u64().context("a release has a revision")
}

#[test]
fn jobs_outlive_an_upgrade_and_a_rollback_and_are_billed_once() -> Result<()> {
    on_stack("upgrade", |stack, namespace| async move {
        let before = revision(&stack).await?;
        let restore = || async { roll_back(&stack, before).await };
        and_then_restore(
            Box::pin(upgrade_and_roll_back(&stack, &namespace, before)),
            restore,
        )
        .await
    })
}

/// Rolls back to a revision, unless it is the current one or was rolled back to.
async fn roll_back(stack: &Stack, to: u64) -> Result<()> {
    let (name, system) = (&stack.description.release, &stack.description.operator_namespace);
    if revision(stack).await? == to + 1 {
        let to = to.to_string();
        stack
            .helm(&[
                "rollback",
                name,
                &to,
                "--namespace",
                system,
                "--wait",
                "--timeout",
                TIMEOUT,
            ])
            .await?;
    }
    Ok(())
}

async fn upgrade_and_roll_back(stack: &Stack, namespace: &str, before: u64) -> Result<()> {
    let (release, system) = (&stack.description.release, &stack.description.operator_namespace);
    let farm = Farm::start(stack, namespace, &Offer::of(stack)).await?;
    farm.open_channel("5", "4.5").await?;
    let first = operator(stack).await?;

    run_to_the_middle(&farm, "upgraded").await?;
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/cocoon-farm");
    let change = "podAnnotations.e2e\\.cocoon\\.farm/upgraded=yes";
    let values = ["--reuse-values", "--set-string", change];
    let wait = ["--namespace", system, "--wait", "--timeout", TIMEOUT];
    stack
        .helm(&[&["upgrade", release, chart], &values[..], &wait[..]].concat())
        .await?;
    let second = operator(stack).await?;
    ensure!(first != second, "the upgrade started another operator");
    let upgraded = farm.wait_for("upgraded", "Complete").await?;

    run_to_the_middle(&farm, "rolled-back").await?;
    roll_back(stack, before).await?;
    ensure!(
        operator(stack).await? != second,
        "the rollback started another operator"
    );
    farm.wait_for("rolled-back", "Complete").await?;

    ensure!(
        revision(stack).await? == before + 2,
        "an upgrade and a rollback are two revisions"
    );
    for name in ["upgraded", "rolled-back"] {
        let job = farm.wait_for(name, "Settled").await?;
        let attempts = job.status.unwrap_or_default().assignments.len();
        ensure!(
            attempts == 1,
            "the agent stayed, and {name} had {attempts} attempts"
        );
    }
    let (one, two) = (
        farm.wait_for("upgraded", "Settled").await?,
        farm.wait_for("rolled-back", "Settled").await?,
    );
    ensure!(one.uid() == upgraded.uid(), "the job is the same object");
    assert_all_paid(&farm, &[(&one, REQUESTS), (&two, REQUESTS)]).await
}
