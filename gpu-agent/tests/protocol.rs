//! The protocol between operator and agent, spoken over real connections to a real model.

mod support;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use cocoon_api::{
    NanoTon, Prices, TokenPrice,
    agent::{
        AttemptProgress, AttemptRequest, AttemptState, Endpoint, FailureCode, Identity, Outcome, RequestItem,
        ResultLine, SamplingDefaults,
    },
    receipt::{ChainId, ReceiptChain, ReceiptSigner, Sha256Digest, UsageStatement},
};
use gpu_agent::{
    backend::cpu::Precision,
    engine::Engine,
    http::{
        Listeners, TlsFiles, serve,
        service::{Served, Service},
    },
    model::{chat::ChatTemplate, tokenizer::Tokenizer},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

const CONTEXT: usize = 256;

fn model() -> (Arc<Tokenizer>, Engine) {
    static MODEL: OnceLock<(Arc<Tokenizer>, Engine)> = OnceLock::new();
    let load = || {
        let file = support::model_file();
        let tokenizer = Arc::new(Tokenizer::read(&file).expect("a supported tokenizer"));
        let backend = Box::new(support::backend(&file, Precision::Fast, CONTEXT, 6));
        let engine = Engine::start(backend, Arc::clone(&tokenizer), 6).expect("a thread starts");
        (tokenizer, engine)
    };
    MODEL.get_or_init(load).clone()
}

/// An authority, and folders with what each side needs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
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
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).expect("a valid name");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    fn server_files(&self) -> TlsFiles {
        let (certificate, key) = self.issue();
        let write = |name: &str, text: &str| {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).expect("writable");
            path
        };
        TlsFiles {
            certificate: write("tls.crt", &certificate),
            key: write("tls.key", &key),
            client_authority: write("ca.crt", &self.issuer.pem()),
        }
    }

    /// A client that trusts this authority and presents a certificate of `own`, if any.
    fn client(&self, own: Option<&Self>, address: SocketAddr) -> Client {
        let trusted = reqwest::Certificate::from_pem(self.issuer.pem().as_bytes()).expect("a certificate");
        let mut builder = Client::builder()
            .add_root_certificate(trusted)
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
struct Agent {
    authority: Authority,
    protocol: SocketAddr,
    probes: SocketAddr,
    client: Client,
    _stop: DropGuard,
}

impl Agent {
    async fn start() -> Self {
        // Another test of this process may have been first.
        drop(rustls::crypto::ring::default_provider().install_default());
        let (tokenizer, engine) = model();
        let file = support::model_file();
        let served = Served {
            name: "smollm2".to_owned(),
            sha256: Sha256Digest(file.sha256()),
            chat: ChatTemplate::read(&file, &tokenizer).expect("a valid template"),
            tokenizer,
            context: CONTEXT,
            backend: "CPU".to_owned(),
            tokens_per_second: 1.0,
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
        let client = authority.client(Some(&authority), protocol);
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

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.protocol.port())
    }

    async fn put(&self, path: &str, body: &AttemptRequest) -> (StatusCode, Value) {
        let response = self
            .client
            .put(self.url(path))
            .json(body)
            .send()
            .await
            .expect("an answer");
        (response.status(), response.json().await.expect("JSON"))
    }

    async fn call<T: serde::de::DeserializeOwned>(&self, method: Method, path: &str) -> T {
        let response = self
            .client
            .request(method, self.url(path))
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.expect("JSON")
    }

    /// All lines from a position on, to the end of the attempt.
    async fn results(&self, path: &str, from: usize) -> Vec<ResultLine> {
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

fn attempt(bodies: impl IntoIterator<Item = Value>) -> AttemptRequest {
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
            .map(|(index, body)| RequestItem { index, body })
            .collect(),
    }
}

fn succeeded(line: &ResultLine) -> Value {
    match &line.outcome {
        Outcome::Succeeded { body, receipt, .. } => {
            assert_eq!(receipt.result, Sha256Digest::of(body.as_bytes()));
            assert_eq!(receipt.request, line.index);
            serde_json::from_str(body).expect("a JSON body")
        }
        Outcome::Failed { code, message } => panic!("request {} failed: {code:?} {message}", line.index),
    }
}

fn failure(line: &ResultLine) -> FailureCode {
    match &line.outcome {
        Outcome::Failed { code, .. } => *code,
        Outcome::Succeeded { .. } => panic!("request {} succeeded", line.index),
    }
}

#[tokio::test]
async fn raw_completions_give_the_goldens_text_and_a_chain_of_receipts() {
    let agent = Agent::start().await;
    let golden = support::golden();
    let (tokenizer, _) = model();
    let cases: Vec<_> = golden
        .completions
        .iter()
        .filter(|case| case.prompt.is_some())
        .collect();
    let mut request = attempt(cases.iter().map(|case| json!({"prompt": case.prompt})));
    request.sampling.max_tokens = Some(4);
    let (status, _) = agent.put("/v1/jobs/golden/1", &request).await;
    assert_eq!(status, StatusCode::CREATED);
    let lines = agent.results("/v1/jobs/golden/1", 0).await;
    assert_eq!(lines.len(), cases.len());

    let identity: Identity = agent.call(Method::GET, "/v1/identity").await;
    let id = ChainId {
        agent: identity.agent,
        job: "golden".to_owned(),
        attempt: 1,
        channel: request.channel.clone(),
    };
    let mut chain = ReceiptChain::new(id);
    for (position, line) in lines.iter().enumerate() {
        assert_eq!(line.position as usize, position);
        let Outcome::Succeeded {
            receipt, statement, ..
        } = &line.outcome
        else {
            panic!("failed")
        };
        chain.push(receipt).expect("the chain continues");
        statement.verify().expect("signed by the agent");
        assert_eq!((statement.head, statement.nano), (chain.head(), chain.nano()));

        let (case, body) = (cases[line.index as usize], succeeded(line));
        let text: Vec<u8> = case.tokens[..4]
            .iter()
            .flat_map(|token| tokenizer.text_bytes(*token))
            .copied()
            .collect();
        let decided = case.top[..4].iter().all(|top| top[0].1 - top[1].1 > 0.3);
        if decided {
            assert_eq!(
                body["choices"][0]["text"].as_str().map(str::as_bytes),
                Some(text.as_slice())
            );
        }
        assert_eq!(body["usage"]["prompt_tokens"], case.prompt_tokens.len());
        assert_eq!(body["usage"]["completion_tokens"], 4);
        assert_eq!(body["choices"][0]["finish_reason"], "length");
    }
    let statements: Vec<UsageStatement> = agent.call(Method::GET, "/v1/usage").await;
    assert_eq!(statements.len(), 1);
    assert_eq!(
        (statements[0].count as usize, statements[0].nano),
        (cases.len(), chain.nano())
    );
}

#[tokio::test]
async fn the_same_put_again_starts_nothing_and_another_body_conflicts() {
    let agent = Agent::start().await;
    let request = attempt([json!({"prompt": "Water boils at"})]);
    assert_eq!(
        agent.put("/v1/jobs/same/1", &request).await.0,
        StatusCode::CREATED
    );
    let first = agent.results("/v1/jobs/same/1", 0).await;
    let (status, progress) = agent.put("/v1/jobs/same/1", &request).await;
    assert_eq!(status, StatusCode::OK);
    let progress: AttemptProgress = serde_json::from_value(progress).expect("progress");
    assert_eq!(
        (progress.state, progress.succeeded, progress.total),
        (AttemptState::Finished, 1, 1)
    );
    assert_eq!(progress.usage.completion_tokens.get(), 8);
    assert_eq!(agent.results("/v1/jobs/same/1", 0).await, first);

    let other = attempt([json!({"prompt": "Kubernetes is"})]);
    let (status, error) = agent.put("/v1/jobs/same/1", &other).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|message| message.contains("another body")),
        "{error}"
    );
}

