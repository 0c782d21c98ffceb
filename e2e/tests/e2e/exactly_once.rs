//! Nothing is billed twice, whatever dies in between.

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    crd::{InferenceJob, Settlement, settlement::SettlementState},
    names,
};
use e2e::{
    farm::{Farm, Offer},
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

fn prompts() -> Vec<String> {
    (0..REQUESTS)
        .map(|number| format!("{number}. Once upon a time"))
        .collect()
}

async fn start_long_job(farm: &Farm<'_>) -> Result<()> {
    farm.open_channel("5", "2").await?;
    let prompts = prompts();
    let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    farm.submit("long", &prompts, 1_000_000_000).await?;
    let some_delivered = |job: &InferenceJob| {
        job.status.as_ref().is_some_and(|status| {
            status.requests.succeeded > 0 && status.requests.succeeded < status.requests.total
        })
    };
    wait::object(
        &farm.api::<InferenceJob>(),
        "long",
        "some requests are delivered and some are not",
        some_delivered,
    )
    .await?;
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
        let farm = Farm::start(
            &stack,
            &namespace,
            &Offer {
                min_replicas: 1,
                ..Offer::of(&stack)
            },
        )
        .await?;
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
        let selector = format!("{}={}", names::COMPONENT_LABEL, names::AGENT_COMPONENT);
        let agents = farm
            .api::<Pod>()
            .list(&ListParams::default().labels(&selector))
            .await?;
        let agent = agents.items.first().context("an agent runs")?;
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
