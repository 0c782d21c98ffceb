//! The farm's evidence is out of its debtor's hands.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    NanoTon,
    crd::{CocoonProvider, PaymentChannel},
    names,
};
use e2e::{
    farm::{CHANNEL, Farm, Offer, PROVIDER, prompts, ton},
    namespace::with_namespace,
    release::Values,
    run::and_then_restore,
    stack::Stack,
    wait,
};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use serde_json::json;

use super::on_stack;

/// Kubernetes looks again at a namespace that cannot go yet after twice the time, and after a minute at most: two such
/// waits beyond the claims.
const NAMESPACE_LIMIT: Duration = Duration::from_mins(4);

/// An offer that settles nothing by itself: what was delivered is owed when the attack begins.
fn patient(stack: &Stack) -> Offer {
    Offer {
        threshold: ton("1000"),
        ..Offer::of(stack)
    }
}

/// A job that is delivered and not paid; answers its cost.
async fn owed(farm: &Farm<'_>) -> Result<NanoTon> {
    farm.open_channel("1", "0.9").await?;
    delivered(farm).await
}

/// The same, on the channel that is there.
async fn delivered(farm: &Farm<'_>) -> Result<NanoTon> {
    farm.submit("delivered", &prompts(3), 500_000_000).await?;
    let job = farm.wait_for("delivered", "Complete").await?;
    let cost = job.status.context("a complete job has a status")?.cost.spent_nano;
    ensure!(cost > NanoTon::ZERO, "it cost something");
    ensure!(
        farm.contract().await?.redeemed == NanoTon::ZERO,
        "nothing is paid yet"
    );
    Ok(cost)
}

async fn assert_paid(farm: &Farm<'_>, before: &cocoon_ton::Address, cost: NanoTon) -> Result<()> {
    assert_paid_within(wait::LIMIT, farm, before, cost).await
}

async fn assert_paid_within(
    limit: Duration,
    farm: &Farm<'_>,
    before: &cocoon_ton::Address,
    cost: NanoTon,
) -> Result<()> {
    let paid = wait::within(limit, "the contract has paid", || async {
        match farm.stack.chain.state(before).await? {
            cocoon_ton::ChannelOnChain::Channel { state, .. } if state.redeemed == cost => Ok(Some(())),
            _ => Ok(None),
        }
    });
    paid.await
}

async fn contract(farm: &Farm<'_>) -> Result<cocoon_ton::Address> {
    let channel = farm.api::<PaymentChannel>().get(CHANNEL).await?;
    cocoon_ton::Address::parse_for(&farm.stack.network(), &channel.spec.contract_address)
        .context("the channel's contract")
}

#[test]
fn a_voucher_that_is_spoiled_after_delivery_is_claimed_all_the_same() -> Result<()> {
    on_stack("spoiled", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &patient(&stack)).await?;
        let cost = owed(&farm).await?;
        let contract = contract(&farm).await?;
        // The API server takes a higher epoch; from then on no voucher of this one can be stored.
        let spoiled =
            json!({"spec": {"voucher": {"epoch": 4_000_000_000_u32, "signature": "00".repeat(64)}}});
        farm.patch::<PaymentChannel>(CHANNEL, &spoiled).await?;
        let channels = farm.api::<PaymentChannel>();
        channels.delete(CHANNEL, &DeleteParams::default()).await?;
        assert_paid(&farm, &contract, cost).await?;
        wait::gone(&channels, CHANNEL, wait::LIMIT).await
    })
}

#[test]
fn a_payer_cannot_abandon_what_it_owes() -> Result<()> {
    on_stack("abandoned", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &patient(&stack)).await?;
        let cost = owed(&farm).await?;
        let contract = contract(&farm).await?;
        let abandoned = json!({"metadata": {"annotations": {names::ABANDON_ANNOTATION: "true"}}});
        farm.patch::<PaymentChannel>(CHANNEL, &abandoned).await?;
        let channels = farm.api::<PaymentChannel>();
        channels.delete(CHANNEL, &DeleteParams::default()).await?;
        assert_paid(&farm, &contract, cost).await?;
        wait::gone(&channels, CHANNEL, wait::LIMIT).await
    })
}

