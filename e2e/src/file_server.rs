//! A file server that pods reach: it knows ranges, and breaks off as often as a test wants.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::stack::Stack;

/// The longest head of a request that is read.
const MAX_HEAD_BYTES: usize = 8192;

/// A server of one file under `/model.gguf`, and of nothing else.
pub struct FileServer {
    /// Root of the server, as pods reach it.
    pub root: String,
    heads: Arc<Mutex<Vec<String>>>,
}

struct Served {
    content: Vec<u8>,
    /// Answers that still are to break off in the middle.
    breaks: AtomicUsize,
    heads: Arc<Mutex<Vec<String>>>,
}

impl FileServer {
    /// Serves `content`; the first `breaks` answers end in the middle.
    ///
    /// # Errors
    /// There is no way from here to the chain's server, which is where the cluster is.
    pub async fn start(stack: &Stack, content: Vec<u8>, breaks: usize) -> Result<Self> {
        let chain = stack
            .description
            .chain
            .strip_prefix("http://")
            .context("the chain's server has a host and a port")?;
        // The address that this process has on the way to the cluster is the one that pods reach it at.
        let way = TcpStream::connect(chain)
            .await
            .with_context(|| format!("could not find a way to {chain}"))?;
        let host = way.local_addr()?.ip();
        let listener = TcpListener::bind((host, 0))
            .await
            .with_context(|| format!("could not listen on {host}"))?;
        let address = listener.local_addr()?;
        let heads = Arc::new(Mutex::new(Vec::new()));
        let served = Arc::new(Served {
            content,
            breaks: AtomicUsize::new(breaks),
            heads: Arc::clone(&heads),
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&served)));
            }
        });
        Ok(Self {
            root: format!("http://{address}"),
            heads,
        })
    }

    /// Heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(mut stream: TcpStream, served: Arc<Served>) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        anyhow::ensure!(head.len() < MAX_HEAD_BYTES, "the head is too long");
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    served
        .heads
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(head.clone());
    if !head.starts_with("GET /model.gguf") {
        let missing = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(missing.as_bytes()).await?;
        return Ok(stream.shutdown().await?);
    }
    let content = &served.content;
    let from = head
        .lines()
        .find_map(|line| {
            line.strip_prefix("range: bytes=")?
                .strip_suffix('-')?
                .parse::<usize>()
                .ok()
        })
        .filter(|from| *from < content.len());
    let status = match from {
        Some(from) => format!(
            "206 Partial Content\r\ncontent-range: bytes {from}-{}/{}",
            content.len() - 1,
            content.len()
        ),
        None => "200 OK".to_owned(),
    };
    let body = &content[from.unwrap_or(0)..];
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\netag: \"1\"\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let breaks = served
        .breaks
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    let sent = if breaks.is_ok() {
        body.len() / 2
    } else {
        body.len()
    };
    stream.write_all(&body[..sent]).await?;
    Ok(stream.shutdown().await?)
}
