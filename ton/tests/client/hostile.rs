//! Endpoints that answer what no honest one would: every lie is an error, none a panic or a wrong belief.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use cocoon_ton::client::{MAX_RESPONSE_BYTES, MAX_STACK_ENTRIES};
use cocoon_ton::message::InternalMessage;
use cocoon_ton::{ApiKey, ChainClient, ClientError, Network};
use serde_json::{Value, json};
use tycho_types::models::StdAddr;
use tycho_types::prelude::{Boc, HashBytes};

use crate::network::{Local, nano, nowhere};

/// Serves one answer to every request.
async fn endpoint(status: StatusCode, body: impl Into<String>) -> ChainClient {
    let body: Arc<str> = body.into().into();
    let answer = move || async move { (status, body.to_string()) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address: SocketAddr = listener.local_addr().expect("its address");
    tokio::spawn(
        async move { axum::serve(listener, Router::new().route("/api/v2/jsonRPC", post(answer))).await },
    );
    ChainClient::new(&Network::TESTBED, &format!("http://{address}/api/v2"), None).expect("client")
}

async fn answering(result: Value) -> ChainClient {
    endpoint(
        StatusCode::OK,
        json!({ "ok": true, "result": result }).to_string(),
    )
    .await
}

fn is_bad_response<T: std::fmt::Debug>(result: Result<T, ClientError>) -> &'static str {
    match result {
        Err(ClientError::BadResponse { what, .. }) => what,
        other => panic!("a bad response, not {other:?}"),
    }
}

fn account(change: impl FnOnce(&mut Value)) -> Value {
    let hash = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let mut account = json!({
        "balance": "5", "state": "uninitialized", "code": "", "data": "",
        "last_transaction_id": {"lt": "0", "hash": hash}, "block_id": {"seqno": 7},
    });
    change(&mut account);
    account
}

#[tokio::test]
async fn an_honest_account_is_read() {
    let client = answering(account(|_| ())).await;
    assert_eq!(
        client.account(&nowhere()).await.expect("account").balance,
        nano(5)
    );
}

#[tokio::test]
async fn accounts_with_impossible_fields_are_refused() {
    let lies: [(&str, Value, &str); 9] = [
        ("balance", json!("18446744073709551616"), "balance"),
        ("balance", json!(1.5), "balance"),
        ("balance", json!({}), "balance"),
        ("state", json!("rich"), "state"),
        ("state", json!("active"), "code"),
        ("last_transaction_id", json!({"lt": "1", "hash": "AAAA"}), "hash"),
        ("last_transaction_id", json!({"lt": "-1", "hash": ""}), "lt"),
        ("block_id", json!({"seqno": 4_294_967_296_u64}), "seqno"),
        ("block_id", json!([]), "seqno"),
    ];
    for (field, lie, what) in lies {
        let client = answering(account(|account| account[field] = lie)).await;
        assert_eq!(is_bad_response(client.account(&nowhere()).await), what, "{field}");
    }
}

#[tokio::test]
async fn stacks_with_impossible_entries_are_refused() {
    let entries = [
        json!(["num", "0x"]),
        json!(["num", "12"]),
        json!(["num", format!("0x{}", "f".repeat(66))]),
        json!(["num", 5]),
        json!(["cell", {"bytes": "te6c"}]),
        json!(["cell", {}]),
        json!(["num"]),
        json!("num"),
    ];
    for entry in entries {
        let client = answering(json!({ "exit_code": 0, "stack": [entry] })).await;
        assert_eq!(
            is_bad_response(client.run_get_method(&nowhere(), "seqno").await),
            "stack entry",
            "{entry}"
        );
    }
    let many = vec![json!(["num", "0x1"]); MAX_STACK_ENTRIES + 1];
    let client = answering(json!({ "exit_code": 0, "stack": many })).await;
    assert_eq!(
        is_bad_response(client.run_get_method(&nowhere(), "seqno").await),
        "stack of bearable size"
    );
}

