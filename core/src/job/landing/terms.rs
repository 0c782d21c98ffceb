//! What may land of a job.

use cocoon_api::{
    NanoTon, Prices,
    receipt::{AgentKey, Receipt, Sha256Digest},
};

use super::room::{LIMITS, Limits};
use crate::job::input::Requests;

/// What may land of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The name that the user gave each request, by index.
    pub custom_ids: Vec<String>,
    /// SHA-256 of each request's body, by index.
    pub bodies: Vec<Sha256Digest>,
    /// The most that all results together may cost; none for a free job.
    pub budget: Option<NanoTon>,
    /// The model that was agreed.
    pub model: Sha256Digest,
    /// The prices that were agreed.
    pub prices: Prices,
    /// The agent whose key the provider's wallet signed for. Nobody else's receipts are paid for; free ones need no
    /// wallet.
    pub certified: Option<AgentKey>,
    /// How much may be kept.
    pub limits: Limits,
}

impl Terms {
    /// What was agreed for these requests.
    pub fn new(
        requests: &Requests,
        budget: Option<NanoTon>,
        (model, prices): (Sha256Digest, Prices),
        certified: Option<AgentKey>,
    ) -> Self {
        Self {
            certified,
            limits: LIMITS,
            custom_ids: requests.custom_ids.clone(),
            bodies: requests.items.iter().map(|item| item.body.digest()).collect(),
            budget,
            model,
            prices,
        }
    }

    /// Whether somebody who is paid answers for the agent of a receipt.
    pub(super) fn is_certified(&self, receipt: &Receipt) -> bool {
        receipt.chain.channel.is_none() || self.certified == Some(receipt.chain.agent)
    }

    /// What of a receipt is not as it was agreed.
    pub(super) fn disagreement(&self, receipt: &Receipt) -> Option<&'static str> {
        let body = usize::try_from(receipt.request)
            .ok()
            .and_then(|index| self.bodies.get(index));
        if receipt.model != self.model {
            Some("model")
        } else if receipt.prices != self.prices {
            Some("price")
        } else if body != Some(&receipt.request_sha256) {
            Some("request body")
        } else {
            None
        }
    }

    pub(super) fn name(&self, index: u32) -> Option<&str> {
        let index = usize::try_from(index).ok()?;
        self.custom_ids.get(index).map(String::as_str)
    }
}
