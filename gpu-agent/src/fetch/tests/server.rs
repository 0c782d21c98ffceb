//! A server that answers what a test says, byte by byte.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What is sent for one request.
pub(super) struct Reply {
    bytes: Vec<u8>,
    /// Where the head ends.
    head: usize,
    then: Then,
}

/// What follows the bytes.
enum Then {
    Close,
    Hang,
    /// One byte after the other, slowly.
    Trickle,
    /// The same chunk for ever.
    Repeat(Vec<u8>),
}

impl Reply {
    pub(super) fn new(status: u16, headers: &str, body: &[u8]) -> Self {
        let mut bytes = format!("HTTP/1.1 {status} x\r\nconnection: close\r\n{headers}\r\n").into_bytes();
        let head = bytes.len();
        bytes.extend(body);
        Self {
            bytes,
            head,
            then: Then::Close,
        }
    }

    /// No byte at all, and the connection stays.
    pub(super) fn nothing() -> Self {
        Self {
            bytes: Vec::new(),
            head: 0,
            then: Then::Hang,
        }
    }

    pub(super) fn chunked(body: &[u8]) -> Self {
        let mut chunk = format!("{:x}\r\n", body.len()).into_bytes();
        chunk.extend(body);
        chunk.extend(b"\r\n0\r\n\r\n");
        Self::new(200, "transfer-encoding: chunked\r\n", &chunk)
    }

    pub(super) fn endless() -> Self {
        let mut chunk = b"10000\r\n".to_vec();
        chunk.extend(vec![7; 0x1_0000]);
        chunk.extend(b"\r\n");
        Self {
            then: Then::Repeat(chunk),
            ..Self::new(200, "transfer-encoding: chunked\r\n", b"")
        }
    }

    /// Its body ends after so many bytes.
    pub(super) fn cut_to(mut self, body: usize) -> Self {
        self.bytes.truncate(self.head + body);
        self
    }

    /// The connection stays.
    pub(super) fn and_hang(mut self) -> Self {
        self.then = Then::Hang;
        self
    }

    pub(super) fn and_trickle(mut self) -> Self {
        self.then = Then::Trickle;
        self
    }
}

pub(super) struct Server {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `answer` is asked with the number of the request, from 0, and its head in small letters but for the first line's
    /// path.
    pub(super) async fn start(answer: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&heads));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk(stream, Arc::clone(&answer), Arc::clone(&seen)));
            }
        });
        Self { address, heads }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn talk(
    mut stream: TcpStream,
    answer: Arc<impl Fn(usize, &str) -> Reply>,
    heads: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let number = {
        let mut heads = heads.lock().unwrap();
        heads.push(head.clone());
        heads.len() - 1
    };
    let reply = answer(number, &head);
    stream.write_all(&reply.bytes).await?;
    match reply.then {
        Then::Close => stream.shutdown().await,
        Then::Hang => std::future::pending().await,
        Then::Trickle => loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream.write_all(b"x").await?;
        },
        Then::Repeat(chunk) => loop {
            stream.write_all(&chunk).await?;
        },
    }
}
