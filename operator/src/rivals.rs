//! Waits until no other operator serves what this one would serve; `cocoon_core::scope` says for whom.

use std::time::Duration;

use cocoon_api::names::FIELD_MANAGER;
use cocoon_core::scope::{Rival, SCOPE_ANNOTATION, SERVES_ANNOTATION, Stage, rival};
use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use tracing::{info, warn};

use crate::metrics::Metrics;

/// Label of the leases of operators, by which they find each other.
const LABEL: (&str, &str) = ("cocoon.farm/lease", "operator");
/// Between two looks at who serves: an operator that is replaced need not hurry.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Failures of the API server one after another until this process gives up and is started again: a minute.
const MAX_FAILURES: u32 = 12;

/// Other operators, as the one that holds this lease sees them.
pub struct Rivals<'a> {
    /// A client of the cluster.
    pub client: Client,
    /// Namespace of the lease.
    pub namespace: &'a str,
    /// Name of the lease, which this process holds.
    pub lease: &'a str,
    /// What it would serve.
    pub scope: String,
}

impl Rivals<'_> {
    /// Waits until nobody else serves any of it. Says once for whom it waits, whoever that is.
    ///
    /// # Errors
    /// The API server refused or failed for a minute.
    pub async fn gone(&self, metrics: &Metrics) -> kube::Result<()> {
        let mut failures = 0;
        let mut told: Option<Rival> = None;
        loop {
            match self.attempt().await {
                Ok(None) => break,
                Ok(Some(rival)) => {
                    failures = 0;
                    metrics.waits_for_operator.set(1);
                    if told.as_ref() != Some(&rival) {
                        warn!("another operator serves what this one would serve: waiting for {rival}");
                        told = Some(rival);
                    }
                }
                Err(error) => {
                    failures += 1;
                    if failures == MAX_FAILURES {
                        return Err(error);
                    }
                    warn!(
                        error = crate::error::chain(&error),
                        "could not find out whether another operator serves the same"
                    );
                }
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        metrics.waits_for_operator.set(0);
        if told.is_some() {
            info!("no other operator serves the same any more");
        }
        Ok(())
    }

    /// Says what it would serve, looks, says that it serves, and looks again.
    async fn attempt(&self) -> kube::Result<Option<Rival>> {
        for stage in [Stage::Asks, Stage::Serves] {
            let own = self.say(stage).await?;
            let others = self.others().await?;
            let found = rival(&own, &self.scope, stage, &others, Timestamp::now());
            if found.is_some() {
                if stage == Stage::Serves {
                    self.say(Stage::Asks).await?;
                }
                return Ok(found);
            }
        }
        Ok(None)
    }

    async fn say(&self, stage: Stage) -> kube::Result<Lease> {
        let serves = (stage == Stage::Serves).to_string();
        let patch = json!({"metadata": {
            "labels": {LABEL.0: LABEL.1},
            "annotations": {SCOPE_ANNOTATION: self.scope, SERVES_ANNOTATION: serves},
        }});
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        Api::<Lease>::namespaced(self.client.clone(), self.namespace)
            .patch(self.lease, &params, &Patch::Merge(patch))
            .await
    }

    async fn others(&self) -> kube::Result<Vec<Lease>> {
        let selector = ListParams::default().labels(&format!("{}={}", LABEL.0, LABEL.1));
        Ok(Api::<Lease>::all(self.client.clone())
            .list(&selector)
            .await?
            .items)
    }
}
