//! An API server in memory, as far as an operator asks it when nothing changes: it lists, takes what is created,
//! patched or put, forgets what is deleted, and counts. Its watches never tell anything, so that memory stays as old
//! as it can be.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::http::{Method, Request, Response, StatusCode};
use clap::Parser as _;
use cocoon_operator::{
    chain::Networks, config::Config, context::Context, metrics::Metrics, tls::AgentTls, watch::Watches,
};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The API server.
#[derive(Clone, Default)]
pub struct ApiServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// By path.
    objects: BTreeMap<String, Value>,
    /// How often what was asked: the verb, and the path without names.
    asked: BTreeMap<String, u32>,
    version: u64,
    /// What is forbidden, as it is counted.
    forbidden: Option<String>,
    /// What an answer takes.
    latency: Duration,
    /// Requests that wait for one, and the most that ever did.
    in_flight: (u32, u32),
}

/// The object is another, or another version, than the one that was put.
struct Overtaken;

fn refusal(code: StatusCode, reason: &str) -> Response<Body> {
    let refusal = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
                         "message": "refused", "code": code.as_u16()});
    respond(code, &refusal)
}

fn respond(code: StatusCode, answer: &Value) -> Response<Body> {
    Response::builder()
        .status(code)
        .body(Body::from(answer.to_string().into_bytes()))
        .expect("a response")
}

impl ApiServer {
    /// Holds this object from here on, at this path.
    pub fn hold(&self, path: &str, object: Value) {
        self.lock().objects.insert(path.to_owned(), object);
    }

    /// What is held there.
    pub fn held(&self, path: &str) -> Value {
        self.lock().objects.get(path).cloned().unwrap_or_default()
    }

    /// How often what was asked, so far.
    pub fn asked(&self) -> BTreeMap<String, u32> {
        self.lock().asked.clone()
    }

    /// Forbids this from here on: the verb, and the path without names.
    pub fn forbid(&self, request: &str) {
        self.lock().forbidden = Some(request.to_owned());
    }

    /// Takes so long for an answer from here on.
    pub fn slow_down(&self, latency: Duration) {
        self.lock().latency = latency;
    }

    /// The most requests that ever waited for an answer at once.
    pub fn most_at_once(&self) -> u32 {
        self.lock().in_flight.1
    }

    /// An operator whose stores are filled from here.
    pub async fn operator(&self, stop: &CancellationToken) -> Arc<Context> {
        // As the program does.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = self.clone();
        let answer = tower::service_fn(move |request| {
            let server = server.clone();
            async move { server.answer(request).await }
        });
        let client = Client::new(answer, "default");
        let config = Config::parse_from(["cocoon-operator", "--networks", "none", "--agent-image", "none"]);
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let networks = Arc::new(Networks::new(Vec::new(), &metrics).expect("no networks"));
        let tls = AgentTls::load(client.clone(), &config.namespace)
            .await
            .expect("authorities");
        let watches = Watches::start(&client, config.scope(), stop);
        assert!(watches.filled().await, "all lists were read");
        Arc::new(Context::new(client, config, metrics, networks, tls, watches))
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let is_watch = parts
            .uri
            .query()
            .is_some_and(|query| query.contains("watch=true"));
        let is_collection = parts.method == Method::GET && !path.contains("/namespaces/");
        let verb = match parts.method {
            Method::GET if is_watch => "watch",
            Method::GET if is_collection => "list",
            Method::GET => "get",
            Method::POST => "create",
            Method::PATCH => "patch",
            Method::PUT => "update",
            Method::DELETE => "delete",
            _ => "other",
        };
        if self.count(verb, path) {
            return Ok(refusal(StatusCode::FORBIDDEN, "Forbidden"));
        }
        if is_watch {
            std::future::pending::<()>().await;
        }
        self.take_time().await;
        let body = body.collect_bytes().await.expect("a body in memory");
        let found = match verb {
            "update" => {
                match self.put_status(path, &serde_json::from_slice(&body).expect("an object is JSON")) {
                    Ok(written) => written,
                    Err(Overtaken) => return Ok(refusal(StatusCode::CONFLICT, "Conflict")),
                }
            }
            "list" => Some(self.list(path, parts.uri.query().unwrap_or_default())),
            "create" => serde_json::from_slice(&body).ok().map(|made| self.review(made)),
            "delete" => self.lock().objects.remove(path),
            "patch" => self.patch(path, &serde_json::from_slice(&body).expect("a patch is JSON")),
            _ => self.lock().objects.get(path).cloned(),
        };
        Ok(found.map_or_else(
            || refusal(StatusCode::NOT_FOUND, "NotFound"),
            |found| respond(StatusCode::OK, &found),
        ))
    }

