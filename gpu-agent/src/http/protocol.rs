//! The handlers of the protocol.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use cocoon_api::{
    agent::{
        AttemptProgress, AttemptRequest, Credential, ErrorBody, Identity, KEEP_ALIVE_SECONDS,
        MAX_ATTEMPT_BYTES, MAX_REQUESTS,
    },
    receipt::{ChainId, Sha256Digest},
};
use futures::Stream;
use tokio::sync::watch;

use super::{credential::TokenFile, service::Service};
use crate::{
    attempts::{Admission, Attempt, AttemptId, Grown, drive},
    engine::Health,
};

/// Longest UID of a job: Kubernetes uses 36 characters.
const MAX_UID_BYTES: usize = 64;
/// Time to send the body of an attempt: 1 MiB at 50 kB/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest address of a channel: friendly form has 48 characters, raw form 66 or more.
const MAX_CHANNEL_BYTES: usize = 128;

type Shared = State<Arc<Service>>;

pub(super) fn router(service: Arc<Service>, token: TokenFile) -> Router {
    Router::new()
        .route("/v1/credential", get(async move || credential(&token).await))
        .route(
            "/v1/jobs/{uid}/{attempt}",
            get(progress).put(start).delete(cancel),
        )
        .route("/v1/jobs/{uid}/{attempt}/results", get(results))
        .route("/v1/identity", get(identity))
        .route("/v1/attempts", get(attempts))
        .fallback(async || Failed(StatusCode::NOT_FOUND, "the protocol has no such path".to_owned()))
        .with_state(service)
}

/// Only who was let in by its certificate comes here.
async fn credential(token: &TokenFile) -> Result<Json<Credential>, Failed> {
    token.read().await.map(Json).map_err(|error| {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the operator cannot recognise this agent"
        );
        Failed(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    })
}

/// An error answer.
struct Failed(StatusCode, String);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (self.0, Json(ErrorBody { message: self.1 })).into_response()
    }
}

async fn start(
    State(service): Shared,
    Path((uid, attempt)): Path<(String, String)>,
    body: Body,
) -> Result<(StatusCode, Json<AttemptProgress>), Failed> {
    let id = attempt_id(uid, &attempt)?;
    let request = read_request(body).await?;
    check_request(&service, &request)?;
    check_health(&service, &id)?;
    let canonical =
        serde_json::to_vec(&request).map_err(|error| Failed(StatusCode::BAD_REQUEST, error.to_string()))?;
    let attempt = Attempt::new(
        id,
        &request,
        Sha256Digest::of(&canonical),
        Arc::clone(&service.signer),
        service.serving.model.arithmetic.clone(),
    );
    match service.attempts.admit(attempt) {
        Admission::New(attempt) => {
            tracing::info!(
                job = attempt.id().job,
                attempt = attempt.id().attempt,
                requests = request.requests.len(),
                "attempt accepted"
            );
            let progress = attempt.progress();
            tokio::spawn(drive(Arc::clone(&service.serving), attempt, request));
            Ok((StatusCode::CREATED, Json(progress)))
        }
        Admission::Known(attempt) => Ok((StatusCode::OK, Json(attempt.progress()))),
        Admission::Conflict => Err(Failed(
            StatusCode::CONFLICT,
            "the attempt was accepted with another body; use the next attempt number".to_owned(),
        )),
        Admission::Full => Err(Failed(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many attempts are running; try again later".to_owned(),
        )),
    }
}

/// An agent whose engine has ended takes no new attempt. It would hand everything back at once, and be asked again for
/// as long as Kubernetes believes it ready: each time would count against the job's attempts.
fn check_health(service: &Service, id: &AttemptId) -> Result<(), Failed> {
    match service.serving.engine.health() {
        Health::Serving => Ok(()),
        _ if service.attempts.get(id).is_some() => Ok(()),
        ended => {
            let reason = ended.reason();
            let message = format!("the agent's engine has ended ({reason}); use another agent");
            Err(Failed(StatusCode::SERVICE_UNAVAILABLE, message))
        }
    }
}

async fn progress(
    State(service): Shared,
    Path((uid, attempt)): Path<(String, String)>,
) -> Result<Json<AttemptProgress>, Failed> {
    Ok(Json(find(&service, uid, &attempt)?.progress()))
}

async fn cancel(
    State(service): Shared,
    Path((uid, attempt)): Path<(String, String)>,
) -> Result<Json<AttemptProgress>, Failed> {
    let attempt = find(&service, uid, &attempt)?;
    attempt.cancel();
    // The sender lives in the attempt, so waiting cannot fail; a cancelled attempt ends within one batch.
    let ended = attempt.follow().wait_for(|grown| grown.ended).await.is_ok();
    tracing::info!(
        job = attempt.id().job,
        attempt = attempt.id().attempt,
        ended,
        "attempt cancelled"
    );
    Ok(Json(attempt.progress()))
}

/// Query of the results.
#[derive(serde::Deserialize)]
struct From {
    #[serde(default)]
    from: String,
}