#[tokio::test]
async fn results_resume_from_any_position() {
    let agent = Agent::start().await;
    let request = attempt((0..5).map(|index| json!({"prompt": format!("Number {index}")})));
    agent.put("/v1/jobs/resume/1", &request).await;
    let all = agent.results("/v1/jobs/resume/1", 0).await;
    assert_eq!(all.len(), 5);
    for from in 0..=6 {
        assert_eq!(agent.results("/v1/jobs/resume/1", from).await, all[from.min(5)..]);
    }
}

#[tokio::test]
async fn a_prompt_beyond_the_context_fails_alone() {
    let agent = Agent::start().await;
    let long = "word ".repeat(CONTEXT + 1);
    let bodies = [
        json!({"prompt": "Once upon a time"}),
        json!({"prompt": long}),
        json!({"prompt": "Hi", "max_tokens": CONTEXT}),
        json!({"prompt": 7}),
        json!({"prompt": "Hi", "logit_bias": {}}),
        json!({"prompt": ""}),
    ];
    agent.put("/v1/jobs/long/1", &attempt(bodies)).await;
    let mut lines = agent.results("/v1/jobs/long/1", 0).await;
    lines.sort_by_key(|line| line.index);
    succeeded(&lines[0]);
    let codes: Vec<FailureCode> = lines[1..].iter().map(failure).collect();
    let (context, invalid) = (FailureCode::ContextLengthExceeded, FailureCode::InvalidRequest);
    assert_eq!(codes, [context, context, invalid, invalid, invalid]);
}

