//! Dials an agent: once to ask who it is, and then for its work.

use std::{net::SocketAddr, time::Duration};

use cocoon_api::{
    agent::{Credential, MAX_TOKEN_BYTES},
    json, names,
};
use cocoon_core::agents::recognition::Stranger;
use reqwest::{Response, tls::TlsInfo};
use rustls::{ClientConfig, client::Resumption, pki_types::CertificateDer};

use super::agent::{Agent, Line, Unrecognised};
use crate::tls::{Identity, authority::TlsError};

/// Seconds for a connection to an agent, whose pod is on the cluster's own network.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Seconds for its answer, which it reads off a file.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection without a question is kept: between the jobs of a busy agent less passes.
const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of the answer at most: the token, and the object around it.
const MAX_ANSWER_BYTES: usize = MAX_TOKEN_BYTES + 1024;

/// What an agent answered, and the certificate of the connection on which it did.
pub(super) struct Asked {
    pub(super) credential: Credential,
    pub(super) certificate: CertificateDer<'static>,
}

/// Asks whoever is there for its token.
pub(super) async fn ask(identity: &Identity, agent: &Agent) -> Result<Asked, Unrecognised> {
    let unreachable = |error: reqwest::Error| Unrecognised::Unreachable(Box::new(error));
    let mut config = identity
        .dial(None)
        .map_err(|error| Unrecognised::Unreachable(Box::new(error)))?;
    // Each connection shows its certificate.
    config.resumption = Resumption::disabled();
    let (http, base) = client(config, agent).map_err(|error| Unrecognised::Unreachable(Box::new(error)))?;
    let answer = http
        .get(format!("{base}/v1/credential"))
        .timeout(ANSWER_TIMEOUT)
        .send()
        .await
        .map_err(unreachable)?;
    let shown = answer.extensions().get::<TlsInfo>();
    let certificate = shown.and_then(TlsInfo::peer_certificate).map(<[u8]>::to_vec);
    let is_answer = answer.status().is_success();
    let body = bounded(answer).await.map_err(unreachable)?;
    let credential = body.and_then(|body| json::read::<Credential>(&body).ok());
    match (credential, certificate) {
        (Some(credential), Some(certificate)) if is_answer && credential.token.len() <= MAX_TOKEN_BYTES => {
            Ok(Asked {
                credential,
                certificate: CertificateDer::from(certificate),
            })
        }
        _ => Err(Unrecognised::Stranger(Stranger::NoToken)),
    }
}

/// A line to who shows this certificate.
///
/// All who ask for the same agent share its connections: a handshake costs both sides more than most questions do.
pub(super) fn line(
    identity: &Identity,
    agent: &Agent,
    certificate: CertificateDer<'static>,
) -> Result<Line, TlsError> {
    let config = identity.dial(Some(certificate.clone()))?;
    let (http, base) = client(config, agent)?;
    Ok(Line {
        http,
        base,
        certificate,
    })
}

fn client(config: ClientConfig, agent: &Agent) -> Result<(reqwest::Client, String), TlsError> {
    let name = names::agent_server_name(&agent.uid);
    let http = reqwest::Client::builder()
        .use_preconfigured_tls(config)
        .tls_info(true)
        .resolve(&name, SocketAddr::new(agent.address, names::AGENT_PORT))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_LIMIT)
        .http1_only()
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    Ok((http, format!("https://{name}:{}", names::AGENT_PORT)))
}

/// The body; `None` where it is longer than any answer.
async fn bounded(mut answer: Response) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            return Ok(None);
        }
    }
    Ok(Some(body))
}
