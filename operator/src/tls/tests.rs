use std::io::{Read as _, Write as _};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection,
    server::WebPkiClientVerifier,
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::*;

const NAME: &str = "pod-uid.agent.cocoon.internal";

fn day(day: i64) -> Timestamp {
    let today = Timestamp::now();
    Timestamp::from_second(today.as_second() + day * 86_400).unwrap()
}

fn authorities(on: i64) -> Authorities {
    Authorities::rotated(Vec::new(), day(on)).unwrap().0
}

/// A certificate that an agent made itself, with its key.
struct Own {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Own {
    fn make() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["agent.cocoon.internal".to_owned()]).unwrap();
        Self {
            certificate: params.self_signed(&key).unwrap().der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }
}

/// An agent's end, made from what it has in its Secret.
fn agent(own: &Own, data: &secret::Data) -> ServerConnection {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&data[secret::BUNDLE].0) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .unwrap();
    // Unlike most servers this one does not look whether its key is the certificate's.
    let key = provider
        .key_provider
        .load_private_key(own.key.clone_key())
        .unwrap();
    let shown = CertifiedKey::new(vec![own.certificate.clone()], key);
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    ServerConnection::new(Arc::new(config)).unwrap()
}

/// Shakes hands in memory and sends one byte to the agent.
fn talk(config: ClientConfig, mut server: ServerConnection) -> Result<(), String> {
    let name = rustls::pki_types::ServerName::try_from(NAME).unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    client.writer().write_all(b"x").unwrap();
    let mut wire = Vec::new();
    while client.wants_write() || server.wants_write() {
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server
            .read_tls(&mut std::mem::take(&mut wire).as_slice())
            .unwrap();
        server
            .process_new_packets()
            .map_err(|error| format!("agent: {error}"))?;
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client
            .read_tls(&mut std::mem::take(&mut wire).as_slice())
            .unwrap();
        client
            .process_new_packets()
            .map_err(|error| format!("operator: {error}"))?;
    }
    let mut byte = [0];
    server
        .reader()
        .read_exact(&mut byte)
        .map_err(|error| error.to_string())
}

fn operator(authorities: Authorities) -> Arc<Identity> {
    identity(authorities, day(0)).unwrap().identity
}

#[test]
fn the_operator_dials_the_certificate_that_it_knows_and_no_other() {
    let authorities = authorities(0);
    let data = secret::write_bundle(authorities.bundle());
    let operator = operator(authorities);
    let (own, other) = (Own::make(), Own::make());
    let any = operator.dial(None).unwrap();
    assert_eq!(talk(any, agent(&own, &data)), Ok(()));
    let pinned = || operator.dial(Some(own.certificate.clone())).unwrap();
    assert_eq!(talk(pinned(), agent(&own, &data)), Ok(()));
    let refused = talk(pinned(), agent(&other, &data)).unwrap_err();
    assert!(refused.starts_with("operator:"), "{refused}");
}

#[test]
fn a_certificate_is_worth_nothing_without_its_key() {
    let authorities = authorities(0);
    let data = secret::write_bundle(authorities.bundle());
    let operator = operator(authorities);
    let own = Own::make();
    // Certificates are no secret: somebody shows this one, with another key of the kind.
    let thief = Own {
        certificate: own.certificate.clone(),
        key: Own::make().key,
    };
    for known in [None, Some(own.certificate.clone())] {
        let refused = talk(operator.dial(known).unwrap(), agent(&thief, &data)).unwrap_err();
        assert!(refused.starts_with("operator:"), "{refused}");
    }
}

#[test]
fn nobody_but_the_operator_is_let_in() {
    let ours = authorities(0);
    let data = secret::write_bundle(ours.bundle());
    let stranger = operator(authorities(0));
    assert!(talk(stranger.dial(None).unwrap(), agent(&Own::make(), &data)).is_err());
    // An agent that poses as the operator has only the certificate that it made itself.
    let own = Own::make();
    let posing = Identity {
        certificate: own.certificate.clone(),
        key: own.key.clone_key(),
    };
    let refused = talk(posing.dial(None).unwrap(), agent(&own, &data)).unwrap_err();
    assert!(refused.starts_with("agent:"), "{refused}");
}

#[test]
fn both_ends_understand_each_other_throughout_a_rotation() {
    let before = authorities(-250);
    let old = secret::write_bundle(before.bundle());
    let (after, changed) = Authorities::rotated(before.list().to_vec(), day(0)).unwrap();
    assert!(changed);
    assert_eq!(after.list().len(), 2);
    let own = Own::make();
    // The agent has not yet seen the new bundle, and the operator has restarted.
    let operator = operator(after.clone());
    assert_eq!(talk(operator.dial(None).unwrap(), agent(&own, &old)), Ok(()));
    let renewed = secret::write_bundle(after.bundle());
    assert_ne!(renewed, old);
    assert_eq!(talk(operator.dial(None).unwrap(), agent(&own, &renewed)), Ok(()));
}

#[test]
fn an_agent_is_given_nothing_that_is_secret() {
    let (both, _) = Authorities::rotated(authorities(-250).list().to_vec(), day(0)).unwrap();
    let data = secret::write_bundle(both.bundle());
    assert_eq!(data.keys().collect::<Vec<_>>(), [secret::BUNDLE]);
    let text = String::from_utf8(data[secret::BUNDLE].0.clone()).unwrap();
    assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(!text.contains("PRIVATE"));
}

#[test]
fn a_certificate_is_valid_within_its_time_and_bytes_that_are_none_never() {
    let own = Own::make();
    assert!(valid_until(&own.certificate, day(0)).is_some());
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let over = params.self_signed(&key).unwrap();
    assert_eq!(valid_until(over.der(), day(0)), None);
    assert_eq!(valid_until(b"no certificate", day(0)), None);
}

#[test]
fn stored_authorities_read_back_as_they_were() {
    let before = authorities(-250);
    let (both, _) = Authorities::rotated(before.list().to_vec(), day(0)).unwrap();
    let read = secret::read_authorities(&secret::write_authorities(&both)).unwrap();
    assert_eq!(Authorities::rotated(read, day(0)).unwrap(), (both, false));
}

#[test]
fn a_secret_that_is_no_certificate_says_what_to_do() {
    let data: secret::Data = [("tls.crt", "x"), ("tls.key", "y")]
        .map(|(key, value)| (key.to_owned(), k8s_openapi::ByteString(value.into())))
        .into();
    let error = secret::read_authorities(&data).unwrap_err();
    assert!(error.to_string().contains("delete the Secret"), "{error}");
}

proptest::proptest! {
    #[test]
    fn whatever_an_agent_shows_is_read_without_a_panic(bytes: Vec<u8>) {
        let _ = valid_until(&bytes, day(0));
    }
}
