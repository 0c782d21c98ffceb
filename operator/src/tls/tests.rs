use std::io::{Read as _, Write as _};

use rustls::{ServerConfig, ServerConnection, server::WebPkiClientVerifier};

use super::*;

const NAME: &str = "farm.default.agent.cocoon.internal";

fn day(day: i64) -> Timestamp {
    let today = Timestamp::now();
    Timestamp::from_second(today.as_second() + day * 86_400).unwrap()
}

fn authorities(on: i64) -> Authorities {
    Authorities::rotated(Vec::new(), day(on)).unwrap().0
}

fn text(data: &secret::Data, key: &str) -> String {
    String::from_utf8(data[key].0.clone()).unwrap()
}

/// An agent's end, made from nothing but the files of its Secret.
fn agent(data: &secret::Data) -> ServerConnection {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&data[secret::BUNDLE].0) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .unwrap();
    let chain = vec![CertificateDer::from_pem_slice(&data[secret::CERTIFICATE].0).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(&data[secret::KEY].0).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    ServerConnection::new(Arc::new(config)).unwrap()
}

/// Shakes hands in memory and sends one byte to the agent.
fn talk(config: Arc<ClientConfig>, name: &str, mut server: ServerConnection) -> Result<(), String> {
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(config, name).unwrap();
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

#[test]
fn operator_and_agent_trust_each_other_under_the_providers_name_only() {
    let authorities = authorities(0);
    let data = agent_data(&authorities, None, NAME, day(0)).unwrap();
    let operator = identity(authorities, day(0)).unwrap().config;
    assert_eq!(talk(operator.clone(), NAME, agent(&data)), Ok(()));
    let refused = talk(operator, "other.default.agent.cocoon.internal", agent(&data)).unwrap_err();
    assert!(refused.starts_with("operator:"), "{refused}");
}

#[test]
fn an_agent_cannot_pose_as_the_operator_nor_a_stranger_as_either() {
    let ours = authorities(0);
    let data = agent_data(&ours, None, NAME, day(0)).unwrap();
    let posing = secret::read_pair(&agent_data(&ours, None, NAME, day(0)).unwrap()).unwrap();
    let config = client_config(&ours.bundle(), &posing).unwrap();
    let refused = talk(Arc::new(config), NAME, agent(&data)).unwrap_err();
    assert!(refused.starts_with("agent:"), "{refused}");

    let stranger = identity(authorities(0), day(0)).unwrap().config;
    assert!(talk(stranger, NAME, agent(&data)).is_err());
}

#[test]
fn both_ends_understand_each_other_throughout_a_rotation() {
    let before = authorities(-250);
    let old = agent_data(&before, None, NAME, day(-1)).unwrap();
    let (after, changed) = Authorities::rotated(before.list().to_vec(), day(0)).unwrap();
    assert!(changed);
    assert_eq!(after.list().len(), 2);
    // The agent has not yet seen the new bundle, and the operator has restarted.
    let operator = identity(after.clone(), day(0)).unwrap().config;
    assert_eq!(talk(operator.clone(), NAME, agent(&old)), Ok(()));
    // The agent has the new bundle and keeps its certificate.
    let renewed = agent_data(&after, Some(&old), NAME, day(0)).unwrap();
    assert_eq!(
        text(&renewed, secret::CERTIFICATE),
        text(&old, secret::CERTIFICATE)
    );
    assert_ne!(text(&renewed, secret::BUNDLE), text(&old, secret::BUNDLE));
    assert_eq!(talk(operator, NAME, agent(&renewed)), Ok(()));
}

#[test]
fn a_stored_certificate_is_kept_until_it_is_due() {
    let authorities = authorities(0);
    let first = agent_data(&authorities, None, NAME, day(0)).unwrap();
    assert_eq!(
        agent_data(&authorities, Some(&first), NAME, day(19)).unwrap(),
        first
    );
    let second = agent_data(&authorities, Some(&first), NAME, day(21)).unwrap();
    assert_ne!(second, first);
    let renamed = agent_data(
        &authorities,
        Some(&first),
        "other.default.agent.cocoon.internal",
        day(0),
    )
    .unwrap();
    assert_ne!(renamed, first);
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
    assert!(agent_data(&authorities(0), Some(&data), NAME, day(0)).is_ok());
}
