//! The Secrets of one namespace in memory: created once, replaced by version, and not changed where they are immutable,
//! as the API server has it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::http::{Method, Request, Response, StatusCode};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, client::Body};
use serde_json::{Value, json};

/// The Secrets by name.
#[derive(Clone, Default)]
pub(super) struct Secrets(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    held: BTreeMap<String, Value>,
    version: u64,
}

impl Secrets {
    pub(super) fn api(&self) -> Api<Secret> {
        let server = self.clone();
        let answer = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.expect("a body in memory");
                let (status, answer) = server.answer(&parts.method, parts.uri.path(), &body);
                let answer = Body::from(answer.to_string().into_bytes());
                let response = Response::builder().status(status).body(answer);
                Ok::<_, std::io::Error>(response.expect("a response"))
            }
        });
        Api::namespaced(Client::new(answer, "default"), "farm")
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.lock().held.keys().cloned().collect()
    }

    pub(super) fn remove(&self, name: &str) -> Value {
        self.lock().held.remove(name).expect("it is there")
    }

    /// Puts it there, whatever was.
    pub(super) fn put(&self, name: &str, secret: Value) {
        self.lock().held.insert(name.to_owned(), secret);
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> (StatusCode, Value) {
        let mut state = self.lock();
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        if *method == Method::GET {
            return match state.held.get(&name) {
                Some(found) => (StatusCode::OK, found.clone()),
                None => refused(StatusCode::NOT_FOUND),
            };
        }
        let mut sent: Value = serde_json::from_slice(body).expect("a Secret");
        let name = sent["metadata"]["name"].as_str().expect("a name").to_owned();
        let refusal = match (state.held.get(&name), method == Method::POST) {
            (Some(_), true) => Some(StatusCode::CONFLICT),
            (None, false) => Some(StatusCode::NOT_FOUND),
            (Some(held), false) if held["immutable"] == true => Some(StatusCode::UNPROCESSABLE_ENTITY),
            (Some(held), false)
                if held["metadata"]["resourceVersion"] != sent["metadata"]["resourceVersion"] =>
            {
                Some(StatusCode::CONFLICT)
            }
            _ => None,
        };
        if let Some(status) = refusal {
            return refused(status);
        }
        state.version += 1;
        sent["metadata"]["resourceVersion"] = json!(state.version.to_string());
        state.held.insert(name, sent.clone());
        (StatusCode::OK, sent)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panicked")
    }
}

fn refused(status: StatusCode) -> (StatusCode, Value) {
    // The client knows by the reason, and not by the code, that nothing is there.
    let reason = match status {
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::CONFLICT => "Conflict",
        _ => "Invalid",
    };
    let answer = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": "m",
                        "code": status.as_u16()});
    (status, answer)
}
