//! What a server answers to a download, what a Secret gives as its headers, and notes beside a node's copies.
#![no_main]

use gpu_agent::{
    cache::{Marker, part::Validator},
    fetch::{Answer, follow, header},
};
use reqwest::{
    Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Marker::parse(bytes);
    let _ = Validator::parse(bytes);
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let status = lines.next().and_then(|line| line.get(..2)).map_or(206, |two| {
        100 + u16::from_le_bytes([two[0], two[1]]) % 900
    });
    let url = Url::parse("https://host/m").expect("an address");
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, text) = (&line[..colon], &line[colon + 1..]);
        let _ = header(&String::from_utf8_lossy(name), text);
        if let Some(next) = follow(&url, &String::from_utf8_lossy(text)) {
            assert_eq!(next.scheme(), "https");
        }
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(text)) {
            headers.append(name, value);
        }
    }
    for asked in [0, 5] {
        if let Answer::Take { from, .. } = Answer::read(&url, status, &headers, asked, None) {
            assert!(from == 0 || from == asked);
        }
    }
});
