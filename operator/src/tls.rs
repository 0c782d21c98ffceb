//! Mutual TLS between operator and agents: one authority for all agents of a cluster, short-lived certificates.
//!
//! The authority lives in a Secret of the operator's namespace; agents hold a certificate for the name of their
//! provider and the authorities' certificates, never a key of an authority. The operator's own certificate exists
//! in memory only. An agent's certificate cannot dial another agent: it is for serving alone.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use cocoon_api::names;
use k8s_openapi::{
    api::core::v1::Secret,
    jiff::{SignedDuration, Timestamp},
};
use kube::{Api, Client, api::PostParams};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::sync::Mutex;

pub mod authority;
pub mod secret;
pub mod validity;

use authority::{Authorities, Pair, Role, TlsError};

use crate::error::{Error, KubeContext as _, Result};

/// Name of the Secret that holds the authorities, in the operator's namespace.
pub const AUTHORITY_SECRET: &str = "cocoon-agent-ca";
/// Name in the operator's certificate.
const OPERATOR_NAME: &str = "operator.cocoon.internal";
/// The Secret is read again after this time, so that what another process rotated is known long before it signs.
const CHECK_INTERVAL: SignedDuration = SignedDuration::from_hours(1);
/// Writers that may overtake a change of the authorities: only another operator writes them, and at most two run
/// while leadership changes.
const MAX_ATTEMPTS: u32 = 5;
/// Seconds for a connection to an agent, whose pod is on the cluster's own network.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Agents whose connections are kept at most: more than one operator has work for at a time, 256 attempts. Beyond it all are
/// dialled anew.
const MAX_CLIENTS: usize = 1024;
/// How long a connection without a question is kept: between the jobs of a busy agent less passes.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// A client of one agent.
struct Dialed {
    /// The identity that it presents; another one is dialled with anew.
    config: Arc<ClientConfig>,
    http: reqwest::Client,
}

/// The authorities and the operator's identity toward agents.
pub struct AgentTls {
    client: Client,
    namespace: String,
    loaded: RwLock<Loaded>,
    /// Held while the Secret is read or written, so that one of many callers does it.
    loading: Mutex<()>,
    /// By the name and address of the agent.
    clients: std::sync::Mutex<HashMap<(String, IpAddr), Dialed>>,
}

#[derive(Clone)]
struct Loaded {
    authorities: Arc<Authorities>,
    config: Arc<ClientConfig>,
    check_at: Timestamp,
}

impl AgentTls {
    /// Reads the authorities from the operator's namespace, or makes them.
    pub async fn load(client: Client, namespace: &str) -> Result<Arc<Self>> {
        let now = Timestamp::now();
        let loaded = identity(authorities(&client, namespace, now).await?, now)?;
        let (namespace, loaded) = (namespace.to_owned(), RwLock::new(loaded));
        Ok(Arc::new(Self {
            client,
            namespace,
            loaded,
            loading: Mutex::new(()),
            clients: std::sync::Mutex::default(),
        }))
    }

    /// Reads the authorities where that is due, makes or rotates them, and renews the operator's certificate.
    pub async fn refresh(&self, now: Timestamp) -> Result<()> {
        self.current(now).await.map(drop)
    }

    /// An HTTP client for the agent of this provider at this address, and its base, `https://name:port`.
    ///
    /// It presents the operator's certificate and takes only the certificate of the agent's provider. All who ask for the same
    /// agent share its connections: a handshake costs both sides more than most questions do.
    pub fn client(
        &self,
        provider: &str,
        namespace: &str,
        address: IpAddr,
    ) -> Result<(reqwest::Client, String)> {
        let name = names::agent_server_name(provider, namespace);
        let base = format!("https://{name}:{}", names::AGENT_PORT);
        let config = self.loaded().config;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let agent = (name.clone(), address);
        if let Some(known) = clients
            .get(&agent)
            .filter(|known| Arc::ptr_eq(&known.config, &config))
        {
            return Ok((known.http.clone(), base));
        }
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        let http = reqwest::Client::builder()
            .use_preconfigured_tls(ClientConfig::clone(&config))
            .resolve(&name, SocketAddr::new(address, names::AGENT_PORT))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_LIMIT)
            .http1_only()
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| tls_error("dial with", &name, error.into()))?;
        let known = Dialed {
            config,
            http: http.clone(),
        };
        clients.insert(agent, known);
        Ok((http, base))
    }

    /// The data of a provider's TLS Secret: what is stored, while it serves, else a new certificate.
    pub async fn agent_data(
        &self,
        stored: Option<&secret::Data>,
        provider: &str,
        namespace: &str,
        now: Timestamp,
    ) -> Result<secret::Data> {
        let authorities = self.current(now).await?.authorities;
        let name = names::agent_server_name(provider, namespace);
        agent_data(&authorities, stored, &name, now).map_err(|error| tls_error("issue", &name, error))
    }

    fn loaded(&self) -> Loaded {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn current(&self, now: Timestamp) -> Result<Loaded> {
        let _loading = self.loading.lock().await;
        let current = self.loaded();
        if now < current.check_at {
            return Ok(current);
        }
        let fresh = identity(authorities(&self.client, &self.namespace, now).await?, now)?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = fresh.clone();
        Ok(fresh)
    }
}

