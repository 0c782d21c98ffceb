//! Connections through an API server of this test's own, which forwards ports as a real one does.

use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use futures::{SinkExt as _, StreamExt as _};
use kube::{Client, Config};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
    },
};

use super::forward::Forward;

/// How the API server's `WebSockets` carry the streams of ports: the first byte is the stream's number.
const PROTOCOL: &str = "v4.channel.k8s.io";
/// Longest head of a request that is looked at.
const MAX_HEAD: usize = 8192;

/// A cluster of one operator.
#[derive(Clone)]
struct Cluster {
    /// Name of the operator's pod, and the port of this machine that stands for the pod's.
    pod: Arc<Mutex<(String, u16)>>,
}

impl Cluster {
    fn pod(&self) -> (String, u16) {
        self.pod.lock().expect("nobody panics with it").clone()
    }

    fn replace(&self, name: &str, port: u16) {
        *self.pod.lock().expect("nobody panics with it") = (name.to_owned(), port);
    }

    async fn start(name: &str, port: u16) -> Result<(Self, Client)> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cluster = Self {
            pod: Arc::new(Mutex::new((name.to_owned(), port))),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let served = cluster.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let cluster = served.clone();
                tokio::spawn(async move { cluster.answer(stream).await });
            }
        });
        Ok((cluster, Client::try_from(Config::new(url.parse()?))?))
    }

    async fn answer(&self, stream: TcpStream) -> Result<()> {
        let mut head = [0; MAX_HEAD];
        let mut read = 0;
        while !head[..read].windows(4).any(|end| end == b"\r\n\r\n") {
            read = stream.peek(&mut head).await?;
        }
        let line = String::from_utf8_lossy(&head[..read]);
        let path = line.split(' ').nth(1).context("a request has a path")?.to_owned();
        let (name, port) = self.pod();
        if path.contains(&format!("/pods/{name}/portforward")) {
            return forward(stream, port).await;
        }
        let (status, body) = if path.contains("/portforward") {
            let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "pods not found", "reason": "NotFound", "code": 404});
            ("404 Not Found", gone)
        } else if path.contains("/pods") {
            let pod = json!({
                "metadata": {"name": name, "namespace": "n"},
                "spec": {"containers": [{"name": "operator", "ports": [{"name": "page", "containerPort": 8088}]}]},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            });
            (
                "200 OK",
                json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [pod]}),
            )
        } else {
            (
                "200 OK",
                json!({"kind": "LeaseList", "apiVersion": "coordination.k8s.io/v1", "metadata": {}, "items": []}),
            )
        };
        let body = body.to_string();
        let mut stream = stream;
        stream.read_exact(&mut head[..read]).await?;
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        Ok(())
    }
}

/// One forwarded port: stream 0 is its data, stream 1 its error, each opened with the port's number.
#[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
async fn forward(stream: TcpStream, port: u16) -> Result<()> {
    let protocol = |_: &Request, mut response: Response| {
        let value = PROTOCOL.parse().expect("a header's value");
        response.headers_mut().insert("sec-websocket-protocol", value);
        Ok(response)
    };
    let (mut sink, mut source) = accept_hdr_async(stream, protocol).await?.split();
    let opened = 8088_u16.to_le_bytes();
    for channel in [0, 1] {
        sink.send(Message::binary(vec![channel, opened[0], opened[1]]))
            .await?;
    }
    let Ok(pod) = TcpStream::connect(("127.0.0.1", port)).await else {
        sink.send(Message::binary([&[1], &b"connection refused"[..]].concat()))
            .await?;
        return Ok(sink.close().await?);
    };
    let (mut from_pod, mut to_pod) = pod.into_split();
    let up = async {
        while let Some(Ok(message)) = source.next().await {
            if let Message::Binary(bytes) = message
                && to_pod.write_all(&bytes[1..]).await.is_err()
            {
                break;
            }
        }
    };
    let down = async {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = from_pod.read(&mut bytes).await {
            if sink
                .send(Message::binary([&[0], &bytes[..read]].concat()))
                .await
                .is_err()
            {
                return;
            }
        }
        let _ = sink.close().await;
    };
    tokio::select! { () = up => {}, () = down => {} }
    Ok(())
}

/// A page that answers every connection with this and ends it.
async fn page(words: &'static str) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; MAX_HEAD];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(words.as_bytes()).await;
            });
        }
    });
    Ok(port)
}

/// What a browser reads through the command.
async fn ask(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn command(client: Client) -> Result<u16> {
    let forward = Forward::to(client, "n".to_owned()).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(forward.serve(listener));
    Ok(port)
}

#[tokio::test]
async fn many_connections_reach_the_page_one_after_the_other_and_at_once() -> Result<()> {
    let (_cluster, client) = Cluster::start("operator-a", page("the page of a").await?).await?;
    let port = command(client).await?;
    for _ in 0..40 {
        ensure!(ask(port).await? == "the page of a");
    }
    let all = futures::future::try_join_all((0..40).map(|_| ask(port))).await?;
    ensure!(all.iter().all(|answer| answer == "the page of a"), "{all:?}");
    // Browsers that go away before they are answered hold no place.
    for _ in 0..40 {
        drop(TcpStream::connect(("127.0.0.1", port)).await?);
    }
    ensure!(ask(port).await? == "the page of a");
    Ok(())
}

#[tokio::test]
async fn an_operator_that_took_over_is_found_without_starting_again() -> Result<()> {
    let (cluster, client) = Cluster::start("operator-a", page("the page of a").await?).await?;
    let port = command(client).await?;
    ensure!(ask(port).await? == "the page of a");
    cluster.replace("operator-b", page("the page of b").await?);
    for _ in 0..3 {
        ensure!(ask(port).await? == "the page of b");
    }
    Ok(())
}

#[tokio::test]
async fn a_page_that_does_not_answer_ends_the_connection_and_not_the_command() -> Result<()> {
    let (cluster, client) = Cluster::start("operator-a", page("the page of a").await?).await?;
    let port = command(client).await?;
    let closed = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    cluster.replace("operator-a", closed);
    ensure!(ask(port).await.unwrap_or_default().is_empty(), "nobody answered");
    cluster.replace("operator-a", page("the page again").await?);
    ensure!(ask(port).await? == "the page again");
    Ok(())
}
