//! Downloads from servers that break, lie, redirect and stall.

mod answers;
mod resumed;
mod server;

use std::{os::unix::fs::MetadataExt as _, time::Duration};

use cocoon_api::agent::{FetchFault, FetchStage};
use reqwest::header::HeaderMap;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::*;
use crate::cache::{
    Cache,
    part::{Part, Validator},
};
use server::{Reply, Server};

/// More than any test downloads, and little enough that a lie stands out.
const LIMIT: u64 = 1 << 24;

fn patience() -> Patience {
    Patience {
        connect: Duration::from_secs(5),
        quiet: Duration::from_secs(5),
        least_bytes: 1024,
        attempts: 2,
        backoff: Duration::from_millis(1),
    }
}

fn content() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn sha256(content: &[u8]) -> [u8; 32] {
    Sha256::digest(content).into()
}

fn folder() -> (TempDir, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let owner = std::fs::metadata(folder.path()).unwrap().uid();
    let cache = Cache::open(folder.path(), owner).unwrap();
    (folder, cache)
}

fn order(server: &Server, sha256: [u8; 32]) -> Order {
    Order {
        source: Source::new(
            &server.url("/m.gguf?signature=canary-7f3a"),
            HeaderMap::new(),
            &patience(),
        )
        .unwrap(),
        sha256,
        limit: LIMIT,
    }
}

async fn fetched(server: &Server, cache: &Cache, sha256: [u8; 32]) -> Result<(), FetchError> {
    onto_node(&order(server, sha256), cache, &patience(), &Progress::default()).await
}

/// The fault with which a download ends, whose words do not hold the address's signature.
async fn fault(server: &Server, cache: &Cache, sha256: [u8; 32]) -> FetchFault {
    let error = fetched(server, cache, sha256).await.expect_err("it fails");
    assert!(!error.to_string().contains("canary"), "{error}");
    error.fault()
}

/// Answers as a file server does: ranges, and a tag by which the file is known.
fn serve(content: &[u8], tag: &str, head: &str) -> Reply {
    let asked = head
        .lines()
        .find_map(|line| line.strip_prefix("range: bytes="))
        .and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok());
    let is_same = head
        .lines()
        .find_map(|line| line.strip_prefix("if-range: "))
        .is_none_or(|name| name == tag);
    match asked.filter(|_| is_same) {
        Some(from) if from < content.len() => Reply::new(
            206,
            &format!(
                "etag: {tag}\r\ncontent-range: bytes {from}-{}/{}\r\ncontent-length: {}\r\n",
                content.len() - 1,
                content.len(),
                content.len() - from
            ),
            &content[from..],
        ),
        Some(_) => Reply::new(416, "content-length: 0\r\n", b""),
        None => Reply::new(
            200,
            &format!("etag: {tag}\r\ncontent-length: {}\r\n", content.len()),
            content,
        ),
    }
}

#[tokio::test]
async fn a_model_is_downloaded_once_and_verified() {
    let (_folder, cache) = folder();
    let content = content();
    let digest = sha256(&content);
    let body = content.clone();
    let server = Server::start(move |_, head| serve(&body, "\"1\"", head)).await;
    fetched(&server, &cache, digest).await.unwrap();
    let path = cache.find(&digest).unwrap().expect("a copy");
    assert_eq!(std::fs::read(path).unwrap(), content);
    fetched(&server, &cache, digest).await.unwrap();
    let heads = server.heads();
    assert_eq!(heads.len(), 1, "{heads:?}");
    assert!(
        heads[0].starts_with("GET /m.gguf?signature=canary-7f3a HTTP/1.1"),
        "{heads:?}"
    );
}

#[tokio::test]
async fn a_file_with_another_digest_is_removed_and_named() {
    let (folder, cache) = folder();
    let server = Server::start(|_, head| serve(b"<html>sign in</html>", "\"1\"", head)).await;
    let wanted = sha256(b"model");
    let error = fetched(&server, &cache, wanted).await.expect_err("another file");
    assert_eq!(error.fault(), FetchFault::DigestMismatch);
    let words = error.to_string();
    assert!(
        words.contains(&hex::encode(wanted)) && words.contains(&hex::encode(sha256(b"<html>sign in</html>"))),
        "{words}"
    );
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with("lock"))
        .collect();
    assert_eq!(left, [""; 0], "nothing of it is left");
}

