//! Heads of answers, and what they may make a download do.

use proptest::prelude::*;
use reqwest::{
    Url,
    header::{
        CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue,
        LAST_MODIFIED, LOCATION,
    },
};

use super::*;
use crate::fetch::answer::validator;

fn read(status: u16, headers: &[(HeaderName, &str)], asked: u64, known: Option<u64>) -> Answer {
    let headers = headers
        .iter()
        .map(|(name, text)| (name.clone(), HeaderValue::from_str(text).unwrap()))
        .collect();
    Answer::read(
        &Url::parse("https://host/a/m").unwrap(),
        status,
        &headers,
        asked,
        known,
    )
}

#[test]
fn a_range_is_taken_where_it_was_asked_for_and_of_the_same_file() {
    let range = |text, asked, known| read(206, &[(CONTENT_RANGE, text)], asked, known);
    let take = |from, total| Answer::Take { from, total };
    assert_eq!(range("bytes 5-9/10", 5, None), take(5, Some(10)));
    assert_eq!(range("bytes 5-9/*", 5, Some(10)), take(5, Some(10)));
    assert_eq!(range("bytes 5-9/10", 5, Some(11)), Answer::Restart);
    for (text, asked) in [
        ("bytes 4-9/10", 5),
        ("bytes 0-9/10", 0),
        ("bytes 9-5/10", 9),
        ("bytes 5-10/10", 5),
        ("bytes 5-9/+10", 5),
        ("bytes 5-9/99999999999999999999", 5),
        ("bytes */10", 5),
        ("items 5-9/10", 5),
        ("", 5),
    ] {
        assert_eq!(
            range(text, asked, None),
            Answer::Refused(FetchFault::Malformed),
            "{text}"
        );
    }
    assert_eq!(read(200, &[(CONTENT_LENGTH, "10")], 5, None), take(0, Some(10)));
    assert_eq!(read(416, &[], 5, None), Answer::Restart);
    assert_eq!(
        read(416, &[], 0, None),
        Answer::Refused(FetchFault::HttpStatus(416))
    );
}

#[test]
fn a_file_that_comes_encoded_is_refused_before_a_byte_of_it_is_taken() {
    for coding in ["gzip", "identity, br", "x-unknown"] {
        for (status, asked) in [(200, 0), (206, 5)] {
            let headers = [(CONTENT_ENCODING, coding), (CONTENT_RANGE, "bytes 5-9/10")];
            let answer = read(status, &headers, asked, None);
            assert_eq!(answer, Answer::Refused(FetchFault::Encoded), "{coding}");
        }
    }
    let plain = [(CONTENT_ENCODING, "Identity"), (CONTENT_LENGTH, "10")];
    let taken = Answer::Take {
        from: 0,
        total: Some(10),
    };
    assert_eq!(read(200, &plain, 0, None), taken);
}

#[test]
fn a_redirect_leads_to_the_web_and_never_from_https_to_http() {
    let from = |url: &str, to: &str| follow(&Url::parse(url).unwrap(), to).map(|url| url.to_string());
    for (url, to, end) in [
        ("https://host/a/m", "b", "https://host/a/b"),
        ("https://host/a/m", "//other/b", "https://other/b"),
        ("http://host/m", "https://host/m", "https://host/m"),
        ("http://host/m", "http://other:81/m", "http://other:81/m"),
    ] {
        assert_eq!(from(url, to).as_deref(), Some(end));
    }
    for to in [
        "http://host/m",
        "file:///etc/passwd",
        "ftp://host/m",
        "https://user:word@host/m",
        "https://user@host/m",
        "https://",
        "data:text/plain,x",
    ] {
        assert_eq!(from("https://host/m", to), None, "{to}");
    }
    assert_eq!(
        read(302, &[], 0, None),
        Answer::Refused(FetchFault::RedirectRefused)
    );
    let location = [(LOCATION, "http://host/m")];
    assert_eq!(
        read(302, &location, 0, None),
        Answer::Refused(FetchFault::RedirectRefused)
    );
}

#[test]
fn only_a_strong_validator_vouches_for_a_part() {
    let name = |headers: &[(HeaderName, &str)]| {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, text)| (name.clone(), HeaderValue::from_str(text).unwrap()))
            .collect();
        validator(&headers)
    };
    let time = "Wed, 21 Oct 2015 07:28:00 GMT";
    assert_eq!(name(&[(ETAG, "\"a\"")]).as_deref(), Some("\"a\""));
    assert_eq!(
        name(&[(ETAG, "W/\"a\""), (LAST_MODIFIED, time)]).as_deref(),
        Some(time)
    );
    assert_eq!(name(&[(ETAG, "\"")]), None);
    assert_eq!(name(&[(ETAG, &format!("\"{}\"", "a".repeat(300)))]), None);
}

#[test]
fn a_secrets_key_is_a_header_and_its_text_is_not_quoted() {
    for text in ["canary-7f3a\r\n", "\u{feff}canary-7f3a"] {
        let (key, value) = header("X-Token", text.as_bytes()).unwrap();
        assert_eq!((key.as_str(), value.as_bytes()), ("x-token", &b"canary-7f3a"[..]));
        assert!(value.is_sensitive());
    }
    for (name, text) in [
        ("Host", &b"canary"[..]),
        ("range", b"canary"),
        ("Content-Length", b"canary"),
        ("no name", b"canary"),
        ("", b"canary"),
        ("x-token", b"canary\r\nx-other: canary"),
        ("x-token", b"canary\0"),
    ] {
        let error = header(name, text).expect_err("refused");
        assert_eq!(error.fault(), FetchFault::HeadersUnusable);
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}

#[test]
fn a_mounted_secret_gives_its_keys_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("..2026_01_01")).unwrap();
    std::fs::write(folder.path().join("Authorization"), "Bearer a").unwrap();
    assert_eq!(from_folder(folder.path()).unwrap().len(), 1);
    for number in 0..20 {
        std::fs::write(folder.path().join(format!("x-{number}")), "a").unwrap();
    }
    assert!(from_folder(folder.path()).is_err(), "more than a request has");
    assert!(from_folder(&folder.path().join("none")).is_err());
}

proptest! {
    #[test]
    fn whatever_a_server_answers_is_read_without_a_panic(
        status in 100_u16..1000, names in prop::collection::vec(0..5_usize, 0..6), texts: Vec<String>, asked: u64, known: Option<u64>,
    ) {
        let all = [CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED, LOCATION];
        let headers: HeaderMap = names
            .iter()
            .zip(&texts)
            .filter_map(|(name, text)| Some((all[*name].clone(), HeaderValue::from_str(text).ok()?)))
            .collect();
        let _ = validator(&headers);
        match Answer::read(&Url::parse("https://host/m").unwrap(), status, &headers, asked, known) {
            Answer::Take { from, .. } => prop_assert!(from == 0 || from == asked),
            Answer::Redirect(url) => prop_assert_eq!(url.scheme(), "https"),
            Answer::Restart => prop_assert!(asked > 0),
            Answer::Later(_) | Answer::Refused(_) => {}
        }
    }

    #[test]
    fn whatever_a_secret_holds_is_a_header_or_refused(name: String, text: Vec<u8>) {
        let _ = header(&name, &text);
    }
}
