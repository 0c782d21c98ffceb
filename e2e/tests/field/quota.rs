//! A quota that leaves no room for an agent.

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{conditions, crd::CocoonProvider};
use e2e::{
    farm::{Farm, Offer, PROVIDER},
    receipts::assert_paid_once,
    wait,
};
use k8s_openapi::api::core::v1::ResourceQuota;
use serde_json::json;

use super::on_stack;

/// What the job says, whose payer may be of another namespace and is told no more of the farm's.
const JOB_WORDS: &str = "the quota of its namespace leaves no room for it";
/// The quota's own words.
const WORDS: &str = "exceeded quota: no-gpu, requested: requests.nvidia.com/gpu=1";

#[test]
fn a_quota_that_refuses_an_agent_is_named_by_the_job_and_quoted_by_the_provider_until_it_is_raised()
-> Result<()> {
    on_stack("quota", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        farm.open_channel("1", "0.5").await?;
        let quota = |gpus: &str| json!({"metadata": {"name": "no-gpu"}, "spec": {"hard": {"requests.nvidia.com/gpu": gpus}}});
        farm.create::<ResourceQuota>(&quota("0")).await?;
        let is_counted =
            |quota: &ResourceQuota| quota.status.as_ref().is_some_and(|status| status.used.is_some());
        let quotas = farm.api::<ResourceQuota>();
        wait::object(&quotas, "no-gpu", "the quota is counted", is_counted).await?;

        farm.submit("patient", &["Once upon a time"], 20_000_000).await?;
        let message = farm
            .wait_for_reason("patient", "Scheduled", "QuotaExceeded")
            .await?;
        ensure!(message.contains(JOB_WORDS), "the job says: {message}");
        let refused = |provider: &CocoonProvider| {
            let status = provider.status.as_ref()?;
            let available = conditions::find(&status.conditions, "AgentsAvailable")?;
            (available.reason == "QuotaExceeded").then(|| available.message.clone())
        };
        let providers = farm.api::<CocoonProvider>();
        let is_refused = |provider: &CocoonProvider| refused(provider).is_some();
        let provider = wait::object(&providers, PROVIDER, "the provider names the quota", is_refused).await?;
        let message = refused(&provider).context("the condition that was waited for")?;
        ensure!(message.contains(WORDS), "the provider says: {message}");

        farm.patch::<ResourceQuota>("no-gpu", &quota("1")).await?;
        let job = farm.wait_for("patient", "Settled").await?;
        assert_paid_once(&farm, &job, 1).await
    })
}