#[tokio::test]
async fn a_budget_is_never_exceeded() {
    let agent = Agent::start().await;
    let mut request = attempt((0..4).map(|_| json!({"prompt": "Kubernetes is"})));
    // Each costs at most 4 · 1 + 8 · 2 = 20 nanoTON; two fit.
    request.budget = Some(NanoTon::from_nano(45).expect("small"));
    agent.put("/v1/jobs/budget/1", &request).await;
    let lines = agent.results("/v1/jobs/budget/1", 0).await;
    let good = lines
        .iter()
        .filter(|line| matches!(line.outcome, Outcome::Succeeded { .. }))
        .count();
    assert_eq!((lines.len(), good), (4, 2));
    assert!(
        lines[2..]
            .iter()
            .all(|line| failure(line) == FailureCode::BudgetExceeded)
    );
}

#[tokio::test]
async fn cancelling_ends_what_is_unfinished_and_keeps_what_is_finished() {
    let agent = Agent::start().await;
    let short = json!({"prompt": "Hi", "max_tokens": 1});
    let long = json!({"prompt": "Hello", "max_tokens": 200, "temperature": 2, "seed": 1});
    let mut request = attempt([short, long.clone(), long]);
    request.parallelism = 1;
    agent.put("/v1/jobs/cancel/1", &request).await;
    let url = agent.url("/v1/jobs/cancel/1/results");
    let mut stream = agent.client.get(url).send().await.expect("an answer");
    let first = stream.chunk().await.expect("readable").expect("the first line");
    let progress: AttemptProgress = agent.call(Method::DELETE, "/v1/jobs/cancel/1").await;
    assert_eq!(
        (progress.state, progress.succeeded, progress.failed),
        (AttemptState::Cancelled, 1, 2)
    );
    let lines = agent.results("/v1/jobs/cancel/1", 0).await;
    assert_eq!(
        serde_json::from_slice::<ResultLine>(&first).expect("a result line"),
        lines[0]
    );
    assert!(
        lines[1..]
            .iter()
            .all(|line| failure(line) == FailureCode::Cancelled)
    );
    let again: AttemptProgress = agent.call(Method::DELETE, "/v1/jobs/cancel/1").await;
    assert_eq!(again.state, AttemptState::Cancelled);
    assert_eq!(again.usage.completion_tokens.get(), 1);
}

