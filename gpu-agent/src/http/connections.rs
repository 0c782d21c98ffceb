//! Accepts connections, on one port with mutual TLS and on one without, until told to stop.

use std::{sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    probes, protocol,
    service::Service,
    tls::{Tls, TlsError, TlsFiles},
};

/// Connections of each port at once: an operator holds one or two a job, and jobs of one agent are few.
const MAX_CONNECTIONS: usize = 128;
/// Time for a TLS handshake, which takes two round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a request's head to arrive.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept, which means that descriptors ran out: lets connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time that connections have to end at shutdown: well below the 30 s after which the kubelet kills.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);

/// The two ports.
#[derive(Debug)]
pub struct Listeners {
    /// For the operator, with mutual TLS.
    pub protocol: TcpListener,
    /// For probes and metrics, plain.
    pub probes: TcpListener,
}

/// Serves until `stop`, then lets connections end for a while.
///
/// # Errors
/// The TLS files cannot be used.
pub async fn serve(
    service: Arc<Service>,
    listeners: Listeners,
    files: TlsFiles,
    stop: CancellationToken,
) -> Result<(), TlsError> {
    let tls = Arc::new(Tls::load(files)?);
    let graceful = GracefulShutdown::new();
    let protocol = Port {
        router: protocol::router(Arc::clone(&service)),
        tls: Some(Arc::clone(&tls)),
    };
    let plain = Port {
        router: probes::router(service),
        tls: None,
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = tls.keep_current() => {}
        () = protocol.accept(listeners.protocol, &graceful) => {}
        () = plain.accept(listeners.probes, &graceful) => {}
    }
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("connections were still open at the end of the time to drain");
    }
    Ok(())
}

/// One port's way of serving.
struct Port {
    router: axum::Router,
    tls: Option<Arc<Tls>>,
}

impl Port {
    /// Accepts for ever.
    async fn accept(&self, listener: TcpListener, graceful: &GracefulShutdown) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (router, tls, watcher) = (self.router.clone(), self.tls.clone(), graceful.watcher());
            tokio::spawn(async move {
                if let Err(error) = connection(stream, router, tls, watcher).await {
                    tracing::debug!(%error, "a connection ended with an error");
                }
                drop(place);
            });
        }
    }
}

type ConnectionError = Box<dyn std::error::Error + Send + Sync>;
type Watcher = hyper_util::server::graceful::Watcher;

async fn connection(
    stream: TcpStream,
    router: axum::Router,
    tls: Option<Arc<Tls>>,
    watcher: Watcher,
) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    match tls {
        None => http(stream, router, watcher).await,
        Some(tls) => {
            let acceptor = TlsAcceptor::from(tls.config());
            let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
            http(stream, router, watcher).await
        }
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: axum::Router,
    watcher: Watcher,
) -> Result<(), ConnectionError> {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    Ok(watcher.watch(connection).await?)
}
