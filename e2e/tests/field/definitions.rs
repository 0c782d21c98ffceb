//! Custom resource definitions that are upgraded while a job runs.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cocoon_api::crd::{CocoonProvider, InferenceJob, PaymentChannel};
use e2e::{
    farm::{CHANNEL, Farm, Offer, PROVIDER},
    receipts::assert_paid_once,
    stack::Stack,
};
use kube::ResourceExt as _;
use serde_json::Value;

use super::{REQUESTS, and_then_restore, on_stack, run_to_the_middle};

/// The definition that is upgraded, and an optional field that the version before lacks.
const DEFINITION: &str = "inferencejobs.cocoon.farm";
const FIELD: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
const NEW: &str = "ttlSecondsAfterFinished";

#[test]
fn a_job_outlives_an_upgrade_of_its_definition_and_nothing_is_lost() -> Result<()> {
    on_stack("definitions", |stack, namespace| async move {
        let restore = || async { upgrade(&stack).await };
        and_then_restore(Box::pin(upgrade_under_a_job(&stack, &namespace)), restore).await
    })
}

/// Applies the generated definitions.
async fn upgrade(stack: &Stack) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
    let folder = folder.to_str().context("the checkout's path is text")?;
    stack
        .kubectl(&[
            "apply",
            "--server-side",
            "--force-conflicts",
            "--filename",
            folder,
        ])
        .await?;
    wait_for_definition(stack, true).await
}

/// Puts a definition in place that does not know the field.
async fn downgrade(stack: &Stack) -> Result<()> {
    let text = stack
        .kubectl(&["get", "crd", DEFINITION, "--output", "json"])
        .await?;
    let mut definition: Value = serde_json::from_str(&text)?;
    let fields = definition.pointer_mut(FIELD).and_then(Value::as_object_mut);
    let removed = fields.and_then(|fields| fields.remove(NEW));
    ensure!(removed.is_some(), "{DEFINITION} has no field {NEW}");
    stack
        .kubectl_with(&["replace", "--filename", "-"], &definition.to_string())
        .await?;
    wait_for_definition(stack, false).await
}

/// Waits until the API server serves the kind with the field, or without.
async fn wait_for_definition(stack: &Stack, with_field: bool) -> Result<()> {
    let path = format!("inferencejobs.spec.{NEW}");
    e2e::wait::until("the API server serves the definition", || async {
        let explained = stack.kubectl(&["explain", &path]).await.is_ok();
        Ok((explained == with_field).then_some(()))
    })
    .await
}

async fn upgrade_under_a_job(stack: &Stack, namespace: &str) -> Result<()> {
    downgrade(stack).await?;
    let farm = Farm::start(stack, namespace, &Offer::of(stack)).await?;
    farm.open_channel("5", "2").await?;
    run_to_the_middle(&farm, "long").await?;
    let before = (
        farm.api::<CocoonProvider>().get(PROVIDER).await?,
        farm.api::<PaymentChannel>().get(CHANNEL).await?,
        farm.api::<InferenceJob>().get("long").await?,
    );
    upgrade(stack).await?;
    let job = farm.wait_for("long", "Settled").await?;
    let provider = farm.api::<CocoonProvider>().get(PROVIDER).await?;
    let channel = farm.api::<PaymentChannel>().get(CHANNEL).await?;
    let uids = [provider.uid(), channel.uid(), job.uid()];
    ensure!(
        uids == [before.0.uid(), before.1.uid(), before.2.uid()],
        "the objects are the same"
    );
    ensure!(
        provider.spec == before.0.spec && channel.spec == before.1.spec && job.spec == before.2.spec,
        "no field of a specification was lost"
    );
    let agreed = |job: &InferenceJob| job.status.as_ref().and_then(|status| status.agreed.clone());
    ensure!(
        agreed(&job).is_some() && agreed(&job) == agreed(&before.2),
        "what was agreed stays"
    );
    assert_paid_once(&farm, &job, REQUESTS).await?;

    // The new field can be used, on the old object as well.
    let patch = serde_json::json!({"spec": {NEW: 3600}});
    let job: InferenceJob = farm.patch("long", &patch).await?;
    ensure!(
        job.spec.ttl_seconds_after_finished == Some(3600),
        "the new field is kept"
    );
    Ok(())
}
