//! What payer and provider agreed on when an agent took a job, and what the payer allows beforehand.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::units::{NanoTon, Prices, TokenPrice};

/// What a job's work is done and billed by: written once, with the job's first attempt, and immutable from then on.
/// Until an agent takes the job, the provider may still mend its offer, and the payer's limits are compared with what
/// is offered then. A receipt that says anything else than what was agreed is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Agreement {
    /// The provider: its name, or `namespace/name` where it is of another namespace.
    #[schemars(length(max = 317))]
    pub provider: String,
    /// SHA-256 of the model's file, as the provider offered it. The file holds the tokenizer and the chat template, so
    /// that the digest covers these as well.
    #[serde(rename = "modelSHA256")]
    #[schemars(length(max = 64))]
    pub model_sha256: String,
    /// What the provider asked.
    pub prices: Prices,
    /// How the work is paid and proven.
    pub terms: AgreedTerms,
}

/// How the work of a job is paid and proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgreedTerms {
    /// Address of the contract that pays; absent for a job that is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub contract_address: Option<String>,
    /// Version of the receipts.
    pub receipt_version: u32,
}

/// The most that a payer pays: a provider that asks more in any class does not get the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.prompt) || has(self.cachedPrompt) || has(self.completion) || has(self.reasoning) || has(self.minimumNano)").message("maxPrices without a price allows everything: leave it out, or name a class"))]
pub struct MaxPrices {
    /// NanoTON per million computed prompt tokens; absent: any price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<TokenPrice>,
    /// NanoTON per million prompt tokens served from the prefix cache; absent: any price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_prompt: Option<TokenPrice>,
    /// NanoTON per million completion tokens; absent: any price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<TokenPrice>,
    /// NanoTON per million reasoning tokens; absent: any price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<TokenPrice>,
    /// The least that one request costs, in nanoTON; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_nano: Option<NanoTon>,
}

/// A price above what the payer allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceExcess {
    /// The field of `billing.maxPrices`.
    pub class: &'static str,
    /// What the provider asks, in nanoTON.
    pub asked: u64,
    /// What the payer allows, in nanoTON.
    pub allowed: u64,
}

impl MaxPrices {
    /// The first class in which the prices exceed what is allowed.
    pub fn exceeded_by(&self, prices: &Prices) -> Option<PriceExcess> {
        let per_million = |allowed: Option<TokenPrice>| allowed.map(TokenPrice::nano_per_million);
        let classes = [
            (
                "prompt",
                prices.prompt.nano_per_million(),
                per_million(self.prompt),
            ),
            (
                "cachedPrompt",
                prices.cached_prompt.nano_per_million(),
                per_million(self.cached_prompt),
            ),
            (
                "completion",
                prices.completion.nano_per_million(),
                per_million(self.completion),
            ),
            (
                "reasoning",
                prices.reasoning.nano_per_million(),
                per_million(self.reasoning),
            ),
            (
                "minimumNano",
                prices.minimum_nano.nano(),
                self.minimum_nano.map(NanoTon::nano),
            ),
        ];
        classes.into_iter().find_map(|(class, asked, allowed)| {
            let allowed = allowed.filter(|allowed| asked > *allowed)?;
            Some(PriceExcess {
                class,
                asked,
                allowed,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(nano: u64) -> TokenPrice {
        TokenPrice::from_nano_per_million(nano).unwrap()
    }

    #[test]
    fn a_price_above_what_is_allowed_is_named_and_the_others_are_free() {
        let asked = Prices {
            prompt: price(5),
            completion: price(7),
            minimum_nano: NanoTon::from_nano(3).unwrap(),
            ..Prices::default()
        };
        assert_eq!(MaxPrices::default().exceeded_by(&asked), None);
        let allowed = MaxPrices {
            prompt: Some(price(5)),
            completion: Some(price(6)),
            ..MaxPrices::default()
        };
        let excess = allowed.exceeded_by(&asked).unwrap();
        assert_eq!((excess.class, excess.asked, excess.allowed), ("completion", 7, 6));
        let least = MaxPrices {
            minimum_nano: Some(NanoTon::from_nano(2).unwrap()),
            ..MaxPrices::default()
        };
        assert_eq!(least.exceeded_by(&asked).unwrap().class, "minimumNano");
    }
}
