//! The least HTTP client that the tests need.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

pub(super) fn get(url: &str) -> (u16, Value) {
    exchange("GET", url, b"")
}

pub(super) fn post(url: &str, body: &str) -> (u16, Value) {
    exchange("POST", url, body.as_bytes())
}

/// Sends one request on a connection of its own: status, and the body if it is JSON.
pub(super) fn exchange(method: &str, url: &str, body: &[u8]) -> (u16, Value) {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let head = format!(
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}
