//! Brings the views to a browser: over loopback, to whoever forwards a port, and to nobody through whose page it was
//! asked for.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    extract::{Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    channels, frame, jobs, offers, overview, settlements,
    snapshot::{Snapshot, Stores},
};

/// Connections at once: a browser opens six, and few people look at the same time. More wait for a place.
const MAX_CONNECTIONS: usize = 16;
/// Time for a request's head to arrive, and so for a connection without a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a connection may last, so that readers who do not read give their places back. A browser opens another.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(1);
/// Bytes of a request's head: a path, a page's number, and a browser's own headers.
const MAX_HEAD: usize = 16 * 1024;
/// Pause after a failed accept, which means that descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Headers of every answer besides the policy. Nothing is kept by a cache, shown in a frame, or told to another site.
const HEADERS: [(header::HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        header::HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        header::HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// The page of this process. While it waits to lead it has no stores, and says so.
#[derive(Default)]
pub struct Page(OnceLock<Stores>);

impl Page {
    /// From now on it shows these.
    pub fn show(&self, stores: Stores) {
        // It is called once, when this process begins to lead; who would call it again has the same stores.
        let _ = self.0.set(stores);
    }

    fn snapshot(&self) -> Option<Snapshot> {
        self.0.get().map(|stores| stores.snapshot(Timestamp::now()))
    }
}

/// Serves the page until `stop`.
pub async fn serve(listener: TcpListener, page: Arc<Page>, stop: CancellationToken) {
    stop.run_until_cancelled(accept(listener, router(page))).await;
}

async fn accept(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(place) = places.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "the page cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let router = router.clone();
        tokio::spawn(async move {
            if timeout(CONNECTION_TIMEOUT, connection(stream, router))
                .await
                .is_err()
            {
                debug!("a connection to the page lasted its time");
            }
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        debug!(%error, "a connection to the page ended with an error");
    }
}

/// The views and what guards them.
fn router(page: Arc<Page>) -> Router {
    Router::new()
        .route(
            "/",
            get(|page, asked| answer(page, asked, |snapshot, _| overview::view(snapshot))),
        )
        .route("/offers", get(|page, asked| answer(page, asked, offers::view)))
        .route("/jobs", get(|page, asked| answer(page, asked, jobs::view)))
        .route(
            "/channels",
            get(|page, asked| answer(page, asked, channels::view)),
        )
        .route(
            "/settlements",
            get(|page, asked| answer(page, asked, settlements::view)),
        )
        .fallback(|| async {
            said(
                StatusCode::NOT_FOUND,
                "Not here",
                "There is no view of this name.",
            )
        })
        .with_state(page)
        .layer(middleware::from_fn(guard))
}

/// What is asked of a view.
#[derive(Debug, Deserialize)]
struct Asked {
    /// Page of its list.
    #[serde(default = "first")]
    page: usize,
}

fn first() -> usize {
    1
}

async fn answer(
    State(page): State<Arc<Page>>,
    asked: Result<Query<Asked>, QueryRejection>,
    view: fn(&Snapshot, usize) -> String,
) -> Response {
    let Ok(Query(Asked { page: number })) = asked else {
        return said(
            StatusCode::BAD_REQUEST,
            "Not a page",
            "The page of a list is a whole number.",
        );
    };
    let Some(snapshot) = page.snapshot() else {
        return said(
            StatusCode::SERVICE_UNAVAILABLE,
            "Not leading",
            "This operator waits for its turn: another one leads, or it has not read everything yet.",
        );
    };
    // Sorting thousands of jobs is work that must not keep the controllers from theirs.
    match tokio::task::spawn_blocking(move || view(&snapshot, number)).await {
        Ok(html) => document(StatusCode::OK, html),
        Err(error) => {
            warn!(%error, "a view of the page could not be made");
            said(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Not shown",
                "The view could not be made; the operator's log says why.",
            )
        }
    }
}

fn document(status: StatusCode, html: String) -> Response {
    let content_type = HeaderValue::from_static("text/html; charset=utf-8");
    (status, [(header::CONTENT_TYPE, content_type)], html).into_response()
}

fn said(status: StatusCode, title: &str, words: &str) -> Response {
    document(status, frame::notice(title, Timestamp::now(), words))
}

/// Reads only, and for this machine's browser only; and the same headers on every answer.
async fn guard(request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = if !is_read {
        let refused = said(
            StatusCode::METHOD_NOT_ALLOWED,
            "Read-only",
            "This page takes GET and HEAD alone.",
        );
        ([(header::ALLOW, "GET, HEAD")], refused).into_response()
    } else if is_local(request.headers()) {
        next.run(request).await
    } else {
        said(
            StatusCode::MISDIRECTED_REQUEST,
            "Not by this name",
            "This page answers to localhost alone: forward a port with `kubectl cocoon dashboard`, and open the address that it prints.",
        )
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    match HeaderValue::from_str(&frame::POLICY) {
        Ok(policy) => {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
            response
        }
        // A digest in base64 is a header's value; without the policy nothing is shown.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Whether a browser asks for localhost. A site that has its own name point to this machine (DNS rebinding) would else
/// read the page with the visitor's browser.
fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let name = host.map(|host| match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    });
    name.is_some_and(|name| ["127.0.0.1", "[::1]"].contains(&name) || name.eq_ignore_ascii_case("localhost"))
}
