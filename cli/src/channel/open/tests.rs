//! `channel open` against an API server that answers as a real one would, and a network in the test's own process.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, Response, StatusCode},
};
use clap::Parser;
use cocoon_ton::{SecretKey, Signer as _, Wallet};
use kube::{Client, client::Body as KubeBody};
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed_chain::testing::{LocalNetwork, Options};

use super::*;

const FUNDS: u64 = 10_000_000_000;
const SEED: [u8; 32] = [5; 32];

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

/// What was asked of the API server: method, path with query, body.
type Asked = Arc<Mutex<Vec<(Method, String, Value)>>>;

/// Knows the provider, no channel, and judges a channel's creation as `refusal` says.
fn cluster(refusal: Option<&'static str>, payout: String) -> (Cluster, Asked) {
    let asked: Asked = Arc::default();
    let log = asked.clone();
    let service = tower::service_fn(move |request: Request<KubeBody>| {
        let (log, payout) = (log.clone(), payout.clone());
        async move {
            let (head, body) = request.into_parts();
            let bytes = to_bytes(Body::new(body), 1 << 20).await.expect("a body");
            let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let path = head.uri.to_string();
            let (status, answer) = answer(&head.method, &path, &body, refusal, &payout);
            log.lock().expect("no panic").push((head.method, path, body));
            let answer = Response::builder()
                .status(status)
                .body(Body::from(answer.to_string()));
            Ok::<_, Infallible>(answer.expect("a response"))
        }
    });
    let client = Client::new(service, "shop");
    let namespace = "shop".to_owned();
    (Cluster { client, namespace }, asked)
}

fn answer(
    method: &Method,
    path: &str,
    body: &Value,
    refusal: Option<&str>,
    payout: &str,
) -> (StatusCode, Value) {
    let failure = |code: u16, reason: &str, message: &str| json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    if *method == Method::POST {
        return match refusal {
            Some(message) => (StatusCode::UNPROCESSABLE_ENTITY, failure(422, "Invalid", message)),
            None => (StatusCode::CREATED, body.clone()),
        };
    }
    if path.contains("cocoonproviders") {
        let provider = json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "CocoonProvider", "metadata": {"name": "farm", "namespace": "shop"},
            "spec": {
                "backend": "CPU", "models": [],
                "payout": {"network": "testbed", "address": payout, "walletSecretRef": {"name": "wallet"}},
            },
        });
        return (StatusCode::OK, provider);
    }
    (StatusCode::NOT_FOUND, failure(404, "NotFound", "not found"))
}

struct World {
    network: LocalNetwork,
    folder: TempDir,
    wallet: Wallet,
}

