//! Two operators in one cluster that would serve the same.

use anyhow::{Context as _, Result, ensure};
use e2e::{
    farm::{Farm, Offer},
    receipts::assert_all_paid,
    release::{Values, uninstall},
    stack::Stack,
    wait,
};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{Api, ResourceExt as _, api::ListParams};

use super::{and_then_restore, on_stack};

/// Name of the second release, and of its operator.
const SECOND: &str = "second";
/// What the second says while it waits.
const WAITS: &str = "another operator serves what this one would serve";

#[test]
fn a_second_operator_says_for_whom_it_waits_and_takes_over_when_that_is_uninstalled() -> Result<()> {
    on_stack("operators", |stack, namespace| async move {
        let values = Values::of(&stack).await?;
        let restore = || async {
            uninstall(&stack, SECOND, &namespace).await?;
            let (release, system) = (&stack.description.release, &stack.description.operator_namespace);
            values.install(&stack, release, system, &[]).await
        };
        and_then_restore(Box::pin(take_over(&stack, &namespace, &values)), restore).await
    })
}

async fn take_over(stack: &Stack, namespace: &str, values: &Values) -> Result<()> {
    let (release, system) = (&stack.description.release, &stack.description.operator_namespace);
    let farm = Farm::start(stack, namespace, &Offer::of(stack)).await?;
    farm.open_channel("1", "0.9").await?;
    // What a cluster has once is the first release's.
    let apart = ["--set", "crds.install=false,rbac.userRoles=false"];
    values.install(stack, SECOND, namespace, &apart).await?;
    let message = says(stack, namespace).await?;
    ensure!(
        message.contains(&format!("of namespace {system}")),
        "it waits for: {message}"
    );
    ensure!(!serves(stack, namespace).await?, "the second waits");

    farm.submit("first", &["Once upon a time"], 20_000_000).await?;
    let first = farm.wait_for("first", "Settled").await?;
    ensure!(!serves(stack, namespace).await?, "the second waits still");

    uninstall(stack, release, system).await?;
    wait::until("the second operator serves", || async {
        Ok(serves(stack, namespace).await?.then_some(()))
    })
    .await?;
    farm.submit("second", &["Once upon a time"], 20_000_000).await?;
    let second = farm.wait_for("second", "Settled").await?;
    ensure!(first.uid() != second.uid(), "two jobs");
    assert_all_paid(&farm, &[(&first, 1), (&second, 1)]).await
}

/// What the second operator logged of its wait.
async fn says(stack: &Stack, namespace: &str) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(stack.client.clone(), namespace);
    let selector = ListParams::default().labels("app.kubernetes.io/name=cocoon-operator");
    wait::until("the second operator says for whom it waits", || async {
        for pod in pods.list(&selector).await? {
            let log = pods
                .logs(&pod.name_any(), &kube::api::LogParams::default())
                .await?;
            if let Some(line) = log.lines().find(|line| line.contains(WAITS)) {
                return Ok(Some(line.to_owned()));
            }
        }
        Ok(None)
    })
    .await
}

/// Whether the operator of the namespace has said on its lease that it serves.
async fn serves(stack: &Stack, namespace: &str) -> Result<bool> {
    let leases: Api<Lease> = Api::namespaced(stack.client.clone(), namespace);
    let found = leases
        .list(&ListParams::default().labels("cocoon.farm/lease=operator"))
        .await?;
    let lease = found.items.first().context("the second operator holds a lease")?;
    Ok(lease
        .annotations()
        .get("cocoon.farm/serves")
        .is_some_and(|serves| serves == "true"))
}
