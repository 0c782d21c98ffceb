//! The certificate authority of the agents, and the certificates that it signs.

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

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// An agent, which serves.
    Agent,
    /// The operator, which dials.
    Operator,
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
        let validity = inspect(&pair.certificate)?.validity;
        Ok(Self { pair, validity })
    }

    fn sign(&self, role: Role, name: &str, now: Timestamp) -> Result<Pair, TlsError> {
        let issuer = Issuer::from_ca_cert_pem(&self.pair.certificate, KeyPair::from_pem(&self.pair.key)?)?;
        let key = KeyPair::generate()?;
        let validity = Validity::starting(now, LEAF_LIFE, self.validity.not_after);
        let mut params = params(validity, vec![name.to_owned()])?;
        // A DNS name may be longer than the 64 characters of a common name; only the alternative name is checked.
        params.distinguished_name = common_name("cocoon");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match role {
            Role::Agent => ExtendedKeyUsagePurpose::ServerAuth,
            Role::Operator => ExtendedKeyUsagePurpose::ClientAuth,
        }];
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

    /// Signs a certificate for a DNS name.
    pub fn issue(&self, role: Role, name: &str, now: Timestamp) -> Result<Pair, TlsError> {
        let index =
            signer(&validities(&self.0), now).ok_or(TlsError::Malformed("the list of authorities"))?;
        self.0[index].sign(role, name, now)
    }

    /// Whether a stored certificate still serves: signed by one of these for this name, and not due.
    pub fn accepts(&self, pair: &Pair, name: &str, now: Timestamp) -> bool {
        let Ok(found) = inspect(&pair.certificate) else {
            return false;
        };
        let signed = self
            .0
            .iter()
            .filter_map(|authority| inspect(&authority.pair.certificate).ok())
            .any(|authority| authority.subject == found.issuer);
        signed && found.dns_names.iter().any(|dns| dns == name) && !found.validity.is_due(now)
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

/// What a certificate says.
struct Inspected {
    validity: Validity,
    issuer: Vec<u8>,
    subject: Vec<u8>,
    dns_names: Vec<String>,
}

fn inspect(pem: &str) -> Result<Inspected, TlsError> {
    let malformed = TlsError::Malformed("tls.crt");
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(pem.as_bytes()) else {
        return Err(malformed);
    };
    let Ok(certificate) = pem.parse_x509() else {
        return Err(malformed);
    };
    let time = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp());
    let validity = certificate.validity();
    let (Ok(not_before), Ok(not_after)) = (time(validity.not_before), time(validity.not_after)) else {
        return Err(malformed);
    };
    let names = certificate.subject_alternative_name().ok().flatten();
    let dns_names = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect();
    Ok(Inspected {
        validity: Validity {
            not_before,
            not_after,
        },
        issuer: certificate.issuer().as_raw().to_vec(),
        subject: certificate.subject().as_raw().to_vec(),
        dns_names,
    })
}
