//! Nothing is billed twice, whatever dies in between.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use cocoon_api::crd::{InferenceJob, Settlement, job::Assignment, settlement::SettlementState};
use e2e::{
    container::Process,
    farm::{Farm, Offer, prompts},
    stack::Stack,
    wait,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams},
};

use super::{on_stack, receipts::assert_paid_once};

/// Enough requests that a job is still running when its first results have landed.
const REQUESTS: usize = 90;

async fn start_long_job(farm: &Farm<'_>) -> Result<()> {
    farm.open_channel("5", "2").await?;
    farm.submit("long", &prompts(REQUESTS), 1_000_000_000).await?;
    farm.wait_for_the_middle_of("long").await?;
    Ok(())
}

async fn finish(farm: &Farm<'_>) -> Result<InferenceJob> {
    farm.wait_for("long", "Complete").await?;
    let job = farm.wait_for("long", "Settled").await?;
    assert_paid_once(farm, &job, REQUESTS).await?;
    Ok(job)
}

/// `kill -9`: deletes the operator's pods without a grace period.
async fn kill_operator(stack: &Stack) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(stack.client.clone(), &stack.description.operator_namespace);
    let selector = ListParams::default().labels("app.kubernetes.io/name=cocoon-operator");
    let found = pods.list(&selector).await?;
    ensure!(!found.items.is_empty(), "no operator runs");
    for pod in found {
        pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
            .await?;
    }
    Ok(())
}

#[test]
fn an_operator_killed_in_the_middle_of_a_job_attaches_again() -> Result<()> {
    on_stack("kill-operator", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        start_long_job(&farm).await?;
        kill_operator(&stack).await?;
        let job = finish(&farm).await?;
        let attempts = job.status.unwrap_or_default().assignments.len();
        ensure!(
            attempts == 1,
            "the agent never went away, but there were {attempts} attempts"
        );
        Ok(())
    })
}

#[test]
fn an_operator_killed_between_broadcast_and_confirmation_pays_once() -> Result<()> {
    on_stack("kill-settlement", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::kept(&stack)).await?;
        farm.open_channel("1", "0.5").await?;
        // The agent serves before the chain stands still: a chain that is old is not trusted with a signature.
        farm.ready().await?;
        stack.pause_blocks(true).await?;
        farm.submit("short", &["Once upon a time"], 20_000_000).await?;
        farm.wait_for("short", "Complete").await?;
        let is_broadcast = || async {
            let settlements = farm.api::<Settlement>().list(&ListParams::default()).await?;
            let state = settlements
                .items
                .first()
                .and_then(|settlement| settlement.status.as_ref()?.state);
            Ok((state == Some(SettlementState::Broadcast)).then_some(()))
        };
        wait::until("the settlement is broadcast", is_broadcast).await?;
        kill_operator(&stack).await?;
        stack.pause_blocks(false).await?;
        let job = farm.wait_for("short", "Settled").await?;
        assert_paid_once(&farm, &job, 1).await?;
        let settlements = farm.api::<Settlement>().list(&ListParams::default()).await?;
        let confirmed = settlements.items.iter().filter(|settlement| {
            settlement
                .status
                .as_ref()
                .is_some_and(|status| status.state == Some(SettlementState::Confirmed))
        });
        ensure!(confirmed.count() == 1, "one settlement pays");
        Ok(())
    })
}

#[test]
fn an_agent_deleted_in_the_middle_of_a_job_is_replaced() -> Result<()> {
    on_stack("kill-agent", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        start_long_job(&farm).await?;
        let agents = farm.agents().await?;
        let agent = agents.first().context("an agent runs")?;
        farm.api::<Pod>()
            .delete(&agent.name_any(), &DeleteParams::default().grace_period(0))
            .await?;
        let job = finish(&farm).await?;
        let assignments = job.status.unwrap_or_default().assignments;
        ensure!(
            assignments.len() >= 2,
            "the rest ran on another agent: {assignments:?}"
        );
        Ok(())
    })
}

#[test]
fn an_agent_killed_in_its_container_starts_again_with_another_key_and_does_the_rest() -> Result<()> {
    on_stack("kill-container", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        start_long_job(&farm).await?;
        let agents = farm.agents().await?;
        let agent = agents.first().context("an agent runs")?;
        Process::of(agent, "gpu-agent")?.kill()?;
        let job = finish(&farm).await?;

        let after = farm.api::<Pod>().get(&agent.name_any()).await?;
        ensure!(after.uid() == agent.uid(), "the pod stays");
        let restarts = after
            .status
            .iter()
            .flat_map(|status| status.container_statuses.iter().flatten())
            .map(|container| container.restart_count);
        ensure!(
            restarts.sum::<i32>() == 1,
            "its container was started again, once"
        );
        let assignments = job.status.unwrap_or_default().assignments;
        let keys: BTreeSet<_> = assignments.iter().map(|assignment| &assignment.agent).collect();
        let is_the_pod = |assignment: &Assignment| Some(&assignment.pod_uid) == agent.uid().as_ref();
        ensure!(
            assignments.len() == 2 && keys.len() == 2 && assignments.iter().all(is_the_pod),
            "two attempts in one pod, each with a key of its own: {assignments:?}"
        );
        Ok(())
    })
}
