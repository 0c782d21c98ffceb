//! Whom an operator takes for an agent, over real connections: an API server in memory, and whoever serves at a pod's
//! address.

#[expect(dead_code, reason = "answers are as fast here as they can be")]
mod api;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use api::ApiServer;
use cocoon_api::names;
use cocoon_core::agents::recognition::{Part, Stranger, Wanted};
use cocoon_operator::{
    agents::{Agent, Unrecognised},
    context::Context,
    dispatch::{AgentClient, ClientError},
    tls::secret,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

const NAMESPACE: &str = "farms";
const POD: &str = "/api/v1/namespaces/farms/pods/agent";
const SET: &str = "/apis/apps/v1/namespaces/farms/replicasets/set";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/farms/deployments/deployment";
const REVIEWS: &str = "create /apis/authentication.k8s.io/v1/tokenreviews";

/// An operator, and a cluster with one agent's pod.
struct World {
    server: ApiServer,
    ctx: Arc<Context>,
    address: IpAddr,
    minutes: AtomicI64,
    _stop: DropGuard,
}

/// Whoever serves at an address, with a key of its own, and answers every question with this.
struct Serving {
    /// Paths that it was asked for.
    heard: Arc<Mutex<Vec<String>>>,
    _stop: DropGuard,
}

impl World {
    /// `number` tells the tests of this file apart: each has an address of the loopback network.
    async fn new(number: u8) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (server, stop) = (ApiServer::default(), CancellationToken::new());
        let address = IpAddr::V4(Ipv4Addr::new(127, 77, 0, number));
        server.hold(POD, pod(address, &json!({})));
        server.hold(SET, owned("set", &json!({}), "Deployment", "deployment"));
        let labels = json!({"labels": {names::MODEL_LABEL: "m"}});
        server.hold(DEPLOYMENT, owned("deployment", &labels, "CocoonProvider", "farm"));
        server.hold("/tokens/its-own", review("agent-uid", "agent"));
        let ctx = server.operator(&stop).await;
        Self {
            server,
            ctx,
            address,
            minutes: AtomicI64::new(0),
            _stop: stop.drop_guard(),
        }
    }

    fn agent(&self) -> Agent {
        Agent {
            pod: "agent".into(),
            uid: "agent-uid".into(),
            address: self.address,
            wanted: Arc::new(Wanted {
                provider: "farm-uid".into(),
                namespace: NAMESPACE.into(),
                model: "m".into(),
                spec: serde_json::from_value(spec()).ok(),
            }),
        }
    }

    /// What the operator says when it is to be dialled.
    async fn recognised(&self) -> Result<(), Unrecognised> {
        let line = self.ctx.agents.line(&self.agent(), Timestamp::now()).await;
        line.map(drop)
    }

    async fn stranger(&self) -> Stranger {
        // Each time longer after the one before than a stranger is left alone.
        let minutes = self.minutes.fetch_add(1, Ordering::Relaxed) + 1;
        let later = Timestamp::now() + SignedDuration::from_mins(minutes);
        match self.ctx.agents.line(&self.agent(), later).await {
            Err(Unrecognised::Stranger(why)) => {
                assert_eq!(self.ctx.agents.stranger("agent-uid"), Some(why));
                why
            }
            other => panic!("taken for an agent, or not asked: {other:?}"),
        }
    }

    fn client(&self) -> AgentClient {
        AgentClient::of(self.ctx.agents.clone(), self.agent())
    }

    fn reviews(&self) -> u32 {
        self.server.asked().get(REVIEWS).copied().unwrap_or_default()
    }

    async fn serve(&self, token: &'static str) -> Serving {
        let listener = TcpListener::bind(SocketAddr::new(self.address, names::AGENT_PORT))
            .await
            .expect("the address is free");
        let acceptor = TlsAcceptor::from(Arc::new(tls(&secret::write_bundle(self.ctx.tls.bundle()))));
        let (heard, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        let serving = Serving {
            heard: heard.clone(),
            _stop: stop.clone().drop_guard(),
        };
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (acceptor, heard) = (acceptor.clone(), heard.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let mut asked = Vec::new();
                    while !asked.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else {
                            return;
                        };
                        asked.push(byte);
                    }
                    let asked = String::from_utf8(asked).expect("text");
                    let path = asked.split(' ').nth(1).expect("a path").to_owned();
                    let body = json!({"token": token}).to_string();
                    heard.lock().expect("sound").push(path);
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        }));
        serving
    }
}

impl Serving {
    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("sound").clone()
    }
}

/// As an agent makes it at its start.
fn tls(trusted: &secret::Data) -> ServerConfig {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["agent.cocoon.internal".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate").der().clone();
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&trusted[secret::BUNDLE].0) {
        roots.add(authority.expect("PEM")).expect("an authority");
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
        .build()
        .expect("a verifier");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)
        .expect("they fit")
}

fn spec() -> Value {
    json!({"containers": [{"name": "agent", "image": "agent:1"}]})
}

fn pod(address: IpAddr, change: &Value) -> Value {
    let mut spec = spec();
    for (field, value) in change.as_object().expect("fields") {
        spec["containers"][0][field] = value.clone();
    }
    let mut pod = owned("agent", &json!({}), "ReplicaSet", "set");
    pod["spec"] = spec;
    pod["status"] = json!({"podIP": address});
    pod
}

fn owned(name: &str, metadata: &Value, owner: &str, by: &str) -> Value {
    let owner = json!({"apiVersion": "v1", "kind": owner, "name": by, "uid": format!("{by}-uid"), "controller": true});
    let mut object = json!({"metadata": metadata});
    object["metadata"]["name"] = json!(name);
    object["metadata"]["uid"] = json!(format!("{name}-uid"));
    object["metadata"]["ownerReferences"] = json!([owner]);
    object
}

