//! `sendBoc` and `sendBocReturnHash`.

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, Engine as _};
use serde_json::{Value, json};

use super::envelope::ApiError;
use super::params::Params;
use crate::network::Network;

pub(super) fn send(network: &Network, params: &Params) -> Result<Value, ApiError> {
    network.send(&boc(params)?)?;
    Ok(json!({"@type": "ok", "@extra": extra(network)}))
}

pub(super) fn send_return_hash(network: &Network, params: &Params) -> Result<Value, ApiError> {
    let message = network.send(&boc(params)?)?;
    let hash = BASE64_STANDARD.encode(message.hash());
    let normalized = message
        .normalized_hash()
        .map_or_else(|| hash.clone(), |hash| BASE64_STANDARD.encode(hash));
    Ok(json!({
        "@type": "raw.extMessageInfo",
        "hash": hash,
        "hash_norm": normalized,
        "@extra": extra(network),
    }))
}

/// The bag of cells in parameter `boc`, in either alphabet of base64.
fn boc(params: &Params) -> Result<Vec<u8>, ApiError> {
    let text = params.text("boc")?;
    BASE64_STANDARD
        .decode(text)
        .or_else(|_| BASE64_URL_SAFE.decode(text))
        .map_err(|error| ApiError::validation(format!("parameter boc must be base64: {error}")))
}

/// The member by which the public endpoint tells its answers apart: time, thread, number.
pub(super) fn extra(network: &Network) -> String {
    network.read(|chain| format!("{}:0:{}", chain.head().utime, chain.head().seqno))
}
