//! The program itself: one line when ready, graceful on SIGTERM, the same network after a restart.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// A running program that is killed if the test fails.
struct Program {
    child: Child,
    endpoints: Vec<String>,
}

impl Program {
    fn start(state: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_testbed-chain"))
            .args(["serve", "--listen", "127.0.0.1:0", "--state"])
            .arg(state)
            .args(arguments)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let endpoints = line
            .trim_end()
            .strip_prefix("toncenter v2 at ")
            .unwrap()
            .split(' ')
            .map(str::to_owned);
        Self {
            endpoints: endpoints.collect(),
            child,
        }
    }

    fn terminate(mut self) {
        let status = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
        assert!(self.child.wait().unwrap().success());
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _already_ended = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

fn request(method: &str, url: &str, body: &str) -> Value {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let length = body.len();
    let head = format!(
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

const ADDRESS: &str = "0:0707070707070707070707070707070707070707070707070707070707070707";

fn balance(endpoint: &str) -> Value {
    request(
        "GET",
        &format!("{endpoint}/getAddressBalance?address={ADDRESS}"),
        "",
    )["result"]
        .clone()
}

#[test]
fn a_terminated_and_a_killed_network_both_come_back_with_the_same_balances() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), &["--block-millis", "20"]);
    let root = program.endpoints[0].strip_suffix("/api/v2").unwrap();
    let paid = request(
        "POST",
        &format!("{root}/faucet"),
        &json!({"address": ADDRESS, "nano": 123}).to_string(),
    );
    assert_eq!(paid["result"]["delivered"], true);
    program.terminate();

    let program = Program::start(folder.path(), &["--block-millis", "20"]);
    assert_eq!(balance(&program.endpoints[0]), "123");
    program.kill();

    let program = Program::start(folder.path(), &[]);
    assert_eq!(balance(&program.endpoints[0]), "123");
    program.terminate();
}

#[test]
fn every_address_that_it_listens_on_serves_the_same_network() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path(), &["--listen", "127.0.0.1:0", "--global-id", "-3"]);
    assert_eq!(program.endpoints.len(), 2);
    for endpoint in &program.endpoints {
        let root = endpoint.strip_suffix("/api/v2").unwrap();
        assert_eq!(
            request("GET", &format!("{root}/testbed/status"), "")["result"]["globalId"],
            -3
        );
    }
    program.terminate();
}

#[test]
fn a_state_folder_in_use_is_named_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let _program = Program::start(folder.path(), &[]);
    let second = Command::new(env!("CARGO_BIN_EXE_testbed-chain"))
        .args(["serve", "--listen", "127.0.0.1:0", "--state"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(
        error.contains("in use by another process") && error.contains(folder.path().to_str().unwrap()),
        "{error}"
    );
}
