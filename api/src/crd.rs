//! The Kubernetes kinds of `cocoon.farm/v1alpha1`.
//!
//! A field of the specification is here only if something acts on it. Rules that an object alone can tell are
//! CEL in the schema; what needs the world is a condition.

#![expect(
    clippy::duplicated_attributes,
    reason = "each print column of a kind repeats the names of its parts"
)]

pub mod agreement;
pub mod channel;
pub mod job;
pub mod output;
pub mod provider;
pub mod reference;
pub mod settlement;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use serde_json::Value;

pub use agreement::{AgreedTerms, Agreement, MaxPrices, PriceExcess};
pub use channel::{PaymentChannel, PaymentChannelSpec, PaymentChannelStatus};
pub use job::{InferenceJob, InferenceJobSpec, InferenceJobStatus};
pub use provider::{CocoonProvider, CocoonProviderSpec, CocoonProviderStatus};
pub use reference::{FullName, KeyReference, LocalReference, ProviderReference};
pub use settlement::{Settlement, SettlementSpec, SettlementStatus};

/// The four definitions as they are installed, ordered by name.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    [
        CocoonProvider::crd(),
        InferenceJob::crd(),
        PaymentChannel::crd(),
        Settlement::crd(),
    ]
    .map(with_signed_formats)
    .into()
}

/// Kubernetes knows only the signed integer formats; unsigned ones become signed with a minimum of zero.
fn with_signed_formats(definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let mut value = serde_json::to_value(definition).expect("a definition is JSON");
    rewrite_formats(&mut value);
    serde_json::from_value(value).expect("a rewritten definition is still one")
}

fn rewrite_formats(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let signed = match fields.get("format").and_then(Value::as_str) {
                Some("uint8" | "uint16" | "uint32") => Some("int32"),
                Some("uint64" | "uint") => Some("int64"),
                _ => None,
            };
            if let Some(signed) = signed {
                fields.insert("format".into(), signed.into());
                fields.entry("minimum").or_insert_with(|| 0.0.into());
            }
            fields.values_mut().for_each(rewrite_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(rewrite_formats),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
