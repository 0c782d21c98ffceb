//! Mutual TLS with a certificate that this process makes itself: its key is in memory only, and nobody else ever had
//! it.
//!
//! Clients are let in by the authority in a mounted file, which may change on disk. Whose process the certificate is,
//! the operator learns from the token that it asks for on the same connection.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

/// Time between two looks at the authority. The kubelet itself needs up to a minute to refresh a mounted Secret, and
/// authorities are renewed days before they sign.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);
/// How long a certificate is valid: a key that somebody got hold of is of no use for longer.
const CERTIFICATE_LIFE: SignedDuration = SignedDuration::from_hours(24);
/// How old a certificate is when another one, with another key, takes its place: the rest of its life is for clocks
/// that differ.
const RENEWAL_AGE: SignedDuration = SignedDuration::from_hours(12);
/// How far other clocks may be behind.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(1);
/// Name in the certificate. Nobody asks for it: the operator recognises the certificate itself.
const NAME: &str = "agent.cocoon.internal";

/// Why connections cannot be secured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authority cannot be read.
    #[error("cannot read the clients' authority {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The authority is no usable PEM.
    #[error("the clients' authority {} is no PEM of certificates", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// Certificate and authority do not work together.
    #[error("cannot set up TLS with the clients' authority {}", path.display())]
    Config {
        /// The authority's file.
        path: PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A certificate of this process, with its key.
struct Own {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    made: Timestamp,
}

impl Own {
    fn make(now: Timestamp) -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![NAME.to_owned()])?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, NAME);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let at = |time: Timestamp| {
            let seconds = u64::try_from(time.as_second()).unwrap_or(0);
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
        };
        params.not_before = at(now.saturating_sub(CLOCK_SKEW).unwrap_or(now));
        params.not_after = at(now.saturating_add(CERTIFICATE_LIFE).unwrap_or(now));
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self {
            certificate,
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            made: now,
        })
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let age = now.duration_since(self.made);
        // A clock that was set back by much would keep it for ever.
        age >= RENEWAL_AGE || age <= -RENEWAL_AGE
    }
}

/// What is in force.
struct Current {
    own: Own,
    authority: Vec<u8>,
    config: Arc<ServerConfig>,
}

/// The TLS configuration in force.
pub(super) struct Tls {
    client_authority: PathBuf,
    current: RwLock<Current>,
}

impl Tls {
    pub(super) fn start(client_authority: PathBuf, now: Timestamp) -> Result<Self, TlsError> {
        let (own, authority) = (Own::make(now)?, read(&client_authority)?);
        let config = config(&own, &client_authority, &authority)?;
        Ok(Self {
            client_authority,
            current: RwLock::new(Current {
                own,
                authority,
                config,
            }),
        })
    }

    /// What the next connection uses.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config)
    }

    /// Looks from time to time, for ever, what is due; an authority that cannot be used leaves the old one in force.
    pub(super) async fn keep_current(&self) {
        loop {
            tokio::time::sleep(RELOAD_INTERVAL).await;
            match self.renew(Timestamp::now()) {
                Ok(false) => {}
                Ok(true) => tracing::info!("the certificate or the clients' authority was renewed"),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot renew the certificate or the clients' authority"
                ),
            }
        }
    }

    /// Takes another authority where the file has changed, and makes another certificate where it is time; true where
    /// one of these was so.
    pub(super) fn renew(&self, now: Timestamp) -> Result<bool, TlsError> {
        let authority = read(&self.client_authority)?;
        let is_due = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            if current.authority == authority && !current.own.is_due(now) {
                return Ok(false);
            }
            current.own.is_due(now)
        };
        let renewed = if is_due { Some(Own::make(now)?) } else { None };
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let own = renewed.as_ref().unwrap_or(&current.own);
        let config = config(own, &self.client_authority, &authority)?;
        if let Some(own) = renewed {
            current.own = own;
        }
        (current.authority, current.config) = (authority, config);
        Ok(true)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

/// TLS 1.3 alone, in which a client's signature is over the certificate that it was shown: nobody in between can pass
/// the operator's on.
fn config(own: &Own, path: &Path, authority: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| TlsError::Config {
        path: path.to_owned(),
        source,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority) {
        let certificate = certificate.map_err(|source| TlsError::Pem {
            path: path.to_owned(),
            source,
        })?;
        roots.add(certificate).map_err(|error| failed(error.into()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| failed(error.into()))?;
    let key = PrivateKeyDer::Pkcs8(own.key.clone_key());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| failed(error.into()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![own.certificate.clone()], key)
        .map_err(|error| failed(error.into()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests;
