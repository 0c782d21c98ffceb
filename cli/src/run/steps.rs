//! `run --step N`: signs for a job step by step, each time for as much as N requests may cost beyond what verified.

use anyhow::{Context as _, Result};
use cocoon_api::{
    NanoTon,
    conditions::{self, FundsReserved, Reason as _},
    crd::InferenceJob,
};
use cocoon_core::{funds::allowance, ledger};
use kube::ResourceExt as _;

use crate::{
    channel::{
        PayerArguments,
        object::{self, Bound},
    },
    kubernetes::Cluster,
    results,
};

/// What is signed for, and with what.
pub(super) struct Steps {
    channel: String,
    bound: Bound,
    /// What other jobs of the channel had come to, or could, when this one began: what was signed before is the most of
    /// that.
    base: NanoTon,
}

impl Steps {
    /// For a job that is to be submitted on this channel.
    pub(super) async fn begin(channel: &str, with: &PayerArguments, cluster: &Cluster) -> Result<Self> {
        let bound = object::bind(channel, with, cluster).await?;
        let state = bound.chain.channel(&bound.address).await?;
        let voucher = bound.object.spec.voucher.as_ref();
        let signed = voucher
            .filter(|voucher| voucher.epoch == state.epoch)
            .map_or(NanoTon::ZERO, |voucher| voucher.cap_nano);
        let ledger = bound.object.status.clone().unwrap_or_default();
        let free = ledger::available(&ledger)?;
        if free > NanoTon::ZERO {
            eprintln!(
                "warning: channel {channel} covers {} TON more than its jobs use: that much the provider may claim without a step",
                free.to_ton_string()
            );
        }
        Ok(Self {
            channel: channel.to_owned(),
            // The operator's word counts only within what was promised before: it can raise no promise by itself.
            base: ledger::exposed(&ledger)?.min(signed).max(state.redeemed),
            bound,
        })
    }

    /// Signs for the next step of a job that waits for it, if everything that it delivered verifies.
    pub(super) async fn pay(&self, job: &InferenceJob, cluster: &Cluster) -> Result<()> {
        let Some(wanted) = wanted(job) else {
            return Ok(());
        };
        let name = job.name_any();
        let spent = results::spent(job, cluster)
            .await
            .with_context(|| format!("nothing more is signed for job {name}"))?;
        let cap = self.cap(spent, wanted)?;
        let Bound {
            address,
            chain,
            payer,
            ..
        } = &self.bound;
        let current = object::read(&self.channel, cluster).await?;
        let state = chain.channel(address).await?;
        let voucher = current.spec.voucher.as_ref();
        let is_signed =
            voucher.is_some_and(|voucher| voucher.epoch == state.epoch && voucher.cap_nano >= cap);
        if is_signed {
            return Ok(());
        }
        let signed = chain.voucher(payer, address, &state, cap, None).await?;
        object::store_voucher(&self.channel, &object::voucher(&signed), false, cluster).await?;
        eprintln!(
            "receipts over {} TON verify: channel {} may be claimed up to {} TON",
            spent.to_ton_string(),
            self.channel,
            cap.to_ton_string()
        );
        Ok(())
    }

    fn cap(&self, spent: NanoTon, wanted: Wanted) -> Result<NanoTon> {
        let Wanted { budget, step, total } = wanted;
        Ok(self
            .base
            .checked_add(allowance(budget, Some(step), spent, total))?)
    }
}

/// What a job's next step depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    budget: NanoTon,
    step: u32,
    total: u32,
}

/// Whether a job waits for its next step to be signed for.
fn wanted(job: &InferenceJob) -> Option<Wanted> {
    let status = job.status.as_ref()?;
    let reserved = conditions::find(&status.conditions, FundsReserved::TYPE)?;
    let waits = reserved.status != "True" && status.active().is_none() && !status.is_ended();
    (waits && status.requests.total > 0).then_some(Wanted {
        budget: job.spec.billing.max_nano?,
        step: job.spec.billing.step?,
        total: status.requests.total,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(step: Option<u32>, funds: &str, total: u32, active: bool) -> InferenceJob {
        let state = if active { "Active" } else { "Ended" };
        serde_json::from_value(json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": "j"},
            "spec": {"model": "m", "input": {"inline": [{}]},
                     "billing": {"mode": "Channel", "channelRef": {"name": "c"}, "maxNano": 100, "step": step}},
            "status": {
                "requests": {"total": total, "inFlight": 0, "succeeded": 0, "failed": 0, "retried": 0},
                "conditions": [{"type": "FundsReserved", "status": funds, "reason": "R", "message": "",
                                "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                "assignments": [{"attempt": 1, "provider": "p", "pod": "p", "podUid": "u", "agent": "a", "requests": 0,
                                 "nano": 0, "state": state}],
            },
        }))
        .expect("a job")
    }

    #[test]
    fn a_step_is_signed_for_when_the_job_waits_for_it_and_never_before() {
        let signs = |job: &InferenceJob| wanted(job).is_some();
        assert!(signs(&job(Some(2), "False", 4, false)));
        assert!(!signs(&job(Some(2), "True", 4, false)), "its step is covered");
        assert!(!signs(&job(Some(2), "False", 4, true)), "an agent works on it");
        assert!(!signs(&job(Some(2), "False", 0, false)), "it is not accepted yet");
        assert!(!signs(&job(None, "False", 4, false)), "it has no steps");
    }
}
