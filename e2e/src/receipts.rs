//! What a finished job left: results, receipts, and the same sum everywhere.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    NanoTon,
    crd::{InferenceJob, PaymentChannelStatus},
    names::{RECEIPTS_KEY, RESULTS_KEY, TOKENS_KEY, UNDELIVERED_KEY},
    receipt::{AnswerTokens, Receipt, ReceiptChain, Sha256Digest},
};
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{farm::Farm, results::Texts};

/// One line of `results.jsonl`.
#[derive(Deserialize)]
pub struct Line {
    /// Place of the request in the input.
    pub index: u32,
    /// What was answered.
    pub response: Option<Response>,
    /// Why nothing was.
    pub error: Option<Failure>,
}

/// An answer as it was delivered.
#[derive(Deserialize)]
pub struct Response {
    /// Its very bytes.
    pub body: Box<RawValue>,
}

/// Why a request has no answer.
#[derive(Deserialize)]
pub struct Failure {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
}

/// The part of an answer that tests read.
#[derive(Deserialize)]
pub struct Answer {
    /// Texts.
    pub choices: Vec<Choice>,
    /// Tokens.
    pub usage: AnswerUsage,
}

/// One text of an answer.
#[derive(Deserialize)]
pub struct Choice {
    /// The text.
    pub text: String,
}

/// Tokens that an answer took.
#[derive(Deserialize)]
pub struct AnswerUsage {
    /// Of the prompt.
    pub prompt_tokens: usize,
    /// Of the answer.
    pub completion_tokens: usize,
}

/// Results and receipts of a job.
pub struct Delivered {
    /// Results.
    pub lines: Vec<Line>,
    /// Receipts of what was delivered.
    pub receipts: Vec<Receipt>,
    /// Receipts of answers that were not delivered: links of their chains, and free.
    undelivered: Vec<Receipt>,
    tokens: BTreeMap<u32, AnswerTokens>,
}

#[derive(Deserialize)]
struct TokensLine {
    index: u32,
    #[serde(flatten)]
    tokens: AnswerTokens,
}

impl Delivered {
    /// Of a job, from all its pages.
    pub async fn of(farm: &Farm<'_>, job: &str) -> Result<Self> {
        Self::in_texts(&Texts::of(farm, job).await?)
    }

    /// Of one page.
    pub fn in_secret(secret: Secret) -> Result<Self> {
        let mut texts = Texts::default();
        texts.add(secret)?;
        Self::in_texts(&texts)
    }

    fn in_texts(texts: &Texts) -> Result<Self> {
        let receipts = |key: &str| -> Result<Vec<Receipt>> {
            let lines = texts.text(key).lines();
            Ok(lines.map(serde_json::from_str).collect::<Result<_, _>>()?)
        };
        let tokens = texts
            .text(TOKENS_KEY)
            .lines()
            .map(|line| serde_json::from_str(line).map(|line: TokensLine| (line.index, line.tokens)));
        let results = texts.text(RESULTS_KEY);
        ensure!(!results.is_empty(), "{RESULTS_KEY} is missing");
        Ok(Self {
            lines: results
                .lines()
                .map(serde_json::from_str)
                .collect::<Result<_, _>>()?,
            receipts: receipts(RECEIPTS_KEY)?,
            undelivered: receipts(UNDELIVERED_KEY)?,
            tokens: tokens.collect::<Result<_, _>>()?,
        })
    }

    /// Every answered request has exactly one receipt, which is about the very bytes and tokens that were delivered,
    /// and every chain verifies from its start.
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
            let tokens = self.tokens.get(&line.index);
            tokens
                .with_context(|| format!("request {} has no tokens", line.index))?
                .check(receipt.tokens_root, &receipt.usage)?;
        }
        ensure!(
            by_request.is_empty(),
            "receipts without a result: {:?}",
            by_request.keys()
        );
        let mut chains: BTreeMap<_, ReceiptChain> = BTreeMap::new();
        let mut links: Vec<&Receipt> = self.receipts.iter().chain(&self.undelivered).collect();
        links.sort_by_key(|receipt| (&receipt.chain, receipt.sequence));
        for receipt in links {
            chains
                .entry(receipt.chain.clone())
                .or_insert_with(|| ReceiptChain::new(receipt.chain.clone()))
                .push(receipt)?;
        }
        Ok(NanoTon::sum(self.receipts.iter().map(|receipt| receipt.nano))?)
    }

    /// Answers by the place of their requests.
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
    assert_all_paid(farm, &[(job, requests)]).await
}

/// Like [`assert_paid_once`], for all jobs that a channel ever had.
pub async fn assert_all_paid(farm: &Farm<'_>, jobs: &[(&InferenceJob, usize)]) -> Result<()> {
    let mut billed = NanoTon::ZERO;
    for (job, requests) in jobs {
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let delivered = Delivered::of(farm, name).await?;
        let sum = delivered.check()?;
        ensure!(
            delivered.receipts.len() == *requests,
            "job {name} has {} receipts for {requests} requests",
            delivered.receipts.len()
        );
        let spent = job.status.clone().unwrap_or_default().cost.spent_nano;
        ensure!(
            spent == sum,
            "status.cost of {name} is {spent}, receipts say {sum}"
        );
        billed = billed.checked_add(sum)?;
    }
    assert_redeemed(farm, billed).await
}

/// The contract paid exactly this, and the channel's object says so.
pub async fn assert_redeemed(farm: &Farm<'_>, billed: NanoTon) -> Result<()> {
    let contract = farm.contract().await?;
    ensure!(
        contract.redeemed == billed,
        "the contract redeemed {}, receipts say {billed}",
        contract.redeemed
    );
    let shown = |status: &PaymentChannelStatus| status.redeemed_nano == billed;
    let channel = farm
        .wait_for_channel("the channel shows what was redeemed", shown)
        .await?;
    let accrued = channel.status.unwrap_or_default().accrued_nano;
    ensure!(accrued == billed, "accrued is {accrued}, receipts say {billed}");
    Ok(())
}
