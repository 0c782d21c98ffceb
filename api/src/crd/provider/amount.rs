//! Amounts as people write them.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Deserializer};

/// What `x-kubernetes-int-or-string` lets through.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(i64),
    Text(String),
}

/// Reads `2` as it reads `"2"`: the API server takes both and keeps either, and an object that cannot be read keeps the
/// operator from all others of its kind.
pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Quantity>, D::Error> {
    let text = |written| match written {
        Written::Number(number) => number.to_string(),
        Written::Text(text) => text,
    };
    Ok(Option::<Written>::deserialize(deserializer)?.map(|written| Quantity(text(written))))
}
