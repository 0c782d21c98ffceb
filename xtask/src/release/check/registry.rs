//! A registry on the loopback interface that holds one artifact and serves it to whoever pulls.
//!
//! Source: OCI distribution specification 1.1, "Pull".

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::layout::Layout;
use crate::image::oci;

/// Who sends nothing for so long is gone: the other end is on this machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// The registry, until it is dropped.
pub(super) struct Registry {
    port: u16,
    ends: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Registry {
    /// Serves the artifact under every name.
    pub(super) fn serve(layout: Layout) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen on the loopback interface")?;
        let port = listener.local_addr().context("find the port")?.port();
        let ends = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ends);
        let server = thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                // Helm says what it did not get.
                drop(answer(&connection, &layout));
            }
        });
        Ok(Self {
            port,
            ends,
            server: Some(server),
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // Wakes the server, which then ends.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(server) = self.server.take() {
            drop(server.join());
        }
    }
}

/// Answers one request and ends the connection.
fn answer(mut connection: &TcpStream, layout: &Layout) -> std::io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(connection).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for header in lines {
        if header?.is_empty() {
            break;
        }
    }
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let found = find(path, layout);
    let (status, kind, digest, body) = match found {
        Some((kind, digest, body)) => ("200 OK", kind, digest, body),
        None => ("404 Not Found", "application/json", String::new(), &b"{}"[..]),
    };
    write!(
        connection,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: {digest}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    if method == "GET" {
        connection.write_all(body)?;
    }
    Ok(())
}

/// Media type, digest and content of what a path names.
fn find<'a>(path: &str, layout: &'a Layout) -> Option<(&'static str, String, &'a [u8])> {
    if path == "/v2/" {
        return Some(("application/json", String::new(), b"{}"));
    }
    if let Some((_, reference)) = path.rsplit_once("/manifests/") {
        let is_it = reference == layout.digest || Some(reference) == layout.tag();
        return is_it.then(|| {
            (
                oci::MANIFEST,
                layout.digest.clone(),
                layout.blob(&layout.digest).unwrap_or_default(),
            )
        });
    }
    let (_, digest) = path.rsplit_once("/blobs/")?;
    Some((
        "application/octet-stream",
        digest.to_owned(),
        layout.blob(digest)?,
    ))
}
