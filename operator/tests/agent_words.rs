//! What an agent says goes no further than its codes: an agent that answers anything at all, over HTTP.

use axum::{
    Router,
    body::Body,
    http::{Method, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use cocoon_api::agent::RefusalCode;
use cocoon_core::job::follower::AgentFault;
use cocoon_operator::{
    dispatch::{AgentClient, ClientError},
    error::chain,
};

const CANARY: &str = "canary-7f3a";

/// Job UIDs say how the agent answers.
async fn answer(method: Method, uri: Uri) -> Response {
    let refused = |status: u16| {
        let status = StatusCode::from_u16(status).expect("a status");
        (status, format!("{{\"message\":\"{CANARY}\"}}")).into_response()
    };
    let path = uri.path().to_owned();
    let job = path.split('/').nth(3).unwrap_or_default().to_owned();
    match job.as_str() {
        "shape" => format!("{{\"agent\": \"{CANARY}\"}}").into_response(),
        "text" => CANARY.to_owned().into_response(),
        "long" => Body::from(CANARY.repeat(10_000)).into_response(),
        "line" => format!("\n{{\"position\": \"{CANARY}\"}}\n").into_response(),
        "endless" => Body::from(CANARY.repeat(200_000)).into_response(),
        code => {
            assert!(method == Method::GET || method == Method::DELETE);
            refused(code.parse().expect("a status"))
        }
    }
}

async fn agent() -> AgentClient {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    AgentClient::new(reqwest::Client::new(), base)
}

fn told(error: &ClientError) -> String {
    let told = chain(error);
    assert!(!told.contains("canary"), "{told}");
    told
}

#[tokio::test]
async fn a_refusal_is_its_code() {
    let agent = agent().await;
    for (status, code) in [
        ("400", RefusalCode::Malformed),
        ("403", RefusalCode::Forbidden),
        ("409", RefusalCode::Conflict),
        ("422", RefusalCode::Unfit),
        ("429", RefusalCode::Busy),
        ("500", RefusalCode::Failed),
        ("503", RefusalCode::Busy),
    ] {
        let error = agent.cancel(status, 1).await.expect_err("refused");
        assert_eq!(error.fault(), AgentFault::Refused(code), "{status}");
        assert!(told(&error).ends_with(code.words()), "{status}");
    }
    assert_eq!(agent.progress("404", 1).await.expect("an answer"), None);
}

#[tokio::test]
async fn an_answer_that_breaks_the_protocol_is_not_repeated() {
    let agent = agent().await;
    for job in ["shape", "text", "long"] {
        let error = agent.progress(job, 1).await.expect_err("no progress");
        assert_eq!(error.fault(), AgentFault::Broken, "{job}: {}", told(&error));
    }
    let mut lines = agent.results("line", 1).await.expect("a stream");
    assert!(matches!(lines.next().await, Ok(Some(None))), "a sign of life");
    let error = lines.next().await.expect_err("no result");
    assert!(told(&error).contains("column"), "{}", told(&error));
    let mut endless = agent.results("endless", 1).await.expect("a stream");
    let error = endless.next().await.expect_err("no end");
    assert_eq!(error.fault(), AgentFault::Broken);
    assert!(told(&error).contains("exceeds"), "{}", told(&error));
}
