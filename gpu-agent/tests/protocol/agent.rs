//! A serving agent, and the operator's side of the connection.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use cocoon_api::{
    Prices, TokenPrice,
    agent::{
        AttemptRequest, Endpoint, FailureCode, GpuFault, Outcome, RequestItem, ResultLine, SamplingDefaults,
    },
    json::Payload,
    receipt::{ReceiptSigner, Sha256Digest},
};
use gpu_agent::{
    attempts::Served,
    backend::cpu::Precision,
    engine::{Engine, Options},
    http::{Listeners, Mounted, serve, service::Service},
    model::{chat::ChatTemplate, tokenizer::Tokenizer},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support;

pub const CONTEXT: usize = 256;
/// What lies in the token's file.
const TOKEN: &str = "first\n";

pub fn model() -> (Arc<Tokenizer>, Engine) {
    static MODEL: OnceLock<(Arc<Tokenizer>, Engine)> = OnceLock::new();
    let load = || {
        let file = support::model_file();
        let tokenizer = Arc::new(Tokenizer::read(&file).expect("a supported tokenizer"));
        let backend = Box::new(support::backend(&file, Precision::Fast, CONTEXT, 6));
        let engine = Engine::start(backend, Arc::clone(&tokenizer), OPTIONS).expect("a thread starts");
        (tokenizer, engine)
    };
    MODEL.get_or_init(load).clone()
}

pub const OPTIONS: Options = Options {
    max_sequences: 6,
    prefix_cache: false,
};

/// An authority, and folders with what each side needs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(parameters, key).expect("an authority");
        Self {
            issuer,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// Certificate and key, as PEM.
    pub fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).expect("a valid name");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    pub fn server_files(&self) -> Mounted {
        let write = |name: &str, text: &str| {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).expect("writable");
            path
        };
        Mounted {
            client_authority: write("ca.crt", &self.issuer.pem()),
            token: write("token", TOKEN),
        }
    }

    /// A client that presents a certificate of `own`, if any. It takes whatever certificate the agent has: that the
    /// operator recognises it is no matter of the agent's.
    pub fn client(own: Option<&Self>, address: SocketAddr) -> Client {
        let mut builder = Client::builder()
            .danger_accept_invalid_certs(true)
            .tls_info(true)
            .resolve("localhost", address);
        if let Some(own) = own {
            let (certificate, key) = own.issue();
            builder = builder
                .identity(reqwest::Identity::from_pem((certificate + &key).as_bytes()).expect("an identity"));
        }
        builder.build().expect("a client")
    }
}

/// A serving agent.
pub struct Agent {
    pub authority: Authority,
    pub protocol: SocketAddr,
    pub probes: SocketAddr,
    pub client: Client,
    _stop: DropGuard,
}

impl Agent {
    pub async fn start() -> Self {
        let (tokenizer, engine) = model();
        Self::start_with(tokenizer, engine).await
    }

    pub async fn start_with(tokenizer: Arc<Tokenizer>, engine: Engine) -> Self {
        Self::start_without(&[], tokenizer, engine).await
    }

    /// An agent that was given more devices than it could open.
    pub async fn start_without(left_out: &[GpuFault], tokenizer: Arc<Tokenizer>, engine: Engine) -> Self {
        // Another test of this process may have been first.
        drop(rustls::crypto::ring::default_provider().install_default());
        let file = support::model_file();
        let served = Served {
            name: "smollm2".to_owned(),
            sha256: Sha256Digest(file.sha256().expect("readable")),
            chat: ChatTemplate::read(&file, &tokenizer).expect("a valid template"),
            tokenizer,
            context: CONTEXT,
            backend: "CPU".to_owned(),
            arithmetic: Some("1".to_owned()),
            tokens_per_second: 1.0,
            left_out: left_out.to_vec(),
        };
        let service =
            Service::new(served, engine, ReceiptSigner::from_seed([3; 32])).expect("metrics register");
        let bind = async || TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let listeners = Listeners {
            protocol: bind().await,
            probes: bind().await,
        };
        let address = |listener: &TcpListener| listener.local_addr().expect("bound");
        let (protocol, probes) = (address(&listeners.protocol), address(&listeners.probes));
        let authority = Authority::new();
        let client = Authority::client(Some(&authority), protocol);
        let stop = CancellationToken::new();
        let serving = serve(service, listeners, authority.server_files(), stop.clone());
        tokio::spawn(async move { serving.await.expect("the TLS files are usable") });
        Self {
            authority,
            protocol,
            probes,
            client,
            _stop: stop.drop_guard(),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.protocol.port())
    }

    pub async fn put(&self, path: &str, body: &AttemptRequest) -> (StatusCode, Value) {
        let response = self
            .client
            .put(self.url(path))
            .json(body)
            .send()
            .await
            .expect("an answer");
        (response.status(), response.json().await.expect("JSON"))
    }

    pub async fn call<T: serde::de::DeserializeOwned>(&self, method: Method, path: &str) -> T {
        let response = self
            .client
            .request(method, self.url(path))
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.expect("JSON")
    }

    /// Status and text of a probe or of the metrics.
    pub async fn probe(&self, path: &str) -> (StatusCode, String) {
        let url = format!("http://{}{path}", self.probes);
        let response = reqwest::get(url).await.expect("an answer");
        (response.status(), response.text().await.expect("text"))
    }

    /// All lines from a position on, to the end of the attempt.
    pub async fn results(&self, path: &str, from: usize) -> Vec<ResultLine> {
        let url = self.url(&format!("{path}/results?from={from}"));
        let text = self
            .client
            .get(url)
            .send()
            .await
            .expect("an answer")
            .text()
            .await
            .expect("text");
        let lines = text.lines().filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_str(line).expect("a result line"))
            .collect()
    }
}

pub fn attempt(bodies: impl IntoIterator<Item = Value>) -> AttemptRequest {
    let price = |nano| TokenPrice::from_nano_per_million(nano).expect("small");
    AttemptRequest {
        model: "smollm2".to_owned(),
        model_sha256: Sha256Digest(support::golden().sha256().expect("a digest")),
        endpoint: Endpoint::Completions,
        channel: Some("0:abc".to_owned()),
        prices: Prices {
            prompt: price(1_000_000),
            completion: price(2_000_000),
            ..Prices::default()
        },
        budget: None,
        sampling: SamplingDefaults {
            max_tokens: Some(8),
            temperature: Some(0.0),
            ..SamplingDefaults::default()
        },
        parallelism: 4,
        requests: (0..)
            .zip(bodies)
            .map(|(index, body): (u32, Value)| RequestItem {
                index,
                body: Payload::new(body.to_string()).expect("JSON"),
            })
            .collect(),
    }
}

pub fn succeeded(line: &ResultLine) -> Value {
    match &line.outcome {
        Outcome::Succeeded { body, receipt, .. } => {
            assert_eq!(receipt.result, Sha256Digest::of(body.as_bytes()));
            assert_eq!(receipt.request, line.index);
            serde_json::from_str(body).expect("a JSON body")
        }
        Outcome::Failed { code, message } => panic!("request {} failed: {code:?} {message}", line.index),
    }
}

pub fn failure(line: &ResultLine) -> FailureCode {
    match &line.outcome {
        Outcome::Failed { code, .. } => *code,
        Outcome::Succeeded { .. } => panic!("request {} succeeded", line.index),
    }
}
