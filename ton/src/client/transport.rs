//! JSON-RPC over HTTP: timeouts, limits and retries.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url, redirect};
use serde_json::{Value, json};

use super::{ApiKey, ClientError};
use crate::Network;

/// Time to open a connection. An endpoint on the other side of the world takes well under a second.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for one request with its answer. Public endpoints give up on their lite-server after 10 s.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(12);

/// Attempts of one call. Two more than one bridge a dropped connection and a lite-server that has not caught up with
/// a block; whatever lasts longer is for the caller, who asks again with its next round.
pub const ATTEMPTS: u32 = 3;

/// Wait before the second attempt, doubled before the third: together about two blocks.
const BACKOFF: Duration = Duration::from_millis(300);

/// Wait after *too many requests*. Public endpoints allow one request a second without a key.
const RATE_LIMIT_BACKOFF: Duration = Duration::from_millis(1_100);

/// Largest answer that is read. A page of 32 wallet transactions with 255 redeems each takes 10 MB.
pub const MAX_RESPONSE_BYTES: usize = 12 * 1024 * 1024;

/// Longest reason kept of a refusal, in characters.
const MAX_REASON_CHARS: usize = 300;

/// Connections to one endpoint.
#[derive(Clone)]
pub(super) struct Transport {
    http: reqwest::Client,
    rpc: Url,
    endpoint: Arc<str>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Transport")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// One attempt did not bring a result.
enum Failure {
    /// Worth another attempt.
    Transient(String),
    /// Worth another attempt after a longer wait.
    RateLimited,
    /// Final.
    Error(ClientError),
}

impl Transport {
    pub(super) fn new(network: &Network, url: &str, api_key: Option<&ApiKey>) -> Result<Self, ClientError> {
        let invalid = |reason: String| ClientError::InvalidEndpoint { reason };
        let rpc = rpc_url(url).map_err(invalid)?;
        let is_open = network.global_id() == Network::TESTBED.global_id() && api_key.is_none();
        if rpc.scheme() != "https" && !is_loopback(&rpc) && !is_open {
            return Err(invalid(format!(
                "{} is asked by plain http, which is for loopback addresses: use https",
                name(&rpc)
            )));
        }
        let mut headers = HeaderMap::new();
        if let Some(key) = api_key {
            headers.insert("x-api-key", key.header()?);
        }
        let mut builder = reqwest::Client::builder()
            .use_preconfigured_tls(tls()?)
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("cocoon/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&rpc) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| invalid(chain(&error)))?;
        Ok(Self {
            http,
            endpoint: name(&rpc).into(),
            rpc,
        })
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether both ask at the same address, however it was written.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.rpc == other.rpc
    }

    /// Calls one method and returns its `result`.
    pub(super) async fn call(&self, method: &'static str, params: &Value) -> Result<Value, ClientError> {
        let request = json!({ "jsonrpc": "2.0", "id": "1", "method": method, "params": params });
        let mut wait = BACKOFF;
        let mut attempt = 1;
        loop {
            let (error, pause) = match self.attempt(method, &request).await {
                Ok(result) => return Ok(result),
                Err(Failure::Error(error)) => return Err(error),
                Err(Failure::RateLimited) => (self.rate_limited(method, attempt), RATE_LIMIT_BACKOFF),
                Err(Failure::Transient(reason)) => (self.unavailable(method, attempt, reason), wait),
            };
            if attempt == ATTEMPTS {
                return Err(error);
            }
            tracing::debug!(attempt, %error, "chain endpoint gave no answer, asking again");
            tokio::time::sleep(pause).await;
            wait *= 2;
            attempt += 1;
        }
    }

    fn rate_limited(&self, method: &'static str, attempts: u32) -> ClientError {
        ClientError::RateLimited {
            method,
            endpoint: self.endpoint.to_string(),
            attempts,
        }
    }

    fn unavailable(&self, method: &'static str, attempts: u32, reason: String) -> ClientError {
        ClientError::EndpointUnavailable {
            method,
            endpoint: self.endpoint.to_string(),
            attempts,
            reason,
        }
    }

    async fn attempt(&self, method: &'static str, request: &Value) -> Result<Value, Failure> {
        let transient = |error: reqwest::Error| Failure::Transient(chain(&error.without_url()));
        let response = self
            .http
            .post(self.rpc.clone())
            .json(request)
            .send()
            .await
            .map_err(transient)?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Failure::RateLimited);
        }
        let body = read_limited(response, method).await?;
        let answer = serde_json::from_slice(&body);
        interpret(method, status, answer.ok())
    }
}

