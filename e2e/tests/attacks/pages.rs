//! Results that are more than one object holds lie in pages, which nobody changes or takes away unseen.

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{crd::InferenceJob, names::RECEIPTS_KEY};
use e2e::{
    farm::{CHANNEL, Farm, MODEL, Offer, prompts, ton},
    results::Texts,
    stack::Stack,
    wait,
};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::on_stack;

/// As many as a job may have: of each, receipt, tokens and result take 2 kB, so that a page of 256 KiB is full before
/// the end.
const REQUESTS: usize = 256;

/// `kill -9`: deletes the operator's pods without a grace period.
async fn kill_operator(stack: &Stack) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(stack.client.clone(), &stack.description.operator_namespace);
    let selector = ListParams::default().labels("app.kubernetes.io/name=cocoon-operator");
    for pod in pods.list(&selector).await? {
        pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
            .await?;
    }
    Ok(())
}

#[test]
fn results_lie_in_pages_that_survive_a_kill_and_that_nobody_changes_or_removes_unseen() -> Result<()> {
    on_stack("pages", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("5", "4").await?;
        let inline: Vec<Value> = prompts(REQUESTS)
            .iter()
            .map(|prompt| json!({"prompt": prompt}))
            .collect();
        farm.create::<InferenceJob>(&json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": "many"},
            "spec": {
                "model": MODEL, "endpoint": "/v1/completions", "input": {"inline": inline}, "parallelism": 16,
                "parameters": {"maxTokens": 2, "temperature": 0},
                "billing": {"mode": "Channel", "channelRef": {"name": CHANNEL}, "maxNano": ton("3")},
            },
        }))
        .await?;
        let has_page = |job: &InferenceJob| !pages(job).is_empty();
        let jobs = farm.api::<InferenceJob>();
        wait::object(&jobs, "many", "a page is closed", has_page).await?;
        kill_operator(&stack).await?;
        let job = farm.wait_for("many", "Settled").await?;
        let status = job.status.clone().context("a settled job has a status")?;
        ensure!(
            status.requests.succeeded as usize == REQUESTS && status.assignments.len() == 1,
            "{:?}",
            status.requests
        );
        let receipts = Texts::of(&farm, "many").await?.text(RECEIPTS_KEY).lines().count();
        ensure!(receipts == REQUESTS, "{receipts} receipts");
        let contract = farm.contract().await?;
        ensure!(contract.redeemed == status.cost.spent_nano, "{contract:?}");

        let results = ["results", "many", "--namespace", &namespace];
        let said = stack.try_plugin(&results, &farm.payer_key).await?;
        ensure!(
            said.succeeded && said.err.contains("256 of 256 receipts verified"),
            "{}",
            said.err
        );
        let page = pages(&job).into_iter().next().context("a page is closed")?;
        let secrets = farm.api::<Secret>();
        let forged = Patch::Merge(json!({"stringData": {RECEIPTS_KEY: ""}}));
        let changed = secrets.patch(&page, &PatchParams::default(), &forged).await;
        ensure!(changed.is_err(), "page {page} was changed");
        // What cannot be changed can be replaced.
        let mut other = secrets.get(&page).await?;
        secrets.delete(&page, &DeleteParams::default()).await?;
        let said = stack.try_plugin(&results, &farm.payer_key).await?;
        ensure!(
            !said.succeeded && said.err.contains(&format!("page {page} is gone")),
            "{}",
            said.err
        );
        other.metadata.resource_version = None;
        other.data.get_or_insert_default().remove(RECEIPTS_KEY);
        secrets.create(&PostParams::default(), &other).await?;
        let said = stack.try_plugin(&results, &farm.payer_key).await?;
        ensure!(
            !said.succeeded && said.err.contains("is not as the operator wrote it"),
            "{}",
            said.err
        );
        Ok(())
    })
}

/// Names of the closed pages.
fn pages(job: &InferenceJob) -> Vec<String> {
    let output = job.status.as_ref().and_then(|status| status.output.as_ref());
    let pages = output.map(|output| output.pages.clone()).unwrap_or_default();
    pages.into_iter().map(|page| page.name).collect()
}
