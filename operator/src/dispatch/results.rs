//! The Secrets that hold the results and receipts of one job: the open page, of the job's name, and the closed ones.

mod secret;

use std::sync::Arc;

use cocoon_api::crd::output::OutputPage;
use cocoon_core::job::landing::{ClosedPage, HeadText, Landing, LandingError, Reading};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Api, api::PostParams};

use crate::error::{KubeContext as _, Result};

/// The results of one job.
pub struct Results {
    api: Api<Secret>,
    job: String,
    owner: OwnerReference,
    /// Closed pages that the job's status lists: they are where they were.
    known: Vec<OutputPage>,
}

/// What was stored, and what a write must replace.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// Results and receipts.
    pub landing: Arc<Landing>,
    /// The open page that was read.
    pub origin: Origin,
}

/// The open page that was read, which a write replaces if nobody else did.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Version of the Secret; `None` before it exists.
    version: Option<String>,
    /// Its owners. Who orphans the results takes the job away from them: it is not put back, or the results would go
    /// with the job.
    owners: Option<Vec<OwnerReference>>,
}

/// What became of a write of the open page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is stored.
    Stored,
    /// Somebody else wrote since it was read.
    Overtaken,
}

/// What became of a write of a closed page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageWritten {
    /// It is stored, or was before.
    Stored,
    /// Something else has its name.
    Taken,
}

impl Results {
    /// The open page has the job's name, and all of them are owned by it or carry its mark.
    pub fn new(api: Api<Secret>, job: String, owner: OwnerReference, known: Vec<OutputPage>) -> Self {
        Self {
            api,
            job,
            owner,
            known,
        }
    }

    /// Reads what has landed, one page after the other. A Secret of a page's name that is not the job's is not touched.
    pub async fn load(&self) -> Result<Result<Stored, Unreadable>> {
        let found = self.read(&self.job).await?;
        let (head, origin) = match found {
            None => (None, Origin::default()),
            Some(found) => {
                if let Some(refused) = self.refused(&found) {
                    return Ok(Err(refused));
                }
                let origin = Origin {
                    version: found.metadata.resource_version.clone(),
                    owners: found.metadata.owner_references.clone(),
                };
                match secret::head(found) {
                    Ok(head) => (Some(head), origin),
                    Err(source) => return Ok(Err(self.damaged(&self.job, source))),
                }
            }
        };
        Ok(self.follow_list(head.as_ref()).await?.map(|landing| Stored {
            landing: Arc::new(landing),
            origin,
        }))
    }

    /// Reads the closed pages that the open one lists.
    async fn follow_list(&self, head: Option<&HeadText>) -> Result<Result<Landing, Unreadable>> {
        let mut reading = match Reading::new(head, &self.known) {
            Ok(reading) => reading,
            Err(source) => return Ok(Err(self.damaged(&self.job, source))),
        };
        while let Some(name) = reading.wanted().map(str::to_owned) {
            let Some(found) = self.read(&name).await? else {
                return Ok(Err(Unreadable::Gone { name }));
            };
            if let Some(refused) = self.refused(&found) {
                return Ok(Err(refused));
            }
            let taken = secret::page(found).and_then(|text| reading.take(&text));
            if let Err(source) = taken {
                return Ok(Err(self.damaged(&name, source)));
            }
        }
        Ok(Ok(reading.landing()))
    }

    /// Writes a page that nobody changes any more.
    pub async fn save_page(&self, page: &ClosedPage, origin: &Origin) -> Result<PageWritten> {
        let written = secret::closed(&self.job, &self.owner, page, origin.owners(&self.owner));
        match self.api.create(&PostParams::default(), &written).await {
            Ok(_) => return Ok(PageWritten::Stored),
            Err(kube::Error::Api(response)) if response.code == 409 => {}
            Err(error) => return Err(error).attempt("write results Secret", &page.name),
        }
        // An operator that crashed may have written it before it could say so.
        let found = self.read(&page.name).await?;
        let is_it = found.is_some_and(|found| {
            secret::is_own(&found.metadata, &self.owner.uid)
                && found.immutable == Some(true)
                && secret::page(found).is_ok_and(|text| text == *page.text)
        });
        Ok(if is_it {
            PageWritten::Stored
        } else {
            PageWritten::Taken
        })
    }

    /// Writes the open page, if nobody else wrote since it was read.
    pub async fn save(&self, landing: &Landing, origin: &mut Origin) -> Result<Written> {
        let owners = origin.owners(&self.owner);
        let mut head = secret::open(&self.job, &self.owner, landing.head(), owners);
        head.metadata.resource_version.clone_from(&origin.version);
        let params = PostParams::default();
        let written = match origin.version {
            None => self.api.create(&params, &head).await,
            Some(_) => self.api.replace(&self.job, &params, &head).await,
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

    async fn read(&self, name: &str) -> Result<Option<Secret>> {
        self.api.get_opt(name).await.attempt("read results Secret", name)
    }

    /// Why a Secret is not the job's.
    fn refused(&self, found: &Secret) -> Option<Unreadable> {
        let metadata = &found.metadata;
        if secret::is_own(metadata, &self.owner.uid) {
            return None;
        }
        let name = metadata.name.clone().unwrap_or_default();
        Some(if secret::is_of_earlier_job(metadata, &self.owner) {
            Unreadable::Earlier { name }
        } else {
            Unreadable::Foreign { name }
        })
    }

    fn damaged(&self, name: &str, source: LandingError) -> Unreadable {
        let (job, name) = (self.job.clone(), name.to_owned());
        Unreadable::Damaged { job, name, source }
    }
}

impl Origin {
    /// Owners of what is written next.
    fn owners(&self, job: &OwnerReference) -> Option<Vec<OwnerReference>> {
        match self.version {
            None => Some(vec![job.clone()]),
            Some(_) => self.owners.clone(),
        }
    }
}

/// Why results cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A Secret belongs to somebody else.
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
    /// A closed page is not there.
    #[error("Secret {name}, a page of results, was removed: put it back, or delete the job")]
    Gone {
        /// Name of the Secret.
        name: String,
    },
    /// Its content was changed.
    #[error("Secret {name} with results of job {job} was changed: put it back as it was, or delete the job")]
    Damaged {
        /// Name of the job.
        job: String,
        /// Name of the Secret.
        name: String,
        /// Why.
        #[source]
        source: LandingError,
    },
}

#[cfg(test)]
mod tests;