/// Decides what an answer means. The endpoint reports its own trouble and refusals alike as `ok: false`; a message
/// that the contract does not accept comes with status 500.
fn interpret(method: &'static str, status: StatusCode, answer: Option<Value>) -> Result<Value, Failure> {
    let Some(Value::Object(mut answer)) = answer else {
        if status.is_success() {
            return Err(Failure::Error(ClientError::BadResponse {
                method,
                what: "JSON object",
            }));
        }
        return Err(Failure::Transient(format!("HTTP status {status}")));
    };
    if status.is_success() && answer.get("ok").and_then(Value::as_bool) == Some(true) {
        let missing = ClientError::BadResponse {
            method,
            what: "result",
        };
        return answer.remove("result").ok_or(Failure::Error(missing));
    }
    let code = answer
        .get("code")
        .and_then(Value::as_u64)
        .unwrap_or(u64::from(status.as_u16()));
    let reason = match answer.get("error").or_else(|| answer.get("result")) {
        Some(Value::String(text)) => text
            .chars()
            .filter(|c| !c.is_control())
            .take(MAX_REASON_CHARS)
            .collect(),
        _ => format!("HTTP status {status}, code {code}"),
    };
    let rejected = Failure::Error(ClientError::Rejected {
        method,
        reason: reason.clone(),
    });
    match code {
        429 => Err(Failure::RateLimited),
        400..=499 => Err(rejected),
        // The lite-server's word for a message that it parsed or ran and did not like; its own troubles have other
        // names (`LITE_SERVER_NOTREADY`, `LITE_SERVER_NETWORK`).
        _ if method == "sendBoc" && reason.contains("LITE_SERVER_UNKNOWN") => Err(rejected),
        _ => Err(Failure::Transient(reason)),
    }
}

async fn read_limited(mut response: reqwest::Response, method: &'static str) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_RESPONSE_BYTES => {
                let what = "answer of bearable size";
                return Err(Failure::Error(ClientError::BadResponse { method, what }));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(Failure::Transient(chain(&error.without_url()))),
        }
    }
}

/// `<base>/jsonRPC`, where the base may already end so.
fn rpc_url(endpoint: &str) -> Result<Url, String> {
    const RPC: &str = "jsonRPC";
    let mut url = Url::parse(endpoint.trim()).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("the scheme must be http or https, not {}", url.scheme()));
    }
    let secrets = !url.username().is_empty() || url.password().is_some() || url.query().is_some();
    if secrets || url.fragment().is_some() {
        return Err("it must hold no user, query or fragment; give an API key apart".to_owned());
    }
    let base = url.path().trim_end_matches('/');
    let base = base.strip_suffix(RPC).unwrap_or(base).trim_end_matches('/');
    let path = format!("{base}/{RPC}");
    url.set_path(&path);
    Ok(url)
}

/// The host, with the port where the scheme has another one.
fn name(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

/// TLS with the ring provider and Mozilla's roots, whatever the process has installed as default.
fn tls() -> Result<rustls::ClientConfig, ClientError> {
    let roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::InvalidEndpoint {
            reason: error.to_string(),
        })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.to_string();
        if !text.contains(&inner) {
            text.push_str(": ");
            text.push_str(&inner);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
