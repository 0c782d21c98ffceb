//! Tests of the HTTP side, over real sockets.

mod faults;
mod http;
mod robustness;
mod shapes;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use tycho_types::models::StdAddr;
use tycho_types::prelude::*;

use self::http::{get, post};
use crate::testing::{LocalNetwork, Options};
use crate::wallet::{Wallet, payment, stranger};

/// One TON in nanoTON.
const TON: u64 = 1_000_000_000;

/// A network that makes blocks only when asked, with the wallet of seed 1 holding 5 TON.
fn network() -> (LocalNetwork, Wallet) {
    let network = LocalNetwork::start(Options {
        block_interval: None,
        ..Options::default()
    })
    .unwrap();
    let wallet = Wallet::new(1);
    network.fund(&wallet.address().to_string(), 5 * TON).unwrap();
    (network, wallet)
}

/// Calls a method by JSON-RPC: HTTP status and body.
fn rpc(network: &LocalNetwork, method: &str, params: &Value) -> (u16, Value) {
    let request = json!({"id": "1", "jsonrpc": "2.0", "method": method, "params": params});
    post(&format!("{}/jsonRPC", network.base_url()), &request.to_string())
}

/// Calls a method by JSON-RPC and returns its result.
fn result(network: &LocalNetwork, method: &str, params: &Value) -> Value {
    let (status, mut body) = rpc(network, method, params);
    assert_eq!(
        (status, &body["ok"], &body["id"], &body["jsonrpc"]),
        (200, &json!(true), &json!("1"), &json!("2.0"))
    );
    body["result"].take()
}

fn send(network: &LocalNetwork, boc: &[u8]) -> (u16, Value) {
    rpc(network, "sendBoc", &json!({"boc": BASE64_STANDARD.encode(boc)}))
}

fn pay(wallet: &Wallet, seqno: u32, to: &StdAddr) -> Vec<u8> {
    wallet.transfer_boc(seqno, &[payment(to, u128::from(TON))])
}

fn blocks(network: &LocalNetwork, count: u32) {
    for _ in 0..count {
        network.make_block().unwrap();
    }
}

#[test]
fn a_payment_by_http_arrives_two_blocks_later() {
    let (network, wallet) = network();
    let (status, body) = send(&network, &pay(&wallet, 0, &stranger(7)));
    assert_eq!((status, &body["result"]["@type"]), (200, &json!("ok")));
    blocks(&network, 2);
    let balance = result(
        &network,
        "getAddressBalance",
        &json!({"address": stranger(7).to_string()}),
    );
    assert_eq!(balance, json!(TON.to_string()));
}

#[test]
fn a_refused_message_names_the_exit_code_in_the_envelope_of_the_public_endpoint() {
    let (network, wallet) = network();
    send(&network, &pay(&wallet, 0, &stranger(7)));
    blocks(&network, 1);
    let (status, body) = send(&network, &pay(&wallet, 0, &stranger(8)));
    assert_eq!(
        (status, &body["ok"], &body["code"]),
        (500, &json!(false), &json!(500))
    );
    let error = body["error"].as_str().unwrap();
    assert!(
        error.starts_with("LITE_SERVER_UNKNOWN: cannot apply external message to current state"),
        "{error}"
    );
    assert!(error.contains("exitcode=133,"), "{error}");
}

#[test]
fn send_boc_return_hash_answers_the_hash_of_the_message() {
    let (network, wallet) = network();
    let boc = pay(&wallet, 0, &stranger(7));
    let answer = result(
        &network,
        "sendBocReturnHash",
        &json!({"boc": BASE64_STANDARD.encode(&boc)}),
    );
    let hash = BASE64_STANDARD.encode(Boc::decode(&boc).unwrap().repr_hash());
    assert_eq!(
        (&answer["@type"], &answer["hash"]),
        (&json!("raw.extMessageInfo"), &json!(hash))
    );
}

#[test]
fn every_method_answers_by_query_string_json_body_and_json_rpc_alike() {
    let (network, wallet) = network();
    let address = wallet.address().to_string();
    let (by_query, body) = get(&format!(
        "{}/getAddressBalance?address={address}",
        network.base_url()
    ));
    let (by_body, _) = post(
        &format!("{}/getAddressBalance", network.base_url()),
        &json!({"address": address}).to_string(),
    );
    assert_eq!((by_query, by_body), (200, 200));
    assert_eq!(body, json!({"ok": true, "result": (5 * TON).to_string()}));
}

#[test]
fn the_faucet_answers_when_its_payment_has_arrived() {
    let network = LocalNetwork::start(Options::default()).unwrap();
    let address = stranger(7).to_string();
    let request = json!({"address": address, "nano": TON}).to_string();
    let (status, body) = post(&format!("{}/faucet", network.root_url()), &request);
    assert_eq!((status, &body["result"]["delivered"]), (200, &json!(true)));
    assert_eq!(network.balance(&address).unwrap(), u128::from(TON));
}

#[test]
fn the_faucet_refuses_what_it_cannot_pay_and_addresses_that_are_none() {
    let (network, _) = network();
    let faucet = |address: &str, nano: Value| {
        post(
            &format!("{}/faucet", network.root_url()),
            &json!({"address": address, "nano": nano}).to_string(),
        )
        .0
    };
    let address = stranger(7).to_string();
    assert_eq!(faucet(&address, json!(0)), 422);
    assert_eq!(faucet(&address, json!("6000000000000000000")), 422);
    assert_eq!(faucet(&address, json!(-1)), 422);
    assert_eq!(faucet(&address, json!("1.5")), 422);
    assert_eq!(faucet("not an address", json!(1)), 422);
}
