//! Where a model is downloaded from, and how long that may take.

use std::{sync::Arc, time::Duration};

use cocoon_api::agent::FetchFault;
use reqwest::{Client, Url, header::HeaderMap, redirect};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest as _, Sha256};

use super::FetchError;

/// How long servers are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection. A server on the other side of the world takes well under a second, with TLS.
    pub connect: Duration,
    /// For an answer, and for [`Patience::least_bytes`] of its body at any time.
    pub quiet: Duration,
    /// Bytes that must come within [`Patience::quiet`]: slower than a kilobyte a second a gigabyte takes eleven days.
    pub least_bytes: u64,
    /// Failures in a row that are waited out; a megabyte that comes between two makes the next one the first. Six with
    /// doubled waits bridge a minute: a server that is started anew.
    pub attempts: u32,
    /// Wait after the first failure, doubled with each one that follows.
    pub backoff: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            quiet: Duration::from_mins(1),
            least_bytes: 60 * 1024,
            attempts: 6,
            backoff: Duration::from_secs(1),
        }
    }
}

/// Where a model is downloaded from.
#[derive(Debug, Clone)]
pub struct Source {
    pub(super) client: Client,
    pub(super) url: Url,
    /// Of a Secret: sent to the host of `url` alone.
    pub(super) headers: HeaderMap,
}

impl Source {
    /// An address, and headers for its server.
    ///
    /// # Errors
    /// The address is none of http or https, or holds a user or a password.
    pub fn new(url: &str, headers: HeaderMap, patience: &Patience) -> Result<Self, FetchError> {
        let invalid = |words: &str| FetchError::new(FetchFault::Malformed, words);
        let url: Url = url.parse().map_err(|_| invalid("the address is no URL"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(invalid(
                "the address must begin with http:// or https:// and name a host",
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid(
                "the address holds a user or a password: put them into a header, whose Secret the offer names",
            ));
        }
        let client = Client::builder()
            .use_preconfigured_tls(tls()?)
            .connect_timeout(patience.connect)
            .redirect(redirect::Policy::none())
            .http1_only()
            .no_proxy()
            .user_agent(concat!("cocoon/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| FetchError::of_client("", error))?;
        Ok(Self { client, url, headers })
    }

    /// The host, with the port where the scheme has another one: all of an address that is told.
    pub fn host(&self) -> String {
        host(&self.url)
    }

    /// SHA-256 of the address.
    pub(super) fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.url.as_str()))
    }
}

pub(super) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// TLS with Mozilla's roots.
fn tls() -> Result<ClientConfig, FetchError> {
    let roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| FetchError::new(FetchFault::TlsRefused, error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
