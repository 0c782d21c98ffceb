//! The operator's certificate toward agents: an authority of its own signs it, and agents let in whom that authority
//! signed for.
//!
//! The authority lives in a Secret of the operator's namespace; agents are given its certificate, never its key. The
//! operator's own certificate exists in memory only. Agents make certificates themselves: `agents` tells how they are
//! recognised.

use std::sync::{Arc, PoisonError, RwLock};

use cocoon_api::names;
use k8s_openapi::{
    api::core::v1::Secret,
    jiff::{SignedDuration, Timestamp},
};
use kube::{Api, Client, api::PostParams};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::sync::Mutex;

pub mod authority;
mod certificate;
pub mod secret;
pub mod validity;

use authority::{Authorities, TlsError};
use certificate::Shown;

pub use certificate::valid_until;

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
/// The authorities and the operator's identity toward agents.
pub struct AgentTls {
    client: Client,
    namespace: String,
    loaded: RwLock<Loaded>,
    /// Held while the Secret is read or written, so that one of many callers does it.
    loading: Mutex<()>,
}

/// What the operator shows an agent.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

#[derive(Clone)]
struct Loaded {
    authorities: Arc<Authorities>,
    identity: Arc<Identity>,
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
        }))
    }

    /// Reads the authorities where that is due, makes or rotates them, and renews the operator's certificate.
    pub async fn refresh(&self, now: Timestamp) -> Result<()> {
        self.current(now).await.map(drop)
    }

    /// What the operator shows agents now; another one after its renewal.
    pub fn identity(&self) -> Arc<Identity> {
        self.loaded().identity
    }

    /// Certificates of the authorities that agents are to trust, in PEM.
    pub fn bundle(&self) -> String {
        self.loaded().authorities.bundle()
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

/// The operator's own certificate.
fn identity(authorities: Authorities, now: Timestamp) -> Result<Loaded> {
    let identity = authorities
        .issue(OPERATOR_NAME, now)
        .and_then(|pair| Identity::read(&pair))
        .map_err(|error| tls_error("use", AUTHORITY_SECRET, error))?;
    let check_at = now.saturating_add(CHECK_INTERVAL).unwrap_or(Timestamp::MAX);
    Ok(Loaded {
        authorities: Arc::new(authorities),
        identity: Arc::new(identity),
        check_at,
    })
}

impl Identity {
    fn read(pair: &authority::Pair) -> Result<Self, TlsError> {
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes())
            .map_err(|_| TlsError::Malformed(secret::CERTIFICATE))?;
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())
            .map_err(|_| TlsError::Malformed(secret::KEY))?;
        Ok(Self { certificate, key })
    }

    /// Dials whoever shows this certificate, and proves to have its key; whoever shows any, where none is given. TLS
    /// 1.3 alone, in which the operator's own signature is over the certificate that it was shown: nobody in between
    /// can pass it on.
    pub fn dial(&self, certificate: Option<CertificateDer<'static>>) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Shown::new(certificate, provider.signature_verification_algorithms);
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        Ok(config)
    }
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
