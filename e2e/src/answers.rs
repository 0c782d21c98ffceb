//! What a job's requests were answered, for jobs that are to be compared.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    NanoTon, Usage,
    crd::InferenceJob,
    names::{RECEIPTS_KEY, RESULTS_KEY},
    receipt::Receipt,
};
use kube::ResourceExt as _;
use serde::Deserialize;

use crate::{farm::Farm, results::Texts};

/// What a job gave and cost, without what differs between two jobs that did the same: names, times, keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// Texts of the choices, by the request's index.
    pub texts: BTreeMap<u32, Vec<String>>,
    /// Tokens and price of each request, by its index, as its receipt has them.
    pub billed: BTreeMap<u32, (Usage, NanoTon)>,
    /// Tokens of the job.
    pub usage: Usage,
    /// What the job cost.
    pub cost: NanoTon,
}

#[derive(Deserialize)]
struct Line {
    index: u32,
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Response {
    body: Body,
}

#[derive(Deserialize)]
struct Body {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    text: String,
}

impl Answers {
    /// Of a job that has ended.
    pub async fn of(farm: &Farm<'_>, job: &InferenceJob) -> Result<Self> {
        let name = job.name_any();
        let stored = Texts::of(farm, &name).await?;
        let mut texts = BTreeMap::new();
        for line in stored.text(RESULTS_KEY).lines() {
            let line: Line =
                serde_json::from_str(line).context("a line of the results is not as expected")?;
            let choices = line
                .response
                .into_iter()
                .flat_map(|response| response.body.choices);
            texts.insert(line.index, choices.map(|choice| choice.text).collect());
        }
        let mut billed = BTreeMap::new();
        for line in stored.text(RECEIPTS_KEY).lines() {
            let receipt: Receipt = serde_json::from_str(line).context("a receipt is not as expected")?;
            billed.insert(receipt.request, (receipt.usage, receipt.nano));
        }
        let status = job.status.clone().unwrap_or_default();
        Ok(Self {
            texts,
            billed,
            usage: status.usage,
            cost: status.cost.spent_nano,
        })
    }

    /// Fails unless the other job gave the same, to the byte, and cost the same, to the nanoTON.
    pub fn ensure_equal(&self, other: &Self) -> Result<()> {
        ensure!(
            !self.texts.is_empty() && self.texts.values().all(|texts| !texts.is_empty()),
            "a request has no answer: {:?}",
            self.texts
        );
        ensure!(
            self.texts == other.texts,
            "the answers differ: {:?} and {:?}",
            self.texts,
            other.texts
        );
        ensure!(self == other, "the bills differ: {self:?} and {other:?}");
        Ok(())
    }
}
