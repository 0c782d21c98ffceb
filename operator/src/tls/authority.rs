//! The authority that agents trust, and the operator's certificates, which it signs.

use k8s_openapi::jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

use super::validity::{AUTHORITY_LIFE, LEAF_LIFE, Rotation, Validity, rotation, signer};

/// Why certificates could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key could not be made.
    #[error("could not make a certificate")]
    Make(#[from] rcgen::Error),
    /// A stored text is no certificate in PEM.
    #[error("{0} holds no certificate in PEM; delete the Secret to have it made anew")]
    Malformed(&'static str),
    /// The TLS library refuses what was made or read.
    #[error("the TLS library refuses the certificates")]
    Refused(#[from] rustls::Error),
    /// The HTTP client could not be made.
    #[error("could not make the HTTP client")]
    Client(#[from] reqwest::Error),
}

/// A certificate with its key, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key, PKCS#8.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

/// One authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate and key.
    pub pair: Pair,
    /// When it is valid.
    pub validity: Validity,
}

impl Authority {
    /// Makes an authority.
    pub fn create(now: Timestamp) -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let validity = Validity::starting(now, AUTHORITY_LIFE, Timestamp::MAX);
        let mut params = params(validity, Vec::new())?;
        // Its own name tells an authority from the one before.
        let name = format!(
            "cocoon-agent-ca {}",
            hex::encode(&params.key_identifier(&key)[..8])
        );
        params.distinguished_name = common_name(&name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            pair: Pair {
                certificate,
                key: key.serialize_pem(),
            },
            validity: rounded(validity),
        })
    }

    /// Reads a stored authority.
    pub fn read(pair: Pair) -> Result<Self, TlsError> {
        let validity = validity(&pair.certificate)?;
        Ok(Self { pair, validity })
    }

    fn sign(&self, name: &str, now: Timestamp) -> Result<Pair, TlsError> {
        let issuer = Issuer::from_ca_cert_pem(&self.pair.certificate, KeyPair::from_pem(&self.pair.key)?)?;
        let key = KeyPair::generate()?;
        let validity = Validity::starting(now, LEAF_LIFE, self.validity.not_after);
        let mut params = params(validity, vec![name.to_owned()])?;
        // A DNS name may be longer than the 64 characters of a common name; only the alternative name is checked.
        params.distinguished_name = common_name("cocoon");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &issuer)?.pem();
        Ok(Pair {
            certificate,
            key: key.serialize_pem(),
        })
    }
}

/// The authorities that are trusted, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorities(Vec<Authority>);

impl Authorities {
    /// Brings stored authorities, newest first, up to date; answers whether they changed.
    pub fn rotated(mut stored: Vec<Authority>, now: Timestamp) -> Result<(Self, bool), TlsError> {
        let Rotation { create, keep } = rotation(&validities(&stored), now);
        let changed = create || keep != stored.len();
        stored.truncate(keep);
        if create {
            stored.insert(0, Authority::create(now)?);
        }
        Ok((Self(stored), changed))
    }

    /// Newest first; never empty.
    pub fn list(&self) -> &[Authority] {
        &self.0
    }

    /// Certificates of all, in PEM.
    pub fn bundle(&self) -> String {
        let certificates: Vec<&str> = self
            .0
            .iter()
            .map(|authority| authority.pair.certificate.trim_end())
            .collect();
        certificates.join("\n") + "\n"
    }

    /// Signs a certificate of the operator for a DNS name.
    pub fn issue(&self, name: &str, now: Timestamp) -> Result<Pair, TlsError> {
        let index =
            signer(&validities(&self.0), now).ok_or(TlsError::Malformed("the list of authorities"))?;
        self.0[index].sign(name, now)
    }
}

fn validities(authorities: &[Authority]) -> Vec<Validity> {
    authorities.iter().map(|authority| authority.validity).collect()
}

fn params(validity: Validity, names: Vec<String>) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::new(names)?;
    let at = |time: Timestamp| {
        let seconds = u64::try_from(time.as_second()).unwrap_or(0);
        rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds)
    };
    params.not_before = at(validity.not_before);
    params.not_after = at(validity.not_after);
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Certificates know whole seconds.
fn rounded(validity: Validity) -> Validity {
    let whole = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap_or(time);
    Validity {
        not_before: whole(validity.not_before),
        not_after: whole(validity.not_after),
    }
}

/// When a stored certificate is valid.
fn validity(pem: &str) -> Result<Validity, TlsError> {
    let malformed = TlsError::Malformed("tls.crt");
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(pem.as_bytes()) else {
        return Err(malformed);
    };
    pem.parse_x509()
        .ok()
        .and_then(|certificate| Validity::of(&certificate))
        .ok_or(malformed)
}
