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

/// Kubernetes knows only the signed integer formats, and checks none of them: it takes any `int64`. What a field's type
/// does not hold is kept out by its bounds, since one object that cannot be read keeps the operator from all others of
/// its kind.
fn with_signed_formats(definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let mut value = serde_json::to_value(definition).expect("a definition is JSON");
    rewrite_formats(&mut value);
    serde_json::from_value(value).expect("a rewritten definition is still one")
}

/// The signed format for a type of integers, and the type's least and largest numbers where `int64` has others.
fn signed_format(format: &str) -> Option<(&'static str, i64, Option<i64>)> {
    match format {
        "int32" => Some(("int32", i32::MIN.into(), Some(i32::MAX.into()))),
        "uint8" => Some(("int32", 0, Some(u8::MAX.into()))),
        "uint16" => Some(("int32", 0, Some(u16::MAX.into()))),
        "uint32" => Some(("int64", 0, Some(u32::MAX.into()))),
        "uint64" | "uint" => Some(("int64", 0, None)),
        _ => None,
    }
}

fn rewrite_formats(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let format = fields.get("format").and_then(Value::as_str);
            if let Some((signed, least, most)) = format.and_then(signed_format) {
                fields.insert("format".into(), signed.into());
                fields.entry("minimum").or_insert_with(|| least.into());
                if let Some(most) = most {
                    fields.entry("maximum").or_insert_with(|| most.into());
                }
            }
            fields.values_mut().for_each(rewrite_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(rewrite_formats),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
