//! What the demo shows at its end, for people and as JSON.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::{Context as _, Result};
use cocoon_api::{NanoTon, Usage, crd::InferenceJob, units::Prices};
use cocoon_ton::ChannelState;
use kube::ResourceExt as _;
use serde::Serialize;

use crate::{
    answers::Answers,
    farm::{Farm, prices},
};

/// What happened.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Name of the job.
    pub job: String,
    /// The model that answered.
    pub model: String,
    /// The provider that served.
    pub provider: String,
    /// Requests answered.
    pub requests: u32,
    /// Tokens by class.
    pub usage: Usage,
    /// NanoTON per million tokens.
    pub price: Prices,
    /// What it cost.
    pub cost_nano: NanoTon,
    /// Hash of the transaction that paid it.
    pub transaction: String,
    /// The contract before the job.
    pub channel_before: ChannelFigures,
    /// The contract after the settlement.
    pub channel_after: ChannelFigures,
    /// Seconds of each phase, by its name for programs.
    pub phases: BTreeMap<&'static str, f64>,
    /// Seconds in all.
    pub seconds: f64,
    #[serde(skip)]
    order: Vec<&'static str>,
    #[serde(skip)]
    answers: Answers,
}

/// What the contract's getter shows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelFigures {
    /// Can still be claimed.
    pub available_nano: NanoTon,
    /// Was paid to the provider.
    pub redeemed_nano: NanoTon,
}

impl ChannelFigures {
    fn of(state: &ChannelState) -> Self {
        Self {
            available_nano: state.available,
            redeemed_nano: state.redeemed,
        }
    }
}

impl Summary {
    pub(super) async fn of(
        farm: &Farm<'_>,
        job: &InferenceJob,
        before: &ChannelState,
        phases: Vec<(&'static str, Duration)>,
    ) -> Result<Self> {
        let status = job.status.clone().context("the job has a status")?;
        let settlement = status
            .settlement
            .first()
            .context("the job names its settlement")?;
        let mut summary = Self {
            job: job.name_any(),
            model: job.spec.model.clone(),
            provider: status.provider.clone().unwrap_or_default(),
            requests: status.requests.succeeded,
            usage: status.usage,
            price: serde_json::from_value(prices())?,
            cost_nano: status.cost.spent_nano,
            transaction: settlement
                .transaction
                .clone()
                .context("the settlement names its transaction")?,
            channel_before: ChannelFigures::of(before),
            channel_after: ChannelFigures::of(&farm.contract().await?),
            phases: BTreeMap::new(),
            seconds: 0.0,
            order: Vec::new(),
            answers: Answers::of(farm, job).await?,
        };
        for (name, duration) in phases {
            summary.phase(name, duration);
        }
        Ok(summary)
    }

    /// Fails unless the other run gave the same answers, to the byte, and the same bill, to the nanoTON.
    pub fn ensure_equal(&self, other: &Self) -> Result<()> {
        self.answers.ensure_equal(&other.answers)
    }

    /// Adds a phase.
    pub fn phase(&mut self, name: &'static str, duration: Duration) {
        self.order.push(name);
        self.phases
            .insert(name, (duration.as_secs_f64() * 100.0).round() / 100.0);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            job,
            model,
            provider,
            requests,
            usage,
            price,
            cost_nano,
            transaction,
            channel_before,
            channel_after,
            ..
        } = self;
        writeln!(
            f,
            "\njob          {job}: {requests} requests to {model} at provider {provider}"
        )?;
        writeln!(
            f,
            "tokens       {} prompt, {} cached prompt, {} completion",
            usage.prompt_tokens, usage.cached_prompt_tokens, usage.completion_tokens
        )?;
        writeln!(
            f,
            "price        {} prompt, {} cached prompt, {} completion, in TON per million",
            nano(price.prompt.nano_per_million()),
            nano(price.cached_prompt.nano_per_million()),
            nano(price.completion.nano_per_million())
        )?;
        writeln!(
            f,
            "cost         {} TON ({cost_nano} nanoTON)",
            cost_nano.to_ton_string()
        )?;
        writeln!(f, "transaction  {transaction}")?;
        for (name, figures) in [("before", channel_before), ("after", channel_after)] {
            writeln!(
                f,
                "channel      {name}: {} TON available, {} TON redeemed",
                figures.available_nano.to_ton_string(),
                figures.redeemed_nano.to_ton_string()
            )?;
        }
        for name in &self.order {
            writeln!(
                f,
                "seconds      {}: {:.1}",
                label(name),
                self.phases.get(name).copied().unwrap_or_default()
            )?;
        }
        write!(f, "seconds      in all: {:.1}", self.seconds)
    }
}

fn nano(value: u64) -> String {
    NanoTon::from_nano(value).unwrap_or_default().to_ton_string()
}

/// A phase's name for people.
fn label(phase: &str) -> &str {
    match phase {
        "applyToComplete" => "apply to Complete",
        "applyToSettled" => "apply to Settled",
        other => other,
    }
}
