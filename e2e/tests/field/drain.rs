//! A node that is drained while an agent works on it.

use anyhow::{Context as _, Result, ensure};
use cocoon_api::crd::InferenceJob;
use e2e::{
    farm::{CHANNEL, Farm, MODEL, Offer, prompts},
    receipts::assert_paid_once,
    stack::Stack,
};
use serde_json::{Value, json};

use super::{BUDGET, REQUESTS, and_then_restore, on_stack};

#[test]
fn a_drained_node_costs_a_job_an_attempt_and_none_of_its_backoff_limit() -> Result<()> {
    on_stack("drain", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("5", "2").await?;
        farm.create::<InferenceJob>(&without_retries()).await?;
        farm.wait_for_the_middle_of("long").await?;
        let agents = farm.agents().await?;
        let agent = agents.first().context("an agent runs")?;
        let node = agent.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let node = node.context("the agent has a node")?;
        let uncordon = || async { uncordon(&stack, &node).await };
        and_then_restore(drain(&farm, &node), uncordon).await
    })
}

/// A job that fails with the first agent that is lost by a fault of its own.
fn without_retries() -> Value {
    let inline: Vec<Value> = prompts(REQUESTS)
        .iter()
        .map(|prompt| json!({"prompt": prompt}))
        .collect();
    json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": "long"},
        "spec": {
            "model": MODEL, "endpoint": "/v1/completions", "input": {"inline": inline}, "backoffLimit": 0,
            "parameters": {"maxTokens": 32, "temperature": 0},
            "billing": {"mode": "Channel", "channelRef": {"name": CHANNEL}, "maxNano": BUDGET},
        },
    })
}

async fn uncordon(stack: &Stack, node: &str) -> Result<()> {
    stack.kubectl(&["uncordon", node]).await?;
    Ok(())
}

/// Everything on the node is evicted, the operator too where it is there.
async fn drain(farm: &Farm<'_>, node: &str) -> Result<()> {
    let options = ["--ignore-daemonsets", "--delete-emptydir-data", "--timeout=90s"];
    farm.stack
        .kubectl(&[&["drain", node], &options[..]].concat())
        .await?;
    let job = farm.wait_for("long", "Settled").await?;
    let assignments = job.status.clone().unwrap_or_default().assignments;
    ensure!(
        assignments.len() == 2,
        "the rest ran on another agent: {assignments:?}"
    );
    for agent in farm.agents().await? {
        let of = agent.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        ensure!(of != Some(node), "no agent is on the drained node");
    }
    assert_paid_once(farm, &job, REQUESTS).await
}
