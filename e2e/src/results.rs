//! What is stored of a job's results, of all pages together.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use cocoon_api::crd::InferenceJob;
use k8s_openapi::api::core::v1::Secret;

use crate::farm::Farm;

/// The texts of a job's pages by key, those of one page after those of the one before.
#[derive(Debug, Clone, Default)]
pub struct Texts(BTreeMap<String, String>);

impl Texts {
    /// Of a job, whose status names the closed pages.
    pub async fn of(farm: &Farm<'_>, job: &str) -> Result<Self> {
        let status = farm
            .api::<InferenceJob>()
            .get(job)
            .await?
            .status
            .unwrap_or_default();
        let closed = status.output.map(|output| output.pages).unwrap_or_default();
        let mut texts = Self::default();
        for page in closed {
            let secret = farm.api::<Secret>().get(&page.name).await;
            let secret = secret.with_context(|| format!("page {} of job {job} is not there", page.name))?;
            ensure!(
                secret.immutable == Some(true),
                "page {} can be changed",
                page.name
            );
            texts.add(secret)?;
        }
        let open = farm.api::<Secret>().get(job).await;
        texts.add(open.with_context(|| format!("job {job} has no Secret of its name"))?)?;
        Ok(texts)
    }

    /// Adds a page.
    pub fn add(&mut self, page: Secret) -> Result<()> {
        for (key, bytes) in page.data.unwrap_or_default() {
            let text = String::from_utf8(bytes.0).with_context(|| format!("{key} is not text"))?;
            self.0.entry(key).or_default().push_str(&text);
        }
        Ok(())
    }

    /// All lines of one key.
    pub fn text(&self, key: &str) -> &str {
        self.0.get(key).map(String::as_str).unwrap_or_default()
    }
}
