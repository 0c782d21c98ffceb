//! Who may ask, and what is refused before it runs.

use cocoon_api::agent::{Credential, Identity};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::agent::{Agent, Authority, CONTEXT, attempt};

#[tokio::test]
async fn clients_without_a_certificate_of_the_authority_are_refused() {
    let agent = Agent::start().await;
    let stranger = Authority::new();
    for own in [None, Some(&stranger)] {
        let client = Authority::client(own, agent.protocol);
        for path in ["/v1/identity", "/v1/credential"] {
            assert!(client.get(agent.url(path)).send().await.is_err(), "{path}");
        }
    }
    let identity: Identity = agent.call(Method::GET, "/v1/identity").await;
    assert_eq!(
        (identity.model.as_str(), identity.context_length as usize),
        ("smollm2", CONTEXT)
    );
}

#[tokio::test]
async fn the_token_is_told_as_the_file_holds_it_now_and_its_faults_without_its_content() {
    let agent = Agent::start().await;
    let credential: Credential = agent.call(Method::GET, "/v1/credential").await;
    assert_eq!(credential.token, "first");
    assert!(!format!("{credential:?}").contains("first"));
    let file = agent.authority.server_files().token;
    std::fs::write(&file, "second").expect("writable");
    let credential: Credential = agent.call(Method::GET, "/v1/credential").await;
    assert_eq!(credential.token, "second");
    let long = "canary-7f3a".repeat(2_000);
    for unusable in [&b" \n"[..], b"canary-7f3a\xff", long.as_bytes()] {
        std::fs::write(&file, unusable).expect("writable");
        let answer = agent.client.get(agent.url("/v1/credential")).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let said = answer.text().await.expect("text");
        assert!(!said.contains("canary"), "{said}");
    }
}

#[tokio::test]
async fn every_process_has_a_certificate_of_its_own() {
    let (one, other) = (Agent::start().await, Agent::start().await);
    let certificate = async |agent: &Agent| {
        let answer = agent.client.get(agent.url("/v1/identity")).send().await;
        let answer = answer.expect("an answer");
        let info = answer.extensions().get::<reqwest::tls::TlsInfo>();
        let shown = info.and_then(reqwest::tls::TlsInfo::peer_certificate);
        shown.expect("a certificate").to_vec()
    };
    assert_ne!(certificate(&one).await, certificate(&other).await);
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
