//! The demo's story: provider, channel, job, settlement.

mod progress;
mod summary;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use cocoon_api::{
    NanoTon,
    conditions::{Complete, Reason as _, Settled},
    crd::{CocoonProvider, InferenceJob, PaymentChannel, provider::Backend},
};
use cocoon_ton::{SecretKey, Signer as _, Wallet};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    farm::{CHANNEL, Farm, Offer, PROVIDER, ton},
    stack::Stack,
    wait,
};
use progress::Progress;
pub use summary::Summary;

/// Where the demo happens on the CPU.
pub const NAMESPACE: &str = "cocoon-demo";
/// Where it happens on GPUs.
pub const CUDA_NAMESPACE: &str = "cocoon-demo-cuda";
/// What the payer puts into the channel the first time, in TON.
const DEPOSIT: &str = "1";
/// What the payer allows to be claimed, in TON.
const CAP: &str = "0.9";
/// The payer tops up and raises the cap when less than this is left, so that the demo can run again and again.
const LOW: &str = "0.3";

/// The namespace of a backend, and how long it may take.
fn stage(backend: Backend) -> (&'static str, Duration) {
    match backend {
        Backend::CPU => (NAMESPACE, wait::LIMIT),
        Backend::CUDA => (CUDA_NAMESPACE, wait::SOFTWARE_GPU_LIMIT),
    }
}

/// Runs the story and answers its summary.
pub async fn run(stack: &Stack, example: &str, backend: Backend) -> Result<Summary> {
    let (namespace, limit) = stage(backend);
    let mut progress = Progress::new();
    let mut phases: Vec<(&'static str, Duration)> = Vec::new();
    let mut lap = Lap(Instant::now());

    progress.say("creating the provider");
    let farm = provider(stack, backend).await?;
    phases.push(("provider", lap.lap()));

    progress.say("opening the payment channel");
    channel(&farm).await?;
    let before = farm.contract().await?;
    phases.push(("channel", lap.lap()));

    let mut job: InferenceJob = serde_yaml(example).context("the example is not an InferenceJob")?;
    let name = job.name_any();
    job.metadata.namespace = None;
    let jobs: Api<InferenceJob> = farm.api();
    if jobs.get_opt(&name).await?.is_some() {
        progress.say("deleting the job of an earlier demo");
        jobs.delete(&name, &DeleteParams::default()).await?;
        wait::gone(&jobs, &name, wait::LIMIT).await?;
    }
    lap.lap();
    progress.say("applying the job");
    stack
        .kubectl_with(&["--namespace", namespace, "apply", "--filename", "-"], example)
        .await?;
    let complete = progress.follow(&jobs, &name, Complete::TYPE, limit).await?;
    let to_complete = lap.lap();
    phases.push(("applyToComplete", to_complete));
    let done = progress.follow(&jobs, &name, Settled::TYPE, limit).await?;
    phases.push(("applyToSettled", to_complete + lap.lap()));
    progress.finish();
    debug_assert_eq!(complete.metadata.uid, done.metadata.uid);
    Summary::of(&farm, &done, &before, phases).await
}

struct Lap(Instant);

impl Lap {
    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let elapsed = now - self.0;
        self.0 = now;
        elapsed
    }
}

/// By way of JSON, as `kubectl` sends it: requests are kept as the JSON that they came in.
fn serde_yaml(text: &str) -> Result<InferenceJob> {
    let value: Value = serde_saphyr::from_str(text)?;
    Ok(serde_json::from_str(&value.to_string())?)
}

/// Creates what is missing: a second demo finds its farm.
async fn provider(stack: &Stack, backend: Backend) -> Result<Farm<'_>> {
    let (namespace, limit) = stage(backend);
    // Each backend's farm has a wallet of its own.
    let text = |purpose: &str| hex::encode(Sha256::digest(format!("{namespace} {purpose}")));
    let address = |text: &str| -> Result<_> {
        let key = SecretKey::parse(text).context("a digest is a key")?;
        Ok(Wallet::new(key.public_key(), &stack.network()).address())
    };
    let farm = Farm {
        stack,
        namespace: namespace.to_owned(),
        wallet: address(&text("farm"))?,
        payout: address(&text("payout"))?,
        payer: address(&text("payer"))?,
        payer_key: text("payer"),
    };
    for wallet in [&farm.wallet, &farm.payer] {
        if stack.balance(wallet).await? < ton("3") {
            stack.give(wallet, ton("10")).await?;
        }
    }
    let params = PatchParams::apply("cocoon-demo").force();
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    Api::<Namespace>::all(stack.client.clone())
        .patch(namespace, &params, &Patch::Apply(object))
        .await?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "farm-wallet"}, "stringData": {"key": text("farm")}});
    farm.api::<Secret>()
        .patch("farm-wallet", &params, &Patch::Apply(secret))
        .await?;
    let manifest = farm.provider(&Offer {
        backend,
        // A cluster without GPUs can still show everything else.
        gpus_per_replica: u32::from(backend == Backend::CUDA || stack.description.gpus > 0),
        ..Offer::kept(stack)
    });
    farm.api::<CocoonProvider>()
        .patch(PROVIDER, &params, &Patch::Apply(manifest))
        .await?;
    farm.ready_within(limit).await?;
    Ok(farm)
}

async fn channel(farm: &Farm<'_>) -> Result<()> {
    let channels: Api<PaymentChannel> = farm.api();
    let Some(channel) = channels.get_opt(CHANNEL).await? else {
        return farm.open_channel(DEPOSIT, CAP).await;
    };
    let left = channel
        .status
        .as_ref()
        .and_then(|status| NanoTon::parse_ton(&status.available))
        .unwrap_or_default();
    if left >= ton(LOW) {
        return Ok(());
    }
    farm.top_up(DEPOSIT).await?;
    let cap = channel
        .status
        .map(|status| status.cap_nano)
        .unwrap_or_default()
        .checked_add(ton(CAP))?;
    farm.authorize(&cap.to_ton_string()).await?;
    let has_room = |channel: &PaymentChannel| {
        let status = channel.status.as_ref();
        status
            .and_then(|status| NanoTon::parse_ton(&status.available))
            .is_some_and(|left| left >= ton(LOW))
    };
    wait::object(&channels, CHANNEL, "the channel has room", has_room).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::serde_yaml;

    #[test]
    fn the_example_is_a_job_with_six_requests() {
        let job = serde_yaml(include_str!("../../examples/first-job.yaml")).expect("an InferenceJob");
        assert_eq!(job.spec.input.inline.expect("it has its input in line").len(), 6);
    }
}