#[tokio::test]
async fn answers_that_are_no_results_are_refused() {
    for body in [
        "",
        "null",
        "[]",
        "not json",
        "{\"ok\":true}",
        &"[".repeat(100_000),
    ] {
        let client = endpoint(StatusCode::OK, body).await;
        is_bad_response(client.global_id().await);
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let client = endpoint(StatusCode::OK, " ".repeat(MAX_RESPONSE_BYTES + 1)).await;
    assert_eq!(
        is_bad_response(client.global_id().await),
        "answer of bearable size"
    );
}

#[tokio::test]
async fn too_many_requests_are_told_apart_from_trouble() {
    let client = endpoint(StatusCode::TOO_MANY_REQUESTS, "").await;
    assert!(matches!(
        client.global_id().await,
        Err(ClientError::RateLimited { .. })
    ));
    let body = json!({ "ok": false, "error": "LITE_SERVER_NOTREADY: block is not in db", "code": 500 });
    let client = endpoint(StatusCode::INTERNAL_SERVER_ERROR, body.to_string()).await;
    assert!(matches!(
        client.global_id().await,
        Err(ClientError::EndpointUnavailable { .. })
    ));
    let body = json!({ "ok": false, "error": "parameter address is missing", "code": 422 });
    let client = endpoint(StatusCode::UNPROCESSABLE_ENTITY, body.to_string()).await;
    assert!(matches!(
        client.global_id().await,
        Err(ClientError::Rejected { .. })
    ));
}

#[tokio::test]
async fn a_long_refusal_is_cut() {
    let body = json!({ "ok": false, "error": format!("no\n{}", "x".repeat(100_000)), "code": 422 });
    let client = endpoint(StatusCode::UNPROCESSABLE_ENTITY, body.to_string()).await;
    let Err(ClientError::Rejected { reason, .. }) = client.global_id().await else {
        panic!("rejected")
    };
    assert!(reason.len() <= 300 && !reason.contains('\n'));
}

#[tokio::test]
async fn transactions_of_another_account_or_out_of_line_are_refused() {
    // Real transactions of a real wallet, served under false pretences.
    let local = Local::start();
    local
        .send(InternalMessage::transfer(nowhere(), nano(1_000_000)))
        .await;
    local
        .send(InternalMessage::transfer(nowhere(), nano(1_000_000)))
        .await;
    let address = local.wallet.address();
    let account = StdAddr::new(0, HashBytes(address.account));
    let page: Vec<Value> = local.chain.network().read(|chain| {
        let newest = chain.transactions(&account, None).take(3);
        newest
            .map(|record| json!({ "data": Boc::encode_base64(&record.cell) }))
            .collect()
    });
    assert_eq!(page.len(), 3);

    let honest = answering(Value::from(page.clone())).await;
    let transactions = honest.transactions(&address, None, 3).await.expect("honest");
    assert_eq!(transactions.len(), 3);
    assert_eq!(
        is_bad_response(honest.transactions(&nowhere(), None, 3).await),
        "transaction of the account asked for"
    );
    assert_eq!(
        is_bad_response(honest.transactions(&address, None, 2).await),
        "list of transactions within the limit"
    );

    let gap = answering(json!([page[0], page[2]])).await;
    assert_eq!(
        is_bad_response(gap.transactions(&address, None, 3).await),
        "chain of transactions"
    );
    let swapped = answering(json!([page[1], page[0]])).await;
    assert_eq!(
        is_bad_response(swapped.transactions(&address, None, 3).await),
        "chain of transactions"
    );
    let broken = answering(json!([{ "data": page[0]["data"].as_str().expect("data")[..40] }])).await;
    assert_eq!(
        is_bad_response(broken.transactions(&address, None, 3).await),
        "data"
    );
}

fn key() -> ApiKey {
    ApiKey::parse("top-secret").expect("a key")
}

#[test]
fn unusable_endpoints_are_refused_before_anything_is_sent() {
    let urls = [
        "",
        "toncenter.com",
        "ftp://toncenter.com/api/v2",
        "http://",
        "https://toncenter.com/api/v2?api_key=top-secret",
        "https://user:top-secret@toncenter.com/api/v2",
        "http://toncenter.com/api/v2/top-secret",
        "http://10.0.0.1/api/v2",
        "http://127.0.0.1.example.com/api/v2",
    ];
    for url in urls {
        let error = ChainClient::new(&Network::MAINNET, url, Some(&key())).expect_err("unusable");
        assert!(
            matches!(error, ClientError::InvalidEndpoint { .. }),
            "{url}: {error}"
        );
        assert!(!format!("{error} {error:?}").contains("top-secret"), "{error}");
    }
    for url in [
        "https://toncenter.com/api/v2",
        "https://toncenter.com/api/v2/",
        "https://toncenter.com/api/v2/jsonRPC",
        "http://127.0.0.1:1/api/v2",
        "http://[::1]:1/api/v2",
        "http://localhost:1/api/v2",
    ] {
        ChainClient::new(&Network::MAINNET, url, Some(&key())).expect("usable");
    }
}

#[test]
fn plain_http_beyond_loopback_is_for_the_testbeds_network_and_carries_no_key() {
    let url = "http://10.0.0.1:18081/api/v2";
    ChainClient::new(&Network::TESTBED, url, None).expect("coins of nobody");
    ChainClient::new(&Network::TESTBED, url, Some(&key())).expect_err("a key in the open");
    for network in [Network::MAINNET, Network::TESTNET, Network::new("lab", -5)] {
        ChainClient::new(&network, url, None).expect_err("anybody could answer");
    }
}

#[test]
fn a_key_that_no_header_holds_is_refused_without_being_repeated() {
    for text in ["", " \n", "top-secret\nkey", &"top-secret".repeat(200)] {
        let error = ApiKey::parse(text).expect_err("no key");
        assert!(!format!("{error} {error:?}").contains("top-secret"), "{error}");
    }
    ApiKey::parse(" key\n").expect("as a file holds it");
    ApiKey::parse("\u{feff}key\r\n").expect("as an editor saves it");
}

#[test]
fn neither_key_nor_path_is_printed() {
    let url = "https://ton.example.org:8443/path-key/api/v2";
    let client = ChainClient::new(&Network::MAINNET, url, Some(&key())).expect("usable");
    assert_eq!(client.endpoint(), "ton.example.org:8443");
    let printed = format!("{client:?} {:?}", key());
    assert!(
        !printed.contains("path-key") && !printed.contains("top-secret"),
        "{printed}"
    );
}

#[tokio::test]
async fn the_key_goes_along_as_a_header_and_an_error_does_not_repeat_it() {
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let answer = {
        let heard = heard.clone();
        move |headers: axum::http::HeaderMap| async move {
            let key = headers
                .get("x-api-key")
                .and_then(|key| key.to_str().ok())
                .map(str::to_owned);
            heard.lock().expect("no panic").push(key);
            (StatusCode::FORBIDDEN, "{}")
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("its address");
    let routes = Router::new().route("/path-key/api/v2/jsonRPC", post(answer));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let url = format!("http://{address}/path-key/api/v2");
    let client = ChainClient::new(&Network::MAINNET, &url, Some(&key())).expect("usable");
    let error = client.head().await.expect_err("forbidden");
    let printed = format!("{error} {error:?}");
    assert!(
        !printed.contains("top-secret") && !printed.contains("path-key"),
        "{printed}"
    );
    assert_eq!(*heard.lock().expect("no panic"), [Some("top-secret".to_owned())]);
}