fn review(uid: &str, pod: &str) -> Value {
    let extra = json!({"authentication.kubernetes.io/pod-uid": [uid], "authentication.kubernetes.io/pod-name": [pod]});
    json!({
        "authenticated": true, "audiences": [names::AGENT_AUDIENCE],
        "user": {"username": format!("system:serviceaccount:{NAMESPACE}:default"), "extra": extra},
    })
}

#[tokio::test]
async fn an_agent_is_recognised_once_and_spoken_to_as_often_as_one_likes() {
    let world = World::new(1).await;
    let serving = world.serve("its-own").await;
    world.recognised().await.expect("it is the agent");
    world.recognised().await.expect("it is the agent");
    // What it answers is no identity, which is no matter here: it was asked.
    assert!(matches!(
        world.client().identity().await,
        Err(ClientError::Shape { .. })
    ));
    assert_eq!(world.reviews(), 1);
    assert_eq!(serving.heard(), ["/v1/credential", "/v1/identity"]);
}

#[tokio::test]
async fn whoever_shows_another_pods_token_or_one_that_is_not_good_is_told_nothing() {
    let world = World::new(2).await;
    world
        .server
        .hold("/tokens/another-pods", review("other-uid", "other"));
    let mut audience = review("agent-uid", "agent");
    audience["audiences"] = json!(["https://kubernetes.default.svc"]);
    world.server.hold("/tokens/another-audience", audience);
    for (token, why) in [
        ("another-pods", Stranger::OtherPod),
        ("another-audience", Stranger::TokenRefused),
        ("expired", Stranger::TokenRefused),
    ] {
        let serving = world.serve(token).await;
        assert_eq!(world.stranger().await, why, "{token}");
        assert!(world.client().identity().await.is_err());
        assert_eq!(serving.heard(), ["/v1/credential"], "{token}");
        drop(serving);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_pod_that_others_made_or_changed_is_no_agent_though_its_token_is_its_own() {
    let world = World::new(3).await;
    let serving = world.serve("its-own").await;
    let preload = json!({"env": [{"name": "LD_PRELOAD", "value": "/tmp/x"}]});
    world.server.hold(POD, pod(world.address, &preload));
    assert_eq!(world.stranger().await, Stranger::Runs(Part::Environment));
    world.server.hold(POD, pod(world.address, &json!({})));
    let mut orphan = world.server.held(POD);
    orphan["metadata"]["ownerReferences"] = json!([]);
    world.server.hold(POD, orphan);
    assert_eq!(world.stranger().await, Stranger::NotOwned);
    world.server.hold(POD, pod(world.address, &json!({})));
    world.server.hold(
        DEPLOYMENT,
        owned("deployment", &json!({}), "CocoonProvider", "other"),
    );
    assert_eq!(world.stranger().await, Stranger::NotOwned);
    assert_eq!(world.reviews(), 0, "its token is not looked at");
    assert!(serving.heard().iter().all(|path| path == "/v1/credential"));
}

#[tokio::test]
async fn a_pod_that_is_no_agent_and_serves_nothing_is_told_from_an_agent_that_is_slow() {
    let world = World::new(4).await;
    // Nobody serves there.
    assert!(matches!(
        world.recognised().await,
        Err(Unrecognised::Unreachable(_))
    ));
    assert_eq!(world.ctx.agents.stranger("agent-uid"), None);
    world
        .server
        .hold(POD, pod(world.address, &json!({"image": "other:1"})));
    assert_eq!(world.stranger().await, Stranger::Runs(Part::Image));
}

#[tokio::test]
async fn an_agent_that_was_started_again_is_taken_only_after_another_review() {
    let world = World::new(5).await;
    let first = world.serve("its-own").await;
    let client = world.client();
    assert!(matches!(client.identity().await, Err(ClientError::Shape { .. })));
    drop(first);
    tokio::task::yield_now().await;
    // Another process, with another key, in the same pod.
    let second = world.serve("its-own").await;
    assert!(matches!(
        client.identity().await,
        Err(ClientError::Transport { .. })
    ));
    assert_eq!(
        second.heard(),
        Vec::<String>::new(),
        "nothing is told to another certificate"
    );
    assert!(matches!(client.identity().await, Err(ClientError::Shape { .. })));
    assert_eq!(world.reviews(), 2);
    assert_eq!(second.heard(), ["/v1/credential", "/v1/identity"]);
    drop(second);
    tokio::task::yield_now().await;
    // Somebody took its address, with a token that it had seen elsewhere.
    world
        .server
        .hold("/tokens/another-pods", review("other-uid", "other"));
    let thief = world.serve("another-pods").await;
    assert!(matches!(
        client.identity().await,
        Err(ClientError::Transport { .. })
    ));
    assert!(matches!(
        client.identity().await,
        Err(ClientError::Unrecognised {
            source: Unrecognised::Stranger(Stranger::OtherPod),
            ..
        })
    ));
    assert_eq!(thief.heard(), ["/v1/credential"]);
}

#[tokio::test]
async fn a_certificate_is_taken_for_a_day_at_most() {
    let world = World::new(6).await;
    let _serving = world.serve("its-own").await;
    world.recognised().await.expect("it is the agent");
    let tomorrow = Timestamp::now() + SignedDuration::from_hours(25);
    let line = world.ctx.agents.line(&world.agent(), tomorrow).await;
    line.expect("it is the agent");
    assert_eq!(world.reviews(), 2);
}