impl World {
    fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let network = LocalNetwork::start(Options {
            block_interval: Some(Duration::from_millis(20)),
            ..Options::default()
        })
        .expect("a network");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("key"), hex::encode(SEED)).expect("a key file");
        let wallet = Wallet::new(SecretKey::from_seed(&SEED).public_key(), &Network::TESTBED);
        network.fund(&wallet.address().to_string(), FUNDS).expect("funds");
        Self {
            network,
            folder,
            wallet,
        }
    }

    fn payout() -> String {
        let key = SecretKey::from_seed(&[6; 32]).public_key();
        Wallet::new(key, &Network::TESTBED)
            .address()
            .friendly(&Network::TESTBED, false)
    }

    fn arguments(&self, name: &str) -> Arguments {
        let (key, endpoint) = (self.folder.path().join("key"), self.network.base_url());
        let line = [
            "open",
            name,
            "--provider",
            "farm",
            "--deposit",
            "1",
            "--cap",
            "0.5",
            "--endpoint",
            &endpoint,
            "--network",
            "testbed",
            "--key-file",
            key.to_str().expect("text"),
            "--state",
            self.folder.path().to_str().expect("text"),
        ];
        Line::try_parse_from(line).expect("parses").arguments
    }

    fn balance(&self) -> u128 {
        self.network
            .balance(&self.wallet.address().to_string())
            .expect("a balance")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_paid_for_a_channel_that_the_cluster_refuses() {
    let world = World::start();
    let refusal = "PaymentChannel.cocoon.farm \"Bad_Name\" is invalid: metadata.name: Invalid value";
    let (cluster, asked) = cluster(Some(refusal), World::payout());
    let error = run(world.arguments("Bad_Name"), &cluster)
        .await
        .expect_err("refused");
    let words = format!("{error:#}");
    assert!(
        words.contains("nothing was paid") && words.contains("Invalid value"),
        "{words}"
    );
    assert_eq!(world.balance(), u128::from(FUNDS), "not a nanoTON");
    let asked = asked.lock().expect("no panic");
    let posts: Vec<_> = asked
        .iter()
        .filter(|(method, ..)| *method == Method::POST)
        .collect();
    assert_eq!(posts.len(), 1);
    assert!(posts[0].1.contains("dryRun=All"), "{}", posts[0].1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rehearsed_object_is_the_one_that_is_created_but_for_its_signature() {
    let world = World::start();
    let (cluster, asked) = cluster(None, World::payout());
    run(world.arguments("payer"), &cluster).await.expect("opens");
    assert!(
        world.balance() < u128::from(FUNDS) - 1_000_000_000,
        "the deposit is paid"
    );
    let asked = asked.lock().expect("no panic");
    let mut posts = asked.iter().filter(|(method, ..)| *method == Method::POST);
    let (rehearsed, created) = (
        posts.next().expect("a rehearsal"),
        posts.next().expect("the object"),
    );
    assert!(rehearsed.1.contains("dryRun=All") && !created.1.contains("dryRun"));
    let mut worthless = created.2.clone();
    worthless["spec"]["voucher"]["signature"] = json!("0".repeat(128));
    assert_eq!(
        rehearsed.2, worthless,
        "and what is rehearsed is worth nothing to whoever reads it"
    );
    assert_eq!(created.2["spec"]["voucher"]["validUntil"], json!(u32::MAX));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_paid_for_a_window_that_the_provider_does_not_work_for() {
    let world = World::start();
    let (cluster, asked) = cluster(None, World::payout());
    let arguments = Arguments {
        challenge: 1_800,
        ..world.arguments("payer")
    };
    let error = run(arguments, &cluster).await.expect_err("refused");
    let words = format!("{error:#}");
    assert!(words.contains("minChallenge") && words.contains("1h"), "{words}");
    assert_eq!(world.balance(), u128::from(FUNDS), "not a nanoTON");
    let asked = asked.lock().expect("no panic");
    assert!(asked.iter().all(|(method, ..)| *method != Method::POST));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_of_another_namespace_is_paid_without_a_right_to_read_it() {
    let world = World::start();
    let (cluster, asked) = cluster(None, World::payout());
    let arguments = Arguments {
        provider: kubernetes::provider("farm/gpus").expect("a provider"),
        payee: Some(World::payout()),
        ..world.arguments("payer")
    };
    run(arguments, &cluster).await.expect("opens");
    let asked = asked.lock().expect("no panic");
    assert!(asked.iter().all(|(_, path, _)| !path.contains("cocoonproviders")));
    let mut posts = asked.iter().filter(|(method, ..)| *method == Method::POST);
    let (_, path, created) = posts.next_back().expect("the object");
    assert!(path.contains("/namespaces/shop/"), "{path}");
    assert_eq!(
        created["spec"]["provider"],
        json!({"namespace": "farm", "name": "gpus"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_of_another_namespace_is_read_there() {
    let world = World::start();
    let (cluster, asked) = cluster(None, World::payout());
    let arguments = Arguments {
        provider: kubernetes::provider("farm/gpus").expect("a provider"),
        ..world.arguments("payer")
    };
    run(arguments, &cluster).await.expect("opens");
    let asked = asked.lock().expect("no panic");
    let reads = |path: &str| path.ends_with("/namespaces/farm/cocoonproviders/gpus");
    assert!(asked.iter().any(|(_, path, _)| reads(path)));
}
