//! What may land of a job.

use cocoon_api::{
    NanoTon, Prices,
    receipt::{Receipt, Sha256Digest},
};

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
}

impl Terms {
    /// What was agreed for these requests.
    pub fn new(requests: &Requests, budget: Option<NanoTon>, model: Sha256Digest, prices: Prices) -> Self {
        Self {
            custom_ids: requests.custom_ids.clone(),
            bodies: requests.items.iter().map(|item| item.body.digest()).collect(),
            budget,
            model,
            prices,
        }
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
