//! What payer and provider agree on: the provider's offer as it is when an agent takes the job, if the payer allows it.

use cocoon_api::{
    conditions::{Accepted, Observation, Reason as _},
    crd::{AgreedTerms, Agreement, PriceExcess},
    receipt::RECEIPT_VERSION,
};

use super::{Offer, World};
use crate::job::validate::Billing;

/// What was agreed, or what the offer makes it now.
pub(super) fn agree(world: &World<'_>, offer: &Offer) -> Result<Agreement, Observation> {
    if let Some(agreed) = &world.status.agreed {
        return Ok(agreed.clone());
    }
    if let Billing::Channel { max_prices, .. } = &world.job.billing
        && let Some(PriceExcess {
            class,
            asked,
            allowed,
        }) = max_prices.and_then(|allowed| allowed.exceeded_by(&offer.prices))
    {
        return Err(Accepted::PriceTooHigh.condition(format!(
            "provider {} asks {asked} nanoTON for {class}, billing.maxPrices allows {allowed}: ask another provider, or make \
             a job that allows it",
            offer.provider
        )));
    }
    Ok(Agreement {
        provider: offer.provider.clone(),
        model_sha256: offer.model_sha256.clone().unwrap_or_default(),
        prices: offer.prices,
        terms: AgreedTerms {
            contract_address: world.channel.map(|channel| channel.address.clone()),
            receipt_version: RECEIPT_VERSION,
        },
    })
}