#[test]
fn a_voucher_only_rises() -> Result<()> {
    on_stack("lowered", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &patient(&stack)).await?;
        farm.open_channel("1", "0.9").await?;
        for lowered in [
            json!({"capNano": 1}),
            json!({"validUntil": 1}),
            json!({"validUntil": 1, "capNano": 900_000_001}),
        ] {
            let patch = json!({"spec": {"voucher": lowered}});
            let Err(refused) = farm.patch::<PaymentChannel>(CHANNEL, &patch).await else {
                anyhow::bail!("the API server took {lowered}");
            };
            ensure!(
                format!("{refused:#}").contains("a voucher may only be raised"),
                "{refused:#}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_namespace_that_is_deleted_pays_before_it_goes() -> Result<()> {
    on_stack("namespace", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &patient(&stack)).await?;
        let cost = owed(&farm).await?;
        let contract = contract(&farm).await?;
        let namespaces: Api<Namespace> = Api::all(stack.client.clone());
        namespaces.delete(&namespace, &DeleteParams::default()).await?;
        assert_paid(&farm, &contract, cost).await
    })
}

#[test]
fn a_listed_namespace_that_is_deleted_pays_before_it_goes() -> Result<()> {
    on_stack("listed-farm", |stack, farms| async move {
        let values = Values::of(&stack).await?;
        let (release, system) = (&stack.description.release, &stack.description.operator_namespace);
        let restore = || async { values.install(&stack, release, system, &[]).await };
        let test = with_namespace(&stack, "listed-team", |teams| {
            let (stack, values, farms) = (&stack, &values, &farms);
            async move {
                let listed = format!("watchNamespaces={{{farms},{teams}}}");
                values
                    .install(stack, release, system, &["--set", &listed])
                    .await?;
                farm_and_team_pay(stack, farms, &teams).await
            }
        });
        and_then_restore(Box::pin(test), restore).await
    })
}

/// The operator has rights in these two namespaces alone, which are deleted while both payers owe; so is the operator's
/// pod, so that nothing is held in memory alone.
async fn farm_and_team_pay(stack: &Stack, farms: &str, teams: &str) -> Result<()> {
    let farm = Farm::start(stack, farms, &patient(stack)).await?;
    let everyone = json!({"spec": {"allowedNamespaces": {"from": "All"}}});
    farm.patch::<CocoonProvider>(PROVIDER, &everyone).await?;
    let team = Farm::payer(stack, teams).await?;
    let provider = format!("{farms}/{PROVIDER}");
    team.open_channel_toward(&provider, "1", "0.9").await?;
    team.channel_ready().await?;
    let costs = (owed(&farm).await?, delivered(&team).await?);
    let contracts = (contract(&farm).await?, contract(&team).await?);

    let namespaces: Api<Namespace> = Api::all(stack.client.clone());
    for namespace in [farms, teams] {
        namespaces.delete(namespace, &DeleteParams::default()).await?;
    }
    let operators: Api<Pod> = Api::namespaced(stack.client.clone(), &stack.description.operator_namespace);
    let operator = ListParams::default().labels("app.kubernetes.io/name=cocoon-operator");
    operators
        .delete_collection(&DeleteParams::default(), &operator)
        .await?;
    assert_paid_within(NAMESPACE_LIMIT, &farm, &contracts.0, costs.0).await?;
    assert_paid_within(NAMESPACE_LIMIT, &team, &contracts.1, costs.1).await?;
    for namespace in [farms, teams] {
        wait::gone(&namespaces, namespace, NAMESPACE_LIMIT).await?;
    }
    Ok(())
}
