//! The Secret that holds the results and receipts of one job.

use std::{collections::BTreeMap, sync::Arc};

use cocoon_api::names::{
    JOB_LABEL, JOB_UID_ANNOTATION, MANAGED_BY_LABEL, RECEIPTS_KEY, RESULTS_KEY, STATEMENTS_KEY,
    UNDELIVERED_KEY,
};
use cocoon_core::job::landing::{LandedText, Landing, LandingError};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};

use crate::error::{KubeContext as _, Result};

/// Type of the Secret.
const SECRET_TYPE: &str = "cocoon.farm/results";

/// The Secret of one job.
pub struct ResultsSecret {
    api: Api<Secret>,
    job: String,
    owner: OwnerReference,
}

/// What was stored, and what a write must replace.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// Results and receipts.
    pub landing: Arc<Landing>,
    /// The Secret that was read.
    pub origin: Origin,
}

/// The Secret that was read, which a write replaces if nobody else did.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Version of the Secret; `None` before it exists.
    version: Option<String>,
    /// Its owners. Who orphans the results takes the job away from them: it is not put back, or the results would go with
    /// the job.
    owners: Option<Vec<OwnerReference>>,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is stored.
    Stored,
    /// Somebody else wrote since it was read.
    Overtaken,
}

impl ResultsSecret {
    /// The Secret has the job's name, and is owned by it or carries its mark.
    pub fn new(api: Api<Secret>, job: String, owner: OwnerReference) -> Self {
        Self { api, job, owner }
    }

    /// Reads what has landed. A Secret of that name that is not the job's is not touched.
    pub async fn load(&self) -> Result<Result<Stored, Unreadable>> {
        let Some(secret) = self
            .api
            .get_opt(&self.job)
            .await
            .attempt("read results Secret", &self.job)?
        else {
            return Ok(Ok(Stored::default()));
        };
        if !is_own(&secret.metadata, &self.owner.uid) {
            let name = self.job.clone();
            return Ok(Err(if is_of_earlier_job(&secret.metadata, &self.owner) {
                Unreadable::Earlier { name }
            } else {
                Unreadable::Foreign { name }
            }));
        }
        let landing = landed(secret.data.unwrap_or_default());
        Ok(match landing {
            Ok(landing) => Ok(Stored {
                landing: Arc::new(landing),
                origin: Origin {
                    version: secret.metadata.resource_version,
                    owners: secret.metadata.owner_references,
                },
            }),
            Err(source) => Err(Unreadable::Damaged {
                name: self.job.clone(),
                source,
            }),
        })
    }

    /// Writes what has landed, if nobody else wrote since it was read.
    pub async fn save(&self, landing: &Landing, origin: &mut Origin) -> Result<Written> {
        let secret = secret(&self.job, &self.owner, landing, origin);
        let params = PostParams::default();
        let written = match origin.version {
            None => self.api.create(&params, &secret).await,
            Some(_) => self.api.replace(&self.job, &params, &secret).await,
        };
        match written {
            Ok(written) => {
                origin.version = written.metadata.resource_version;
                origin.owners = written.metadata.owner_references;
                Ok(Written::Stored)
            }
            Err(kube::Error::Api(response))
                if response.code == 409 || (response.code == 404 && origin.version.is_some()) =>
            {
                Ok(Written::Overtaken)
            }
            Err(error) => Err(error).attempt("write results Secret", &self.job),
        }
    }
}

fn landed(mut data: BTreeMap<String, ByteString>) -> Result<Landing, LandingError> {
    let mut text = |what: &'static str| {
        let bytes = data.remove(what).map(|value| value.0).unwrap_or_default();
        String::from_utf8(bytes).map_err(|error| LandingError::Encoding {
            what,
            at: error.utf8_error().valid_up_to(),
        })
    };
    Landing::parse(&LandedText {
        results: text(RESULTS_KEY)?,
        receipts: text(RECEIPTS_KEY)?,
        undelivered: text(UNDELIVERED_KEY)?,
        statements: text(STATEMENTS_KEY)?,
    })
}

/// Whether a Secret is the job's: as its owner references say, or the mark that it got when it was made.
fn is_own(metadata: &ObjectMeta, uid: &String) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    let mark = metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(JOB_UID_ANNOTATION));
    owners.any(|owner| owner.uid == *uid) || mark == Some(uid)
}

/// Whether a Secret is owned by another job of the same name. There can be none beside this one, so that the garbage
/// collector is about to remove it.
fn is_of_earlier_job(metadata: &ObjectMeta, owner: &OwnerReference) -> bool {
    metadata
        .owner_references
        .iter()
        .flatten()
        .any(|other| (&other.kind, &other.name) == (&owner.kind, &owner.name) && other.uid != owner.uid)
}

/// The Secret with what has landed.
fn secret(job: &str, owner: &OwnerReference, landing: &Landing, origin: &Origin) -> Secret {
    let owners = match &origin.version {
        None => Some(vec![owner.clone()]),
        Some(_) => origin.owners.clone(),
    };
    let LandedText {
        results,
        receipts,
        undelivered,
        statements,
    } = landing.render();
    let entry = |key: &str, text: String| (key.to_owned(), ByteString(text.into_bytes()));
    let mark = (JOB_UID_ANNOTATION.to_owned(), owner.uid.clone());
    Secret {
        metadata: ObjectMeta {
            name: Some(job.to_owned()),
            resource_version: origin.version.clone(),
            owner_references: owners,
            annotations: Some(BTreeMap::from([mark])),
            labels: Some(BTreeMap::from([
                (JOB_LABEL.to_owned(), label_value(job)),
                (MANAGED_BY_LABEL.to_owned(), "cocoon-operator".to_owned()),
            ])),
            ..ObjectMeta::default()
        },
        type_: Some(SECRET_TYPE.to_owned()),
        data: Some(BTreeMap::from([
            entry(RESULTS_KEY, results),
            entry(RECEIPTS_KEY, receipts),
            entry(UNDELIVERED_KEY, undelivered),
            entry(STATEMENTS_KEY, statements),
        ])),
        ..Secret::default()
    }
}

/// A label holds 63 characters; a longer name is found by the owner reference.
fn label_value(name: &str) -> String {
    name.chars()
        .take(63)
        .collect::<String>()
        .trim_end_matches(['-', '.', '_'])
        .to_owned()
}

/// Why the Secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It belongs to somebody else.
    #[error("Secret {name} exists and is not this job's: delete it or use another job name")]
    Foreign {
        /// Name of the Secret.
        name: String,
    },
    /// It belongs to a job of the same name that was deleted.
    #[error("Secret {name} is that of an earlier job of this name, and is being removed")]
    Earlier {
        /// Name of the Secret.
        name: String,
    },
    /// Its content was changed.
    #[error("Secret {name} was changed and cannot be read")]
    Damaged {
        /// Name of the Secret.
        name: String,
        /// Why.
        #[source]
        source: LandingError,
    },
}

#[cfg(test)]
mod tests;
