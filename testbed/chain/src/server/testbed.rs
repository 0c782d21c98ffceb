//! What only a testbed has: the faucet, and the switches under `/testbed`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::envelope::{self, ApiError};
use super::params::parse_address;
use crate::faults::FaultChange;
use crate::network::{LONGEST_ADVANCE, Network};

/// How long the faucet waits for its payment to arrive before it answers that it has not.
///
/// Two blocks at 0.4 s, ten times over for a loaded machine.
const FAUCET_WAIT: Duration = Duration::from_secs(8);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaucetRequest {
    address: String,
    nano: Nano,
}

/// An amount in nanoTON, as a number or as decimal text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Nano {
    Number(u64),
    Text(String),
}

/// `POST /faucet {"address": …, "nano": …}`: pays, and answers when the payment has arrived.
pub(super) async fn faucet(State(network): State<Arc<Network>>, body: Bytes) -> Result<Response, ApiError> {
    let request: FaucetRequest = parse(&body)?;
    let address = parse_address(&request.address)
        .ok_or_else(|| ApiError::validation("address is not a TON address"))?;
    let nano = match request.nano {
        Nano::Number(nano) => u128::from(nano),
        Nano::Text(text) => text
            .parse()
            .map_err(|_| ApiError::validation("nano must be a whole number of nanoTON"))?,
    };
    let mut blocks = network.blocks();
    let message = network.faucet(&address, nano)?;
    let delivered = tokio::time::timeout(FAUCET_WAIT, async {
        while !network.faucet_paid(&message)? {
            if blocks.changed().await.is_err() {
                return Ok(false);
            }
        }
        Ok::<_, ApiError>(true)
    });
    let delivered = delivered.await.unwrap_or(Ok(false))?;
    Ok(envelope::success(&json!({
        "address": address.to_string(),
        "nano": nano.to_string(),
        "message": BASE64_STANDARD.encode(message),
        "delivered": delivered,
    })))
}

/// `GET /testbed/status`
pub(super) async fn status(State(network): State<Arc<Network>>) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({"ok": true, "result": network.status()?})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlocksRequest {
    paused: bool,
}

/// `POST /testbed/blocks {"paused": …}`: messages are let in, blocks are not made.
pub(super) async fn blocks(State(network): State<Arc<Network>>, body: Bytes) -> Result<Response, ApiError> {
    let request: BlocksRequest = parse(&body)?;
    network.pause(request.paused);
    Ok(envelope::success(&json!({"paused": request.paused})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdvanceRequest {
    seconds: u32,
}

/// `POST /testbed/advance {"seconds": …}`: moves chain time forward.
pub(super) async fn advance(State(network): State<Arc<Network>>, body: Bytes) -> Result<Response, ApiError> {
    let request: AdvanceRequest = parse(&body)?;
    if request.seconds > LONGEST_ADVANCE {
        return Err(ApiError::validation(format!(
            "seconds must be at most {LONGEST_ADVANCE}"
        )));
    }
    network.advance(request.seconds)?;
    let utime = network.read_current(|chain| chain.head().utime);
    Ok(envelope::success(&json!({"utime": utime})))
}

/// `GET /testbed/faults`
pub(super) async fn faults(State(network): State<Arc<Network>>) -> Response {
    envelope::success(&json!(network.change_faults(FaultChange::default())))
}

/// `POST /testbed/faults {"dropSends": …, …}`: changes those that it names.
pub(super) async fn change_faults(
    State(network): State<Arc<Network>>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let change: FaultChange = parse(&body)?;
    Ok(envelope::success(&json!(network.change_faults(change))))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::validation(format!("the body is not as expected: {error}")))
}
