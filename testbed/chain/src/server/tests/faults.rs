//! Pauses, advances and faults, by their routes.

use serde_json::{Value, json};

use super::http::{get, post};
use super::{TON, blocks, network, pay, result, rpc, send};
use crate::testing::LocalNetwork;
use crate::wallet::stranger;

fn testbed(network: &LocalNetwork, route: &str, body: &Value) -> (u16, Value) {
    post(
        &format!("{}/testbed/{route}", network.root_url()),
        &body.to_string(),
    )
}

fn balance(network: &LocalNetwork) -> String {
    let answer = result(
        network,
        "getAddressBalance",
        &json!({"address": stranger(7).to_string()}),
    );
    answer.as_str().unwrap().to_owned()
}

#[test]
fn while_paused_messages_are_let_in_and_no_blocks_are_made() {
    let network = LocalNetwork::start(crate::testing::Options::default()).unwrap();
    let wallet = crate::wallet::Wallet::new(1);
    network.fund(&wallet.address().to_string(), 5 * TON).unwrap();
    assert_eq!(testbed(&network, "blocks", &json!({"paused": true})).0, 200);
    let before = network.status().unwrap();
    assert_eq!(send(&network, &pay(&wallet, 0, &stranger(7))).0, 200);
    testbed(&network, "advance", &json!({"seconds": 60}));
    let (_, status) = get(&format!("{}/testbed/status", network.root_url()));
    assert_eq!(status["result"]["waiting"], 1);
    assert_eq!(status["result"]["paused"], true);
    assert_eq!(status["result"]["seqno"], before.seqno);

    testbed(&network, "blocks", &json!({"paused": false}));
    let mut seqno = network.network().blocks();
    while balance(&network) == "0" {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(seqno.changed()).unwrap();
    }
    assert!(network.status().unwrap().utime >= before.utime + 60);
}

#[test]
fn advancing_moves_the_time_that_the_next_block_carries() {
    let (network, _) = network();
    let before = network.status().unwrap().utime;
    let (status, body) = testbed(&network, "advance", &json!({"seconds": 86_400}));
    assert_eq!(status, 200);
    assert!(body["result"]["utime"].as_u64().unwrap() >= u64::from(before) + 86_400);
    assert_eq!(testbed(&network, "advance", &json!({"seconds": -1})).0, 422);
    assert_eq!(
        testbed(&network, "advance", &json!({"seconds": 4_000_000_000_u64})).0,
        422
    );
}

#[test]
fn a_dropped_message_is_answered_with_success_and_never_paid() {
    let (network, wallet) = network();
    testbed(&network, "faults", &json!({"dropSends": 1}));
    let boc = pay(&wallet, 0, &stranger(7));
    assert_eq!(send(&network, &boc).0, 200);
    blocks(&network, 3);
    assert_eq!(balance(&network), "0");
    assert_eq!(send(&network, &boc).0, 200, "the same bytes again");
    blocks(&network, 2);
    assert_eq!(balance(&network), TON.to_string());
}

#[test]
fn a_duplicated_message_is_paid_once() {
    let (network, wallet) = network();
    testbed(&network, "faults", &json!({"duplicateSends": 1}));
    send(&network, &pay(&wallet, 0, &stranger(7)));
    assert_eq!(network.status().unwrap().waiting, 2);
    blocks(&network, 3);
    assert_eq!(balance(&network), TON.to_string());
}

#[test]
fn a_lost_reply_looks_like_a_timeout_and_the_message_is_paid() {
    let (network, wallet) = network();
    testbed(&network, "faults", &json!({"lostReplies": 1}));
    let (status, body) = send(&network, &pay(&wallet, 0, &stranger(7)));
    assert_eq!((status, &body["ok"]), (504, &json!(false)));
    blocks(&network, 2);
    assert_eq!(balance(&network), TON.to_string());
}

#[test]
fn an_unavailable_endpoint_answers_503_as_often_as_told() {
    let (network, _) = network();
    testbed(&network, "faults", &json!({"unavailable": 2}));
    let statuses: Vec<_> = (0..3)
        .map(|_| rpc(&network, "getMasterchainInfo", &json!({})).0)
        .collect();
    assert_eq!(statuses, [503, 503, 200]);
}

#[test]
fn stale_reads_answer_from_the_past_until_switched_off() {
    let (network, wallet) = network();
    testbed(&network, "faults", &json!({"staleReads": true}));
    let seqno =
        |network: &LocalNetwork| result(network, "getMasterchainInfo", &json!({}))["last"]["seqno"].clone();
    let before = seqno(&network);
    send(&network, &pay(&wallet, 0, &stranger(7)));
    blocks(&network, 3);
    assert_eq!(
        (seqno(&network), balance(&network)),
        (before.clone(), "0".to_owned())
    );
    let (_, faults) = testbed(&network, "faults", &json!({"staleReads": false}));
    assert_eq!(faults["result"]["staleReads"], false);
    assert_eq!(balance(&network), TON.to_string());
    assert_ne!(seqno(&network), before);
}

#[test]
fn a_fault_that_does_not_exist_is_refused() {
    let (network, _) = network();
    assert_eq!(testbed(&network, "faults", &json!({"dropSend": 1})).0, 422);
    assert_eq!(testbed(&network, "blocks", &json!({})).0, 422);
}
