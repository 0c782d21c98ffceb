//! Which methods there are, and the three ways to call one: JSON-RPC, query string, JSON body.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::envelope::{self, ApiError};
use super::params::Params;
use super::{accounts, blocks, lies, send, transactions};
use crate::network::Network;

type Handler = fn(&Network, &Params) -> Result<Value, ApiError>;

/// The toncenter v2 methods that this endpoint has.
pub const METHODS: [&str; 18] = [
    "getAddressBalance",
    "getAddressInformation",
    "getAddressState",
    "getBlockHeader",
    "getBlockTransactions",
    "getConfigParam",
    "getExtendedAddressInformation",
    "getMasterchainInfo",
    "getTransactions",
    "getWalletInformation",
    "lookupBlock",
    "runGetMethod",
    "sendBoc",
    "sendBocReturnHash",
    "shards",
    "tryLocateResultTx",
    "tryLocateSourceTx",
    "tryLocateTx",
];

fn handler(method: &str) -> Option<Handler> {
    Some(match method {
        "getAddressBalance" => accounts::balance,
        "getAddressInformation" => accounts::information,
        "getAddressState" => accounts::state,
        "getBlockHeader" => blocks::header,
        "getBlockTransactions" => blocks::transactions,
        "getConfigParam" => blocks::config_param,
        "getExtendedAddressInformation" => accounts::extended_information,
        "getMasterchainInfo" => blocks::masterchain_info,
        "getTransactions" => transactions::list,
        "getWalletInformation" => accounts::wallet_information,
        "lookupBlock" => blocks::lookup,
        "runGetMethod" => accounts::run_get_method,
        "sendBoc" => send::send,
        "sendBocReturnHash" => send::send_return_hash,
        "shards" => blocks::shards,
        "tryLocateTx" | "tryLocateResultTx" => transactions::locate_result,
        "tryLocateSourceTx" => transactions::locate_source,
        _ => return None,
    })
}

fn call(network: &Network, method: &str, params: &Params) -> Result<Value, ApiError> {
    let Some(handler) = handler(method) else {
        return Err(ApiError::validation("Unknown method"));
    };
    if network.unavailable() {
        return Err(ApiError::unavailable());
    }
    let mut answer = handler(network, params)?;
    if network.lies() {
        lies::distort(method, &mut answer);
    }
    Ok(answer)
}

/// `POST /api/v2/jsonRPC`
pub(super) async fn json_rpc(
    State(network): State<Arc<Network>>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match body {
        Ok(body) => {
            let (status, body) = answer_json_rpc(&network, &body);
            (status, Json(body)).into_response()
        }
        Err(rejection) => ApiError::new(rejection.status(), rejection.body_text()).into_response(),
    }
}

/// Answers one JSON-RPC request, whatever the bytes are: the HTTP status and the body.
pub fn answer_json_rpc(network: &Network, body: &[u8]) -> (StatusCode, Value) {
    let (id, outcome) = match parse_request(body) {
        Ok(request) => {
            let outcome = call(network, &request.method, &request.params);
            (request.id, outcome)
        }
        Err(error) => (Value::Null, Err(error)),
    };
    let (status, mut answer) = match outcome {
        Ok(result) => (StatusCode::OK, json!({"ok": true, "result": result})),
        Err(error) => (error.status, error.body()),
    };
    answer["id"] = id;
    answer["jsonrpc"] = Value::from("2.0");
    (status, answer)
}

struct Request {
    id: Value,
    method: String,
    params: Params,
}

fn parse_request(body: &[u8]) -> Result<Request, ApiError> {
    let mut object = parse_object(body)?;
    let Some(Value::String(method)) = object.remove("method") else {
        return Err(ApiError::validation(
            "member method of the request must be a string",
        ));
    };
    let params = match object.remove("params") {
        None | Some(Value::Null) => Params::default(),
        Some(Value::Object(params)) => Params::from_object(params),
        Some(_) => {
            return Err(ApiError::validation(
                "member params of the request must be an object",
            ));
        }
    };
    Ok(Request {
        id: object.remove("id").unwrap_or(Value::Null),
        method,
        params,
    })
}

fn parse_object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::validation(format!("the body must be a JSON object: {error}")))
}

/// `GET /api/v2/<method>`
pub(super) async fn get_method(
    State(network): State<Arc<Network>>,
    Path(method): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    respond(call(&network, &method, &Params::from_query(pairs)))
}

/// `POST /api/v2/<method>`
pub(super) async fn post_method(
    State(network): State<Arc<Network>>,
    Path(method): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let outcome = match body {
        Ok(body) => {
            parse_object(&body).and_then(|object| call(&network, &method, &Params::from_object(object)))
        }
        Err(rejection) => Err(ApiError::new(rejection.status(), rejection.body_text())),
    };
    respond(outcome)
}

fn respond(outcome: Result<Value, ApiError>) -> Response {
    match outcome {
        Ok(result) => envelope::success(&result),
        Err(error) => error.into_response(),
    }
}