/// Reads the authorities, and makes or rotates them where it is time. Another process may do the same: the one that
/// writes second reads again.
async fn authorities(client: &Client, namespace: &str, now: Timestamp) -> Result<Authorities> {
    let object = format!("Secret {AUTHORITY_SECRET}.{namespace}");
    let broken = |action, error| tls_error(action, &object, error);
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let params = PostParams {
        field_manager: Some(names::FIELD_MANAGER.into()),
        ..PostParams::default()
    };
    for _ in 0..MAX_ATTEMPTS {
        let found = api.get_opt(AUTHORITY_SECRET).await.attempt("read", &object)?;
        let stored = match found.as_ref().and_then(|secret| secret.data.as_ref()) {
            Some(data) => secret::read_authorities(data).map_err(|error| broken("read", error))?,
            None => Vec::new(),
        };
        let (authorities, changed) =
            Authorities::rotated(stored, now).map_err(|error| broken("rotate", error))?;
        if !changed {
            return Ok(authorities);
        }
        let written = if let Some(mut secret) = found {
            secret.data = Some(secret::write_authorities(&authorities));
            api.replace(AUTHORITY_SECRET, &params, &secret).await
        } else {
            api.create(&params, &authority_secret(namespace, &authorities))
                .await
        };
        match written {
            Ok(_) => return Ok(authorities),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error).attempt("write", &object),
        }
    }
    Err(Error::Contended {
        object,
        attempts: MAX_ATTEMPTS,
    })
}

fn authority_secret(namespace: &str, authorities: &Authorities) -> Secret {
    let mut secret = Secret {
        data: Some(secret::write_authorities(authorities)),
        ..Secret::default()
    };
    secret.metadata.name = Some(AUTHORITY_SECRET.into());
    secret.metadata.namespace = Some(namespace.to_owned());
    let label = (
        names::MANAGED_BY_LABEL.to_owned(),
        names::FIELD_MANAGER.to_owned(),
    );
    secret.metadata.labels = Some([label].into());
    secret
}

/// What is stored, while it serves, else a new certificate; with the authorities of today in either case.
fn agent_data(
    authorities: &Authorities,
    stored: Option<&secret::Data>,
    name: &str,
    now: Timestamp,
) -> Result<secret::Data, TlsError> {
    let pair = match stored
        .and_then(secret::read_pair)
        .filter(|pair| authorities.accepts(pair, name, now))
    {
        Some(pair) => pair,
        None => authorities.issue(Role::Agent, name, now)?,
    };
    Ok(secret::write_pair(&pair, authorities.bundle()))
}

/// The operator's own certificate, and the client that presents it.
fn identity(authorities: Authorities, now: Timestamp) -> Result<Loaded> {
    let config = authorities
        .issue(Role::Operator, OPERATOR_NAME, now)
        .and_then(|pair| client_config(&authorities.bundle(), &pair))
        .map_err(|error| tls_error("use", AUTHORITY_SECRET, error))?;
    let check_at = now.saturating_add(CHECK_INTERVAL).unwrap_or(Timestamp::MAX);
    Ok(Loaded {
        authorities: Arc::new(authorities),
        config: Arc::new(config),
        check_at,
    })
}

fn client_config(bundle: &str, pair: &Pair) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.map_err(|_| TlsError::Malformed(secret::BUNDLE))?)?;
    }
    let chain = vec![
        CertificateDer::from_pem_slice(pair.certificate.as_bytes())
            .map_err(|_| TlsError::Malformed(secret::CERTIFICATE))?,
    ];
    let key =
        PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(|_| TlsError::Malformed(secret::KEY))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    Ok(config)
}

fn tls_error(action: &'static str, object: &str, error: TlsError) -> Error {
    Error::Tls {
        action,
        object: object.to_string(),
        source: Box::new(error),
    }
}

#[cfg(test)]
mod tests;
