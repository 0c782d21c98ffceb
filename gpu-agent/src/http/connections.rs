//! Accepts connections, on one port with mutual TLS and on one without, until told to stop.

use std::{path::PathBuf, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use jiff::Timestamp;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    credential::TokenFile,
    probes, protocol,
    service::Service,
    tls::{Tls, TlsError},
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

/// Files that the pod is given; both may change.
#[derive(Debug, Clone)]
pub struct Mounted {
    /// The authority whose clients are let in (PEM).
    pub client_authority: PathBuf,
    /// The token that is bound to this pod, for the operator alone.
    pub token: PathBuf,
}

/// Serves until `stop`, then lets connections end for a while.
///
/// # Errors
/// The clients' authority cannot be used.
pub async fn serve(
    service: Arc<Service>,
    listeners: Listeners,
    mounted: Mounted,
    stop: CancellationToken,
) -> Result<(), TlsError> {
    let Mounted {
        client_authority,
        token,
    } = mounted;
    let tls = Arc::new(Tls::start(client_authority, Timestamp::now())?);
    let graceful = GracefulShutdown::new();
    let protocol = Port {
        router: protocol::router(Arc::clone(&service), TokenFile(token)),
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