    async fn take_time(&self) {
        let latency = {
            let mut state = self.lock();
            state.in_flight.0 += 1;
            state.in_flight.1 = state.in_flight.0.max(state.in_flight.1);
            state.latency
        };
        tokio::time::sleep(latency).await;
        self.lock().in_flight.0 -= 1;
    }

    /// Answers whether it is forbidden.
    fn count(&self, verb: &str, path: &str) -> bool {
        let place = match path.split_once("/namespaces/") {
            None => path.to_owned(),
            Some((group, rest)) => {
                let mut rest = rest.split('/').skip(1);
                let resource = rest.next().unwrap_or_default();
                match rest.nth(1) {
                    Some(subresource) => format!("{group}/{resource}/{subresource}"),
                    None => format!("{group}/{resource}"),
                }
            }
        };
        let (request, mut state) = (format!("{verb} {place}"), self.lock());
        let is_forbidden = state.forbidden.as_ref() == Some(&request);
        *state.asked.entry(request).or_default() += 1;
        is_forbidden
    }

    /// All objects of a kind, of which a query may want those that failed, or those that did not.
    fn list(&self, path: &str, query: &str) -> Value {
        let wants = |object: &Value| {
            let has_failed = object["status"]["phase"] == "Failed";
            !(query.contains("status.phase%21%3DFailed") && has_failed
                || query.contains("status.phase%3DFailed") && !has_failed)
        };
        let state = self.lock();
        let (group, resource) = path.rsplit_once('/').expect("a path");
        let items: Vec<&Value> = state
            .objects
            .iter()
            .filter(|(path, _)| path.starts_with(group) && path.rsplit('/').nth(1) == Some(resource))
            .map(|(_, object)| object)
            .filter(|object| wants(object))
            .collect();
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
    }

    /// The status, if the object is still the one that was read.
    fn put_status(&self, path: &str, put: &Value) -> Result<Option<Value>, Overtaken> {
        let mut state = self.lock();
        state.version += 1;
        let version = (1_000 + state.version).to_string();
        let path = path.strip_suffix("/status").expect("statuses alone are put");
        let Some(object) = state.objects.get_mut(path) else {
            return Ok(None);
        };
        let is_same = |field: &str| object["metadata"][field] == put["metadata"][field];
        if !is_same("resourceVersion") || !is_same("uid") {
            return Err(Overtaken);
        }
        object["status"] = put["status"].clone();
        object["metadata"]["resourceVersion"] = json!(version);
        Ok(Some(object.clone()))
    }

    /// A token's review says what is held at `/tokens/TOKEN`; whatever else is made stays as it is.
    fn review(&self, mut made: Value) -> Value {
        if let Some(token) = made["spec"]["token"].as_str() {
            let known = self.lock().objects.get(&format!("/tokens/{token}")).cloned();
            made["status"] = known.unwrap_or_else(|| json!({"authenticated": false}));
        }
        made
    }

    /// A merge patch of metadata, or a status that is applied whole.
    fn patch(&self, path: &str, change: &Value) -> Option<Value> {
        let mut state = self.lock();
        state.version += 1;
        let version = (1_000 + state.version).to_string();
        let object = state.objects.get_mut(path.trim_end_matches("/status"))?;
        if let Some(finalizers) = change["metadata"].get("finalizers") {
            object["metadata"]["finalizers"] = finalizers.clone();
        }
        if let Some(status) = change.get("status") {
            object["status"] = status.clone();
        }
        object["metadata"]["resourceVersion"] = json!(version);
        Some(object.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panicked")
    }
}
