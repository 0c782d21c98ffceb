//! Deletion in every order, running and idle: everything is gone within 30 seconds.

use std::time::Duration;

use anyhow::Result;
use cocoon_api::crd::{CocoonProvider, InferenceJob, PaymentChannel};
use e2e::{
    farm::{CHANNEL, Farm, Offer, PROVIDER, prompts},
    wait,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};

use super::on_stack;

/// The three objects are gone within this time after the last was deleted.
const LIMIT: Duration = Duration::from_secs(30);
/// A job of this many requests still runs when it is deleted.
const REQUESTS: usize = 90;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Job,
    Channel,
    Provider,
}

use Kind::{Channel, Job, Provider};

const ORDERS: [[Kind; 3]; 6] = [
    [Job, Channel, Provider],
    [Job, Provider, Channel],
    [Channel, Job, Provider],
    [Channel, Provider, Job],
    [Provider, Job, Channel],
    [Provider, Channel, Job],
];

async fn delete(farm: &Farm<'_>, kind: Kind) -> Result<()> {
    let params = DeleteParams::default();
    match kind {
        Job => drop(farm.api::<InferenceJob>().delete("job", &params).await?),
        Channel => drop(farm.api::<PaymentChannel>().delete(CHANNEL, &params).await?),
        Provider => drop(farm.api::<CocoonProvider>().delete(PROVIDER, &params).await?),
    }
    Ok(())
}

async fn all_gone(farm: &Farm<'_>) -> Result<()> {
    wait::gone(&farm.api::<InferenceJob>(), "job", LIMIT).await?;
    wait::gone(&farm.api::<PaymentChannel>(), CHANNEL, LIMIT).await?;
    wait::gone(&farm.api::<CocoonProvider>(), PROVIDER, LIMIT).await?;
    wait::within(LIMIT, "no pod is left", || async {
        let pods = farm.api::<Pod>().list(&ListParams::default()).await?;
        Ok(pods.items.is_empty().then_some(()))
    })
    .await
}

async fn run(farm: &Farm<'_>, order: [Kind; 3], running: bool) -> Result<()> {
    farm.open_channel("2", "1.9").await?;
    let requests = if running { REQUESTS } else { 1 };
    farm.submit("job", &prompts(requests), 900_000_000).await?;
    if running {
        farm.wait_for_the_middle_of("job").await?;
    } else {
        farm.wait_for("job", "Settled").await?;
    }
    for kind in order {
        delete(farm, kind).await?;
    }
    all_gone(farm).await
}

#[test]
fn idle_objects_go_in_every_order() -> Result<()> {
    for (number, order) in ORDERS.into_iter().enumerate() {
        on_stack(&format!("delete-idle-{number}"), |stack, namespace| async move {
            let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
            run(&farm, order, false)
                .await
                .map_err(|error| error.context(format!("{order:?}")))
        })?;
    }
    Ok(())
}

#[test]
fn running_objects_go_in_every_order() -> Result<()> {
    for (number, order) in ORDERS.into_iter().enumerate() {
        on_stack(
            &format!("delete-running-{number}"),
            |stack, namespace| async move {
                let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
                run(&farm, order, true)
                    .await
                    .map_err(|error| error.context(format!("{order:?}")))
            },
        )?;
    }
    Ok(())
}