#[tokio::test]
async fn a_refusal_is_its_status_and_a_busy_server_is_asked_again() {
    let (_folder, cache) = folder();
    let content = content();
    let digest = sha256(&content);
    for (status, requests) in [
        (404, 1),
        (401, 1),
        (403, 1),
        (410, 1),
        (302, 1),
        (503, 3),
        (429, 3),
    ] {
        let server = Server::start(move |_, _| Reply::new(status, "content-length: 6\r\n", b"canary")).await;
        let expected = if status == 302 {
            FetchFault::RedirectRefused
        } else {
            FetchFault::HttpStatus(status)
        };
        assert_eq!(fault(&server, &cache, digest).await, expected);
        assert_eq!(server.heads().len(), requests, "{status}");
    }
    let body = content.clone();
    let server = Server::start(move |number, head| {
        if number < 2 {
            Reply::new(503, "content-length: 0\r\n", b"")
        } else {
            serve(&body, "\"1\"", head)
        }
    })
    .await;
    fetched(&server, &cache, digest).await.unwrap();
    assert_eq!(fault_of_nobody(&cache).await, FetchFault::Unreachable);
}

/// What a port is told where nobody listens.
async fn fault_of_nobody(cache: &Cache) -> FetchFault {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/m.gguf", listener.local_addr().unwrap());
    drop(listener);
    let order = Order {
        source: Source::new(&url, HeaderMap::new(), &patience()).unwrap(),
        sha256: [9; 32],
        limit: LIMIT,
    };
    let done = onto_node(&order, cache, &patience(), &Progress::default()).await;
    done.expect_err("nobody listens").fault()
}

#[tokio::test]
async fn redirects_are_followed_without_the_secrets_headers_and_not_for_ever() {
    let (_folder, cache) = folder();
    let content = content();
    let digest = sha256(&content);
    let body = content.clone();
    let mirror = Server::start(move |_, head| serve(&body, "\"1\"", head)).await;
    let target = mirror.url("/signed?token=canary-7f3a");
    let server = Server::start(move |number, _| {
        let to = if number == 0 {
            "/next".to_owned()
        } else {
            target.clone()
        };
        Reply::new(302, &format!("location: {to}\r\ncontent-length: 0\r\n"), b"")
    })
    .await;
    let (key, value) = header("Authorization", b"Bearer canary-7f3a\n").unwrap();
    let headers = HeaderMap::from_iter([(key, value)]);
    let order = Order {
        source: Source::new(&server.url("/m.gguf"), headers, &patience()).unwrap(),
        sha256: digest,
        limit: LIMIT,
    };
    assert!(!format!("{order:?}").contains("canary"), "{order:?}");
    onto_node(&order, &cache, &patience(), &Progress::default())
        .await
        .unwrap();
    let heads = server.heads();
    assert!(
        heads.len() == 2
            && heads
                .iter()
                .all(|head| head.contains("authorization: Bearer canary"))
    );
    assert!(mirror.heads().iter().all(|head| !head.contains("authorization")));

    let circle =
        Server::start(|_, _| Reply::new(301, "location: /m.gguf\r\ncontent-length: 0\r\n", b"")).await;
    assert_eq!(fault(&circle, &cache, [1; 32]).await, FetchFault::RedirectRefused);
}

#[tokio::test]
async fn a_server_that_goes_quiet_or_trickles_is_left_and_asked_again() {
    let (_folder, cache) = folder();
    let digest = sha256(&content());
    let hurried = Patience {
        quiet: Duration::from_millis(100),
        ..patience()
    };
    for trickle in [false, true] {
        let content = content();
        let server = Server::start(move |_, head| {
            let reply = serve(&content, "\"1\"", head).cut_to(2_000);
            if trickle {
                reply.and_trickle()
            } else {
                reply.and_hang()
            }
        })
        .await;
        let order = order(&server, digest);
        let done = onto_node(&order, &cache, &hurried, &Progress::default()).await;
        assert_eq!(done.expect_err("too slow").fault(), FetchFault::Stalled);
        assert!(server.heads().len() > 1, "it is asked again");
    }
    let deaf = Server::start(|_, _| Reply::nothing()).await;
    let done = onto_node(&order(&deaf, digest), &cache, &hurried, &Progress::default()).await;
    assert_eq!(done.expect_err("no answer").fault(), FetchFault::Stalled);
}

