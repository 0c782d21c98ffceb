//! The customer does not decide that a job is free.

use anyhow::{Result, ensure};
use cocoon_api::crd::{CocoonProvider, InferenceJob};
use e2e::farm::{Farm, MODEL, Offer, PROVIDER};
use serde_json::json;

use super::on_stack;

#[test]
fn a_job_is_free_only_with_the_offers_consent() -> Result<()> {
    on_stack("free", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.create::<InferenceJob>(&json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": "for-nothing"},
            "spec": {
                "model": MODEL, "endpoint": "/v1/completions",
                "input": {"inline": [{"prompt": "Once upon a time"}]},
                "parameters": {"maxTokens": 4, "temperature": 0},
                "billing": {"mode": "Free"},
            },
        }))
        .await?;
        farm.wait_for_reason("for-nothing", "Accepted", "FreeNotOffered")
            .await?;
        ensure!(!farm.has_begun("for-nothing").await?, "it has begun");

        // With the farm's consent it runs, and costs nothing.
        let mut offer = farm.provider(&Offer::of(&stack));
        offer["spec"]["models"][0]["allowFree"] = json!(true);
        let models = json!({"spec": {"models": offer["spec"]["models"]}});
        farm.patch::<CocoonProvider>(PROVIDER, &models).await?;
        let job = farm.wait_for("for-nothing", "Complete").await?;
        let cost = job.status.unwrap_or_default().cost;
        ensure!(cost.spent_nano.nano() == 0, "{cost:?}");
        Ok(())
    })
}
