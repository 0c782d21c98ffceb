//! The page over a connection, on loopback.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use super::objects::Objects;
use crate::page::{Page, serve};

/// The page of a farm, or of an operator that waits, on a free port.
async fn page(objects: Option<&Objects>) -> (SocketAddr, CancellationToken) {
    let page = Arc::new(Page::default());
    if let Some(objects) = objects {
        page.show(objects.stores());
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, page, stop.child_token()));
    (address, stop)
}

/// What is answered to these bytes until the connection ends.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

async fn ask(address: SocketAddr, method: &str, path: &str, host: &str) -> (String, String) {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = raw(address, &request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_ascii_lowercase(), body.to_owned())
}

const PATHS: [&str; 5] = ["/", "/offers", "/jobs?page=1", "/channels", "/settlements"];

#[tokio::test]
async fn every_answer_has_the_headers_that_keep_it_here() {
    let (address, _stop) = page(Some(&Objects::farm())).await;
    let asked = PATHS.map(|path| ("GET", path)).into_iter();
    let others = [
        ("GET", "/nosuch"),
        ("POST", "/"),
        ("GET", "/jobs?page=x"),
        ("HEAD", "/jobs"),
    ];
    for (method, path) in asked.chain(others) {
        let (head, body) = ask(address, method, path, "localhost:1").await;
        for header in [
            "content-security-policy: default-src 'none'; style-src 'sha256-",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
            "content-type: text/html; charset=utf-8",
        ] {
            assert!(head.contains(header), "{method} {path} without {header}: {head}");
        }
        assert!(
            !head.contains("access-control-") && !head.contains("set-cookie"),
            "{head}"
        );
        assert_eq!(body.is_empty(), method == "HEAD", "{method} {path}");
    }
}

#[tokio::test]
async fn views_are_read_and_nothing_else_is_taken() {
    let (address, _stop) = page(Some(&Objects::farm())).await;
    for path in PATHS {
        let (head, body) = ask(address, "GET", path, "localhost").await;
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
        assert!(body.starts_with("<!DOCTYPE html>"), "{path}: {body}");
        let (head, _) = ask(address, "HEAD", path, "localhost").await;
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "NONSENSE"] {
            let (head, _) = ask(address, method, path, "localhost").await;
            assert!(
                head.starts_with("http/1.1 405") && head.contains("allow: get, head"),
                "{method} {path}: {head}"
            );
        }
    }
    for path in ["/nosuch", "/jobs/a", "/metrics", "/..%2f", "//"] {
        let (head, _) = ask(address, "GET", path, "localhost").await;
        assert!(head.starts_with("http/1.1 404"), "{path}: {head}");
    }
    for page in ["x", "-1", "1.5", "99999999999999999999999"] {
        let (head, body) = ask(address, "GET", &format!("/jobs?page={page}"), "localhost").await;
        assert!(head.starts_with("http/1.1 400"), "{page}: {head}");
        assert!(
            !body.contains(&format!("{page}<")),
            "what was asked is not repeated"
        );
    }
}

#[tokio::test]
async fn a_name_that_somebody_has_point_to_this_machine_is_refused() {
    let (address, _stop) = page(Some(&Objects::farm())).await;
    for host in [
        "localhost",
        "LOCALHOST:8088",
        "127.0.0.1",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:8088",
    ] {
        let (head, _) = ask(address, "GET", "/", host).await;
        assert!(head.starts_with("http/1.1 200"), "{host}: {head}");
    }
    for host in [
        "evil.example",
        "evil.example:8088",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1:8088",
        "",
        ":1",
    ] {
        let (head, body) = ask(address, "GET", "/", host).await;
        assert!(
            head.starts_with("http/1.1 421") || head.starts_with("http/1.1 400"),
            "{host}: {head}"
        );
        assert!(!body.contains("own-job"), "{host} reads the page");
    }
    let without = raw(address, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(without.starts_with("HTTP/1.0 421"), "{without}");
}

#[tokio::test]
async fn an_operator_that_does_not_lead_says_so() {
    let (address, _stop) = page(None).await;
    let (head, body) = ask(address, "GET", "/", "localhost").await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert!(body.contains("waits for its turn"), "{body}");
}

#[tokio::test]
async fn a_head_that_is_too_long_ends_its_connection_and_no_other() {
    let (address, _stop) = page(Some(&Objects::farm())).await;
    let long = "a".repeat(64 * 1024);
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may close before all of it was sent.
    let _ = stream
        .write_all(format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
        .await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(
        !answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let (head, _) = ask(address, "GET", "/", "localhost").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
}

/// Sixteen who say nothing take all places, and lose them.
#[tokio::test(start_paused = true)]
async fn connections_that_ask_for_nothing_give_their_places_back() {
    let (address, _stop) = page(Some(&Objects::farm())).await;
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let answered = tokio::time::timeout(Duration::from_mins(2), ask(address, "GET", "/", "localhost")).await;
    let (head, _) = answered.expect("a place came free");
    assert!(head.starts_with("http/1.1 200"), "{head}");
}

#[tokio::test]
async fn it_ends_when_it_is_told_to() {
    let (address, stop) = page(None).await;
    stop.cancel();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