#[tokio::test]
async fn a_server_that_lies_about_lengths_gets_no_more_than_is_allowed() {
    let (_folder, cache) = folder();
    let mut other = Part::open(&cache, sha256(b"other"), cache.lock(&sha256(b"other")).unwrap()).unwrap();
    other.write(b"other").unwrap();
    other.publish().unwrap();
    cache
        .touch(
            &sha256(b"other"),
            std::time::SystemTime::now() - Duration::from_hours(1),
        )
        .unwrap();
    // More than there is.
    let short = Server::start(|_, _| Reply::new(200, "content-length: 5000\r\n", b"short")).await;
    assert_eq!(fault(&short, &cache, [1; 32]).await, FetchFault::Broken);
    // More than all models may be, said and unsaid.
    let huge =
        Server::start(|_, _| Reply::new(200, "content-length: 9000000000000000000\r\n", b"huge")).await;
    assert_eq!(fault(&huge, &cache, [2; 32]).await, FetchFault::TooLarge);
    assert!(
        cache.find(&sha256(b"other")).unwrap().is_some(),
        "a lie evicts nothing"
    );
    let endless = Server::start(|_, _| Reply::endless()).await;
    assert_eq!(fault(&endless, &cache, [3; 32]).await, FetchFault::TooLarge);
    // A range that was not asked for, and one that is another.
    let range = "content-range: bytes 5-9/10\r\ncontent-length: 5\r\n";
    let unasked = Server::start(move |_, _| Reply::new(206, range, b"range")).await;
    assert_eq!(fault(&unasked, &cache, [4; 32]).await, FetchFault::Malformed);
    // A file that is another at every request.
    let content = content();
    let fickle = Server::start(move |number, head| {
        if head.contains("range:") {
            Reply::new(416, "content-length: 0\r\n", b"")
        } else {
            serve(&content, &format!("\"{number}\""), head).cut_to(2_000)
        }
    })
    .await;
    let patient = Patience {
        attempts: 9,
        ..patience()
    };
    let done = onto_node(&order(&fickle, [5; 32]), &cache, &patient, &Progress::default()).await;
    assert_eq!(done.expect_err("never the same").fault(), FetchFault::Malformed);
}

#[tokio::test]
async fn two_downloads_of_one_file_at_once_are_one() {
    let (_folder, cache) = folder();
    let content = content();
    let digest = sha256(&content);
    let body = content.clone();
    let server = Server::start(move |_, head| serve(&body, "\"1\"", head)).await;
    let (first, second) = (order(&server, digest), order(&server, digest));
    let (patience, progress) = (patience(), Progress::default());
    let (first, second) = tokio::join!(
        onto_node(&first, &cache, &patience, &progress),
        onto_node(&second, &cache, &patience, &progress)
    );
    first.unwrap();
    second.unwrap();
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test]
async fn a_file_without_a_length_is_taken_to_its_end() {
    let (_folder, cache) = folder();
    let server = Server::start(|_, _| Reply::chunked(b"model")).await;
    fetched(&server, &cache, sha256(b"model")).await.unwrap();
    assert!(cache.find(&sha256(b"model")).unwrap().is_some());
}

#[tokio::test]
async fn a_head_has_the_whole_files_digest_and_length() {
    let content = content();
    let body = content.clone();
    let server = Server::start(move |number, head| {
        let reply = serve(&body, "\"1\"", head);
        if number == 0 { reply.cut_to(400_000) } else { reply }
    })
    .await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut head = Head::new(file.reopen().unwrap());
    let source = Source::new(&server.url("/m"), HeaderMap::new(), &patience()).unwrap();
    transfer(&source, &mut head, &patience(), &Progress::default())
        .await
        .unwrap();
    assert_eq!(head.finish().unwrap(), sha256(&content));
    assert_eq!(std::fs::read(file.path()).unwrap(), content);
}

#[test]
fn an_address_with_credentials_or_of_another_kind_is_refused_unquoted() {
    for url in [
        "https://user:canary@host/m",
        "https://canary@host/m",
        "ftp://host/canary",
        "file:///canary",
        "canary",
    ] {
        let error = Source::new(url, HeaderMap::new(), &patience()).expect_err("refused");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
    let source = Source::new("http://host:81/m?token=canary", HeaderMap::new(), &patience()).unwrap();
    assert_eq!(source.host(), "host:81");
}

#[test]
fn a_validator_of_another_address_is_another_files() {
    let validator = Validator {
        address: "x".into(),
        name: None,
        total: Some(1),
    };
    assert_eq!(
        Validator::parse(&serde_json::to_vec(&validator).unwrap()),
        Some(validator)
    );
}
