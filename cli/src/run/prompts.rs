//! Prompts from the command line lie in a Secret: a job names it, and whoever may read jobs does not read them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    crd::InferenceJob,
    names::{INPUT_LABEL, INPUT_LABEL_VALUE, REQUESTS_KEY},
};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::kubernetes::{Asked as _, Cluster, FIELD_MANAGER};

/// Beginning of the name of a job that was given none.
const JOB_PREFIX: &str = "run-";
/// Beginning of the name of its Secret; the API server completes both.
const SECRET_PREFIX: &str = "run-input-";
/// End of the name of the Secret of a job that was given one.
const SECRET_SUFFIX: &str = "-input";

/// The Secret of a job's prompts, and whether this call made it.
pub(super) struct Stored {
    /// Name of the Secret.
    pub(super) secret: String,
    /// Name of the job.
    pub(super) job: String,
    is_new: bool,
}

/// One request a line.
pub(super) fn jsonl(bodies: &[Value]) -> String {
    bodies
        .iter()
        .map(|body| json!({"body": body}).to_string() + "\n")
        .collect()
}

/// Stores prompts for the job of this name; a name is made where there is none. A Secret that holds the same already is
/// used.
pub(super) async fn store(name: Option<&str>, requests: &str, cluster: &Cluster) -> Result<Stored> {
    let secrets: Api<Secret> = cluster.api();
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    match secrets.create(&params, &secret(name, requests)).await {
        Ok(created) => {
            let secret = created.name_any();
            let job = name.map_or_else(|| job_name(&secret), str::to_owned);
            Ok(Stored {
                secret,
                job,
                is_new: true,
            })
        }
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
            let job = name.context("the API server made a name that exists")?.to_owned();
            let secret = format!("{job}{SECRET_SUFFIX}");
            let existing = secrets
                .get(&secret)
                .await
                .asked(|| format!("read Secret {secret}"))?;
            let held = existing.data.unwrap_or_default().remove(REQUESTS_KEY);
            ensure!(
                held.is_some_and(|held| held.0 == requests.as_bytes()),
                "Secret {secret} exists with other prompts: use another name, or delete job and Secret first"
            );
            Ok(Stored {
                secret,
                job,
                is_new: false,
            })
        }
        Err(refused) => Err(refused).asked(|| "store the prompts in a Secret".to_owned()),
    }
}

fn job_name(secret: &str) -> String {
    format!("{JOB_PREFIX}{}", secret.trim_start_matches(SECRET_PREFIX))
}

fn secret(name: Option<&str>, requests: &str) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: name.map(|name| format!("{name}{SECRET_SUFFIX}")),
            generate_name: name.is_none().then(|| SECRET_PREFIX.to_owned()),
            labels: Some(BTreeMap::from([(
                INPUT_LABEL.to_owned(),
                INPUT_LABEL_VALUE.to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        data: Some(BTreeMap::from([(
            REQUESTS_KEY.to_owned(),
            ByteString(requests.as_bytes().to_vec()),
        )])),
        ..Secret::default()
    }
}

impl Stored {
    /// The prompts go with the job.
    pub(super) async fn belongs_to(&self, job: &InferenceJob, cluster: &Cluster) -> Result<()> {
        let owner = job.owner_ref(&()).context("the job has no UID")?;
        let patch = Patch::Merge(json!({"metadata": {"ownerReferences": [owner]}}));
        cluster
            .api::<Secret>()
            .patch(&self.secret, &PatchParams::default(), &patch)
            .await
            .asked(|| format!("give Secret {} to job {}", self.secret, self.job))?;
        Ok(())
    }

    /// Takes back what this call stored: there is no job for it. Answers the name of a Secret that is left behind.
    pub(super) async fn withdraw(self, cluster: &Cluster) -> Option<String> {
        if !self.is_new {
            return None;
        }
        let secrets: Api<Secret> = cluster.api();
        let deleted = secrets.delete(&self.secret, &DeleteParams::default()).await;
        deleted.is_err().then_some(self.secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_marked_as_input_and_cannot_change() {
        let made = secret(Some("j"), "{}\n");
        assert_eq!(made.metadata.name.as_deref(), Some("j-input"));
        assert_eq!(
            made.metadata.labels.unwrap_or_default()["cocoon.farm/input"],
            "true"
        );
        assert_eq!(made.immutable, Some(true));
        assert_eq!(
            secret(None, "").metadata.generate_name.as_deref(),
            Some("run-input-")
        );
        assert_eq!(job_name("run-input-x7k2p"), "run-x7k2p");
    }

    #[test]
    fn each_prompt_is_a_line() {
        let text = jsonl(&[json!({"prompt": "a\nb"}), json!({"prompt": "c"})]);
        assert_eq!(
            text,
            "{\"body\":{\"prompt\":\"a\\nb\"}}\n{\"body\":{\"prompt\":\"c\"}}\n"
        );
    }
}