async fn results(
    State(service): Shared,
    Path((uid, attempt)): Path<(String, String)>,
    Query(From { from }): Query<From>,
) -> Result<Response, Failed> {
    let attempt = find(&service, uid, &attempt)?;
    let refused = |_| {
        Failed(
            StatusCode::BAD_REQUEST,
            "from must be a position, counted from 0".to_owned(),
        )
    };
    let from = if from.is_empty() {
        0
    } else {
        from.parse().map_err(refused)?
    };
    let body = Body::from_stream(lines(attempt, from));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

async fn identity(State(service): Shared) -> Json<Identity> {
    Json(service.identity())
}

async fn attempts(State(service): Shared) -> Json<Vec<ChainId>> {
    let known = service.attempts.all();
    Json(known.iter().map(|attempt| attempt.chain()).collect())
}

/// Where a reader of results stands.
struct Reader {
    attempt: Arc<Attempt>,
    grown: watch::Receiver<Grown>,
    next: usize,
}

/// Lines from position `from` on, with an empty line whenever nothing came for a while.
fn lines(attempt: Arc<Attempt>, from: usize) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let grown = attempt.follow();
    futures::stream::unfold(
        Reader {
            attempt,
            grown,
            next: from,
        },
        |mut reader| async move {
            let Grown { lines, ended } = *reader.grown.borrow_and_update();
            if reader.next >= lines {
                if ended {
                    return None;
                }
                let next = reader.next;
                let more = reader.grown.wait_for(|grown| grown.ended || grown.lines > next);
                let waited = tokio::time::timeout(Duration::from_secs(KEEP_ALIVE_SECONDS), more).await;
                if waited.map(|grown| grown.is_ok()).is_err() {
                    return Some((Ok(Bytes::from_static(b"\n")), reader));
                }
            }
            let line = reader.attempt.line(reader.next)?;
            reader.next += 1;
            Some((Ok(Bytes::copy_from_slice(line.as_bytes())), reader))
        },
    )
}

fn find(service: &Service, uid: String, attempt: &str) -> Result<Arc<Attempt>, Failed> {
    let id = attempt_id(uid, attempt)?;
    let unknown = || {
        Failed(
            StatusCode::NOT_FOUND,
            "this agent does not know the attempt".to_owned(),
        )
    };
    service.attempts.get(&id).ok_or_else(unknown)
}

fn attempt_id(uid: String, attempt: &str) -> Result<AttemptId, Failed> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let number = attempt.parse().ok().filter(|number| *number > 0);
    match number {
        Some(attempt) if !uid.is_empty() && uid.len() <= MAX_UID_BYTES && uid.bytes().all(plain) => {
            Ok(AttemptId { job: uid, attempt })
        }
        _ => Err(Failed(
            StatusCode::BAD_REQUEST,
            format!(
                "path must be /v1/jobs/UID/ATTEMPT with 1 to {MAX_UID_BYTES} letters, digits and dashes, and a number from 1"
            ),
        )),
    }
}

async fn read_request(body: Body) -> Result<AttemptRequest, Failed> {
    let bytes = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, MAX_ATTEMPT_BYTES))
        .await
        .map_err(|_| {
            Failed(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive in time".to_owned(),
            )
        })?
        .map_err(|_| {
            Failed(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("cannot read the body; at most {MAX_ATTEMPT_BYTES} bytes are accepted"),
            )
        })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        // Serde's own message may repeat a value, and values are private.
        let message = format!(
            "body is no attempt: {:?} error at line {}, column {}",
            error.classify(),
            error.line(),
            error.column()
        );
        Failed(StatusCode::BAD_REQUEST, message)
    })
}

fn check_request(service: &Service, request: &AttemptRequest) -> Result<(), Failed> {
    let refuse = |message: String| Err(Failed(StatusCode::UNPROCESSABLE_ENTITY, message));
    let model = &service.serving.model;
    if request.model != model.name || request.model_sha256 != model.sha256 {
        return refuse(format!(
            "this agent serves {} with another name or digest than the attempt asks for",
            model.name
        ));
    }
    let count = request.requests.len();
    if !(1..=MAX_REQUESTS).contains(&count) {
        return refuse(format!("requests has {count} entries, not 1 to {MAX_REQUESTS}"));
    }
    let mut indexes: Vec<u32> = request.requests.iter().map(|item| item.index).collect();
    indexes.sort_unstable();
    indexes.dedup();
    if indexes.len() != count {
        return refuse("requests has two entries with the same index".to_owned());
    }
    if request.parallelism == 0 {
        return refuse("parallelism must be at least 1".to_owned());
    }
    if request
        .channel
        .as_ref()
        .is_some_and(|channel| channel.is_empty() || channel.len() > MAX_CHANNEL_BYTES)
    {
        return refuse(format!("channel must have 1 to {MAX_CHANNEL_BYTES} bytes"));
    }
    Ok(())
}
