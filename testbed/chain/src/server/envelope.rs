//! The envelope of toncenter v2: `{"ok":true,"result":…}` or `{"ok":false,"error":…,"code":…}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::chain::{ExternalError, GetterCallError, GetterError, StateError};
use crate::network::{FaucetError, NetworkError, SendError};

/// An error as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// A parameter is missing or malformed.
    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    /// What a lite-server refused.
    pub(super) fn lite_server(message: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("LITE_SERVER_UNKNOWN: {message}"),
        )
    }

    pub(super) fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "service unavailable")
    }

    /// The body of the answer; JSON-RPC answers add their own members.
    pub(super) fn body(&self) -> Value {
        json!({"ok": false, "error": self.message, "code": self.status.as_u16()})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body())).into_response()
    }
}

impl From<StateError> for ApiError {
    fn from(error: StateError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "state cannot be read");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl From<NetworkError> for ApiError {
    fn from(error: NetworkError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "block cannot be made");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl From<GetterCallError> for ApiError {
    fn from(error: GetterCallError) -> Self {
        match error {
            GetterCallError::State(error) => error.into(),
            GetterCallError::Getter(error @ GetterError::Argument { .. }) => {
                Self::validation(error.to_string())
            }
            GetterCallError::Getter(error @ GetterError::Setup { .. }) => Self::lite_server(error),
        }
    }
}

impl From<SendError> for ApiError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::ReplyLost => Self::new(StatusCode::GATEWAY_TIMEOUT, "Liteserver timeout"),
            SendError::External(error) => error.into(),
        }
    }
}

impl From<ExternalError> for ApiError {
    fn from(error: ExternalError) -> Self {
        const REJECTED: &str = "cannot apply external message to current state : External message was not accepted\n\
             Cannot run message on account: inbound external message rejected by account";
        match error {
            ExternalError::NotAccepted { address, exit_code } => Self::lite_server(format_args!(
                "{REJECTED} {address}:\nexitcode={exit_code}, gas_used=0"
            )),
            ExternalError::NotRun { address } => Self::lite_server(format_args!(
                "{REJECTED} {address} before smart-contract execution"
            )),
            other => Self::lite_server(format_args!(
                "cannot apply external message to current state : {other}"
            )),
        }
    }
}

impl From<FaucetError> for ApiError {
    fn from(error: FaucetError) -> Self {
        match error {
            FaucetError::Amount { .. } => Self::validation(error.to_string()),
            FaucetError::External(error) => error.into(),
            FaucetError::State(error) => error.into(),
        }
    }
}

/// An answer without error.
pub(super) fn success(result: &Value) -> Response {
    Json(json!({"ok": true, "result": result})).into_response()
}
