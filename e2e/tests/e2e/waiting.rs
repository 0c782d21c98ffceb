//! Jobs that have to wait say for what, and go on by themselves.

use anyhow::{Result, ensure};
use cocoon_api::crd::{CocoonProvider, InferenceJob};
use e2e::{
    farm::{Farm, Offer, PROVIDER},
    wait,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

use super::{on_stack, receipts::assert_paid_once};

/// Somebody else's pods take a GPU each, on whichever node it is.
async fn occupy(farm: &Farm<'_>, occupants: &[String]) -> Result<()> {
    let pods = farm.api::<Pod>();
    for name in occupants {
        let occupant: Pod = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "tolerations": [{"operator": "Exists"}],
                // Whether it runs does not matter: a pod holds its GPUs from scheduling to deletion.
                "containers": [{"name": "occupant", "image": farm.stack.description.agent_image, "args": ["--help"],
                                "imagePullPolicy": "IfNotPresent", "resources": {"limits": {"nvidia.com/gpu": "1"}}}],
            },
        }))?;
        pods.create(&PostParams::default(), &occupant).await?;
    }
    let is_placed = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    for name in occupants {
        wait::object(&pods, name, "the occupant has its GPU", is_placed).await?;
    }
    Ok(())
}

#[test]
fn a_job_without_a_free_gpu_waits_until_one_is_freed() -> Result<()> {
    on_stack("no-gpu", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.5").await?;
        let free = |provider: &CocoonProvider| provider.status.as_ref().map_or(0, |status| status.gpus.free);
        let providers = farm.api::<CocoonProvider>();
        let provider = wait::object(&providers, PROVIDER, "GPUs are free", |provider| {
            free(provider) > 0
        })
        .await?;
        let occupants: Vec<String> = (0..free(&provider))
            .map(|number| format!("occupant-{number}"))
            .collect();
        occupy(&farm, &occupants).await?;

        farm.submit("patient", &["Once upon a time"], 20_000_000).await?;
        let message = farm
            .wait_for_reason("patient", "Scheduled", "InsufficientGPU")
            .await?;
        ensure!(
            message.contains("nvidia.com/gpu"),
            "the message names what it waits for: {message}"
        );
        farm.api::<Pod>()
            .delete(&occupants[0], &DeleteParams::default())
            .await?;
        let job = farm.wait_for("patient", "Settled").await?;
        assert_paid_once(&farm, &job, 1).await
    })
}

#[test]
fn a_job_that_the_channel_cannot_cover_starts_after_a_top_up() -> Result<()> {
    on_stack("no-funds", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("0.1", "5").await?;
        farm.submit("poor", &["Once upon a time"], 1_000_000_000).await?;
        let message = farm
            .wait_for_reason("poor", "FundsReserved", "WaitingForFunds")
            .await?;
        ensure!(
            message.contains("top up"),
            "the message says what to do: {message}"
        );
        let pods = farm.api::<Pod>().list(&ListParams::default()).await?;
        ensure!(pods.items.is_empty(), "a job without funds starts nothing");

        farm.top_up("2").await?;
        let job: InferenceJob = farm.wait_for("poor", "Settled").await?;
        assert_paid_once(&farm, &job, 1).await
    })
}
