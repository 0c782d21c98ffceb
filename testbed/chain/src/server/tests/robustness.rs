//! Bytes from outside never panic, and every answer is an envelope.

use axum::http::StatusCode;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::http::exchange;
use super::network;
use crate::chain::TESTBED_GLOBAL_ID;
use crate::network::Network;
use crate::server::{BODY_BYTES, METHODS, answer_json_rpc};
use crate::wallet::stranger;

fn answer(body: &[u8]) -> (StatusCode, Value) {
    let network = Network::open(TESTBED_GLOBAL_ID, None).unwrap();
    answer_json_rpc(&network, body)
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,40}".prop_map(Value::from),
        Just(Value::from(stranger(1).to_string())),
        prop::sample::select(vec![
            "num",
            "cell",
            "tuple",
            "list",
            "@type",
            "tvm.stackEntryNumber"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((member(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn member() -> impl Strategy<Value = String> {
    let known = [
        "address",
        "method",
        "stack",
        "boc",
        "limit",
        "lt",
        "hash",
        "to_lt",
        "seqno",
        "workchain",
        "config_id",
        "elements",
        "@type",
        "number",
        "bytes",
        "source",
        "destination",
        "created_lt",
        "count",
        "unixtime",
    ];
    prop_oneof![
        prop::sample::select(known.map(str::to_owned).to_vec()),
        "[a-z]{0,8}"
    ]
}

fn params() -> impl Strategy<Value = Value> {
    (
        json_value(),
        prop::collection::vec((member(), json_value()), 0..8),
    )
        .prop_map(|(address, members)| {
            let mut params: serde_json::Map<_, _> = members.into_iter().collect();
            if address.is_null() {
                params.insert("address".to_owned(), stranger(1).to_string().into());
            }
            Value::Object(params)
        })
}

proptest! {
    #[test]
    fn any_body_gets_an_envelope(body in prop::collection::vec(any::<u8>(), 0..600)) {
        let (status, answer) = answer(&body);
        prop_assert_eq!(status == StatusCode::OK, answer["ok"] == json!(true));
    }

    #[test]
    fn any_parameters_of_any_method_get_an_envelope(method in prop::sample::select(METHODS.to_vec()), params in params()) {
        let (status, answer) = answer(json!({"id": 1, "method": method, "params": params}).to_string().as_bytes());
        prop_assert_eq!(status == StatusCode::OK, answer["ok"] == json!(true));
        prop_assert_eq!(&answer["id"], &json!(1));
    }
}

#[test]
fn a_stack_nested_deeper_than_json_allows_is_refused() {
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = format!(r#"{{"method":"runGetMethod","params":{{"stack":{nested}}}}}"#);
    assert_eq!(answer(body.as_bytes()).0, StatusCode::UNPROCESSABLE_ENTITY);
}

#[test]
fn a_body_that_is_too_long_is_refused_before_it_is_read() {
    let (network, _) = network();
    let (status, body) = exchange(
        "POST",
        &format!("{}/jsonRPC", network.base_url()),
        &vec![b' '; BODY_BYTES + 1],
    );
    assert_eq!((status, &body["ok"]), (413, &json!(false)));
}
