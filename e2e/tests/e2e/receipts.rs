//! What a finished job left: results, receipts, and the same sum everywhere.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    NanoTon,
    crd::{InferenceJob, PaymentChannel},
    names::{RECEIPTS_KEY, RESULTS_KEY},
    receipt::{Receipt, ReceiptChain, Sha256Digest},
};
use e2e::farm::{CHANNEL, Farm};
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;
use serde_json::value::RawValue;

/// One line of `results.jsonl`.
#[derive(Deserialize)]
pub struct Line {
    pub index: u32,
    pub response: Option<Response>,
    pub error: Option<Failure>,
}

#[derive(Deserialize)]
pub struct Response {
    pub body: Box<RawValue>,
}

#[derive(Deserialize)]
pub struct Failure {
    pub code: String,
    pub message: String,
}

/// The part of an answer that tests read.
#[derive(Deserialize)]
pub struct Answer {
    pub choices: Vec<Choice>,
    pub usage: AnswerUsage,
}

#[derive(Deserialize)]
pub struct Choice {
    pub text: String,
    pub finish_reason: String,
}

#[derive(Deserialize)]
pub struct AnswerUsage {
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
}

/// Results and receipts of a job.
pub struct Delivered {
    pub lines: Vec<Line>,
    pub receipts: Vec<Receipt>,
}

impl Delivered {
    pub async fn of(farm: &Farm<'_>, job: &str) -> Result<Self> {
        let secret = farm
            .api::<Secret>()
            .get(job)
            .await
            .context("the job has a Secret of its name")?;
        let data = secret.data.unwrap_or_default();
        let text = |key: &str| -> Result<String> {
            Ok(String::from_utf8(
                data.get(key)
                    .with_context(|| format!("{key} is missing"))?
                    .0
                    .clone(),
            )?)
        };
        let lines = text(RESULTS_KEY)?
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        let receipts = text(RECEIPTS_KEY)?
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        Ok(Self { lines, receipts })
    }

    /// Every answered request has exactly one receipt, which is about the very bytes that were delivered, and
    /// every chain verifies from its start.
    pub fn check(&self) -> Result<NanoTon> {
        let mut by_request = BTreeMap::new();
        for receipt in &self.receipts {
            ensure!(
                by_request.insert(receipt.request, receipt).is_none(),
                "request {} has two receipts",
                receipt.request
            );
        }
        for line in &self.lines {
            let Some(response) = &line.response else { continue };
            let receipt = by_request
                .remove(&line.index)
                .with_context(|| format!("request {} has no receipt", line.index))?;
            ensure!(
                receipt.result == Sha256Digest::of(response.body.get().as_bytes()),
                "request {} was changed",
                line.index
            );
        }
        ensure!(
            by_request.is_empty(),
            "receipts without a result: {:?}",
            by_request.keys()
        );
        let mut chains: BTreeMap<_, ReceiptChain> = BTreeMap::new();
        for receipt in &self.receipts {
            chains
                .entry(receipt.chain.clone())
                .or_insert_with(|| ReceiptChain::new(receipt.chain.clone()))
                .push(receipt)?;
        }
        Ok(NanoTon::sum(self.receipts.iter().map(|receipt| receipt.nano))?)
    }

    pub fn answers(&self) -> Result<BTreeMap<u32, Answer>> {
        let answered = self
            .lines
            .iter()
            .filter_map(|line| Some((line.index, line.response.as_ref()?)));
        answered
            .map(|(index, response)| Ok((index, serde_json::from_str(response.body.get())?)))
            .collect()
    }
}

/// The job's cost, its receipts, the channel's counters and the contract all say the same.
pub async fn assert_paid_once(farm: &Farm<'_>, job: &InferenceJob, requests: usize) -> Result<()> {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let delivered = Delivered::of(farm, name).await?;
    let billed = delivered.check()?;
    ensure!(
        delivered.receipts.len() == requests,
        "{} receipts for {requests} requests",
        delivered.receipts.len()
    );
    let status = job.status.clone().unwrap_or_default();
    ensure!(
        status.cost.spent_nano == billed,
        "status.cost is {}, receipts say {billed}",
        status.cost.spent_nano
    );
    let contract = farm.contract().await?;
    ensure!(
        contract.redeemed == billed,
        "the contract redeemed {}, receipts say {billed}",
        contract.redeemed
    );
    let channel = e2e::wait::object(
        &farm.api::<PaymentChannel>(),
        CHANNEL,
        "the channel shows what was redeemed",
        |channel| {
            channel
                .status
                .as_ref()
                .is_some_and(|status| status.redeemed_nano == billed)
        },
    )
    .await?;
    let status = channel.status.unwrap_or_default();
    ensure!(
        status.accrued_nano == billed,
        "accrued is {}, receipts say {billed}",
        status.accrued_nano
    );
    Ok(())
}