#[tokio::test]
async fn chat_uses_the_template_and_stops_at_the_end_of_the_turn() {
    let agent = Agent::start().await;
    let golden = support::golden();
    let case = &golden.chat[0];
    let mut request = attempt([
        json!({"messages": case.messages, "max_tokens": 40}),
        json!({"messages": case.messages, "max_tokens": 40, "stop": "planet"}),
    ]);
    request.endpoint = Endpoint::ChatCompletions;
    agent.put("/v1/jobs/chat/1", &request).await;
    let mut lines = agent.results("/v1/jobs/chat/1", 0).await;
    lines.sort_by_key(|line| line.index);
    let body = succeeded(&lines[0]);
    assert_eq!(body["usage"]["prompt_tokens"], case.tokens.len());
    assert_eq!(body["choices"][0]["finish_reason"], "stop", "{body}");
    let content = body["choices"][0]["message"]["content"].as_str().expect("text");
    assert!(!content.is_empty() && !content.contains("<|im_end|>"));
    let stopped = succeeded(&lines[1]);
    assert_eq!(
        stopped["choices"][0]["message"]["content"].as_str(),
        content.split("planet").next()
    );
}

#[tokio::test]
async fn clients_without_a_certificate_of_the_authority_are_refused() {
    let agent = Agent::start().await;
    let stranger = Authority::new();
    for own in [None, Some(&stranger)] {
        let client = agent.authority.client(own, agent.protocol);
        assert!(client.get(agent.url("/v1/identity")).send().await.is_err());
    }
    let identity: Identity = agent.call(Method::GET, "/v1/identity").await;
    assert_eq!(
        (identity.model.as_str(), identity.context_length as usize),
        ("smollm2", CONTEXT)
    );
}

#[tokio::test]
async fn what_is_not_an_attempt_is_refused_with_a_reason_and_without_its_content() {
    let agent = Agent::start().await;
    let put = async |path: &str, body: Value| {
        let response = agent
            .client
            .put(agent.url(path))
            .json(&body)
            .send()
            .await
            .expect("an answer");
        (response.status(), response.text().await.expect("text"))
    };
    let (status, message) = put("/v1/jobs/bad/1", json!({"model": ["secret words"]})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(!message.contains("secret words"), "{message}");
    let valid = serde_json::to_value(attempt([json!({"prompt": "Hi"})])).expect("JSON");
    let changed = |field: &str, value: Value| {
        let mut body = valid.clone();
        body[field] = value;
        body
    };
    for (field, value) in [
        ("model", json!("other")),
        ("requests", json!([])),
        ("parallelism", json!(0)),
    ] {
        let (status, message) = put("/v1/jobs/bad/1", changed(field, value)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{field}: {message}");
    }
    assert_eq!(
        put("/v1/jobs/bad/0", valid.clone()).await.0,
        StatusCode::BAD_REQUEST
    );
    let huge = changed(
        "requests",
        json!([{"index": 0, "body": {"prompt": "x".repeat(2 << 20)}}]),
    );
    assert_eq!(put("/v1/jobs/bad/1", huge).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let missing = agent
        .client
        .get(agent.url("/v1/jobs/bad/1"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn probes_and_metrics_need_no_certificate() {
    let agent = Agent::start().await;
    let get = async |path: &str| {
        let response = reqwest::get(format!("http://{}{path}", agent.probes))
            .await
            .expect("an answer");
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.text().await.expect("text")
    };
    get("/healthz").await;
    get("/readyz").await;
    let metrics = get("/metrics").await;
    assert!(
        metrics.contains("cocoon_agent_completion_tokens_total{model=\"smollm2\"}"),
        "{metrics}"
    );
}
