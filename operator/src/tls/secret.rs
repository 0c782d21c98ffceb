//! How authorities are stored in Secrets.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;

use super::authority::{Authorities, Authority, Pair, TlsError};

/// Certificate.
pub const CERTIFICATE: &str = "tls.crt";
/// Private key of [`CERTIFICATE`].
pub const KEY: &str = "tls.key";
/// Certificates of the authorities that are trusted.
pub const BUNDLE: &str = "ca.crt";
/// Certificate of the authority before.
const PREVIOUS_CERTIFICATE: &str = "previous.crt";
/// Private key of [`PREVIOUS_CERTIFICATE`].
const PREVIOUS_KEY: &str = "previous.key";

/// Data of a Secret.
pub type Data = BTreeMap<String, ByteString>;

/// Reads the authorities of a Secret, newest first.
pub fn read_authorities(data: &Data) -> Result<Vec<Authority>, TlsError> {
    let newest = pair(data, CERTIFICATE, KEY).ok_or(TlsError::Malformed(CERTIFICATE))?;
    let previous = pair(data, PREVIOUS_CERTIFICATE, PREVIOUS_KEY);
    [Some(newest), previous]
        .into_iter()
        .flatten()
        .map(Authority::read)
        .collect()
}

/// The data of the authorities' Secret.
pub fn write_authorities(authorities: &Authorities) -> Data {
    let names = [(CERTIFICATE, KEY), (PREVIOUS_CERTIFICATE, PREVIOUS_KEY)];
    let mut texts = vec![(BUNDLE, authorities.bundle())];
    for ((certificate, key), authority) in names.into_iter().zip(authorities.list()) {
        texts.push((certificate, authority.pair.certificate.clone()));
        texts.push((key, authority.pair.key.clone()));
    }
    data(texts)
}

/// The data of an agent's Secret: what it trusts, and nothing that is secret.
pub fn write_bundle(bundle: String) -> Data {
    data(vec![(BUNDLE, bundle)])
}

fn pair(data: &Data, certificate: &str, key: &str) -> Option<Pair> {
    let text = |name: &str| {
        data.get(name)
            .and_then(|value| String::from_utf8(value.0.clone()).ok())
    };
    Some(Pair {
        certificate: text(certificate)?,
        key: text(key)?,
    })
}

fn data(texts: Vec<(&str, String)>) -> Data {
    texts
        .into_iter()
        .map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes())))
        .collect()
}
