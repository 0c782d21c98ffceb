//! A provider serves the namespaces that it allows, and nobody needs rights in another's.

use anyhow::{Result, ensure};
use cocoon_api::{
    conditions,
    crd::{CocoonProvider, PaymentChannelStatus},
    names::RECEIPTS_KEY,
};
use e2e::{
    farm::{Farm, Offer, PROVIDER, prompts},
    namespace::with_namespace,
    stack::Stack,
};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::on_stack;

/// Label of the namespaces that the farm works for.
const TIER: &str = "e2e.cocoon.farm/tier";

#[test]
fn a_provider_serves_a_namespace_as_long_as_it_allows_it_and_is_paid_for_what_it_did() -> Result<()> {
    on_stack("farm", |stack, farms| async move {
        let farm = Farm::start(&stack, &farms, &Offer::of(&stack)).await?;
        let (stack, farm) = (&stack, &farm);
        with_namespace(stack, "team", |teams| async move {
            let team = Farm::payer(stack, &teams).await?;
            serves(stack, farm, &team).await
        })
        .await
    })
}

async fn serves(stack: &Stack, farm: &Farm<'_>, team: &Farm<'_>) -> Result<()> {
    let provider = format!("{}/{PROVIDER}", farm.namespace);
    team.open_channel_toward(&provider, "1", "0.9").await?;
    team.wait_for_channel("the provider is closed to it", is_closed)
        .await?;
    team.submit("granted", &prompts(3), 300_000_000).await?;
    team.wait_for_reason("granted", "Accepted", "ProviderNotGranted")
        .await?;
    ensure!(!team.has_begun("granted").await?, "it has begun");

    // The farm allows namespaces with a label, and this one gets it: the job that waits is served and paid.
    let selector = json!({"from": "Selector", "selector": {"matchLabels": {TIER: "paying"}}});
    change(farm, &json!({"spec": {"allowedNamespaces": selector}})).await?;
    label(stack, &team.namespace, json!("paying")).await?;
    let job = team.wait_for("granted", "Settled").await?;
    let status = job.status.unwrap_or_default();
    ensure!(
        status.provider.as_ref() == Some(&provider),
        "{:?} has served it",
        status.provider
    );
    let results = team
        .api::<Secret>()
        .get("granted")
        .await?
        .data
        .unwrap_or_default();
    ensure!(results.contains_key(RECEIPTS_KEY), "the payer has its receipts");
    let farms = farm.api::<Secret>().list(&ListParams::default()).await?.items;
    let holds_receipts = |secret: &Secret| secret.data.iter().any(|data| data.contains_key(RECEIPTS_KEY));
    ensure!(!farms.iter().any(holds_receipts), "results are the payer's alone");
    ensure!(team.agents().await?.is_empty(), "agents are the farm's alone");

    // What was delivered is owed when the label goes: nothing new runs, and it is paid.
    settle_at(farm, 1_000_000_000_000).await?;
    team.submit("owed", &prompts(3), 300_000_000).await?;
    team.wait_for("owed", "Complete").await?;
    label(stack, &team.namespace, Value::Null).await?;
    team.wait_for_channel("the provider is closed to it again", is_closed)
        .await?;
    team.submit("late", &prompts(1), 300_000_000).await?;
    team.wait_for_reason("late", "Accepted", "ProviderNotGranted")
        .await?;
    settle_at(farm, 1).await?;
    team.wait_for("owed", "Settled").await?;
    ensure!(!team.has_begun("late").await?, "it has begun");
    Ok(())
}

fn is_closed(status: &PaymentChannelStatus) -> bool {
    conditions::find(&status.conditions, "Funded").is_some_and(|funded| funded.reason == "ProviderNotGranted")
}

async fn change(farm: &Farm<'_>, patch: &Value) -> Result<()> {
    farm.patch::<CocoonProvider>(PROVIDER, patch).await.map(drop)
}

async fn settle_at(farm: &Farm<'_>, nano: u64) -> Result<()> {
    change(
        farm,
        &json!({"spec": {"payout": {"settle": {"thresholdNano": nano}}}}),
    )
    .await
}

async fn label(stack: &Stack, namespace: &str, value: Value) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(stack.client.clone());
    let patch = json!({"metadata": {"labels": {TIER: value}}});
    namespaces
        .patch(namespace, &PatchParams::default(), &Patch::Merge(&patch))
        .await?;
    Ok(())
}
