//! The JSON that clients of the public endpoint rely on: the members that the TypeScript client validates, and their
//! types.

use serde_json::{Value, json};
use tycho_types::prelude::*;

use super::{TON, blocks, network, pay, result, rpc, send};
use crate::chain::message;
use crate::wallet::{WALLET_MODE, address_of, contract, payment, stranger};

/// Asserts that every member of `shape` is there with the same JSON type (`null` accepts any); lists by their first
/// element.
fn assert_shape(value: &Value, shape: &Value, path: &str) {
    match (value, shape) {
        (_, Value::Null) | (Value::Bool(_), Value::Bool(_)) | (Value::Number(_), Value::Number(_)) => {}
        (Value::String(text), Value::String(expected)) => {
            assert!(
                !path.ends_with("@type") || text == expected,
                "{path} is {text}, not {expected}"
            );
        }
        (Value::Object(members), Value::Object(expected)) => {
            for (name, shape) in expected {
                let member = members
                    .get(name)
                    .unwrap_or_else(|| panic!("{path}.{name} is missing"));
                assert_shape(member, shape, &format!("{path}.{name}"));
            }
        }
        (Value::Array(items), Value::Array(shapes)) => {
            for (item, shape) in items.iter().zip(shapes.iter().cycle()) {
                assert_shape(item, shape, &format!("{path}[]"));
            }
        }
        _ => panic!("{path} is {value}, not like {shape}"),
    }
}

fn block_id() -> Value {
    json!({"@type": "ton.blockIdExt", "workchain": 0, "shard": "", "seqno": 0, "root_hash": "", "file_hash": ""})
}

fn transaction_id() -> Value {
    json!({"@type": "internal.transactionId", "lt": "", "hash": ""})
}

fn raw_message(data: &Value) -> Value {
    json!({
        "@type": "raw.message", "hash": "", "source": "", "destination": "", "value": "", "extra_currencies": [],
        "fwd_fee": "", "ihr_fee": "", "created_lt": "", "body_hash": "", "msg_data": data, "message": "",
    })
}

#[test]
fn account_methods_have_the_public_shapes() {
    let (network, wallet) = network();
    let absent = json!({"address": stranger(9).to_string()});
    let active = json!({"address": wallet.address().display_base64_url(true).to_string()});
    send(&network, &pay(&wallet, 0, &stranger(7)));
    blocks(&network, 2);

    let information = json!({
        "@type": "raw.fullAccountState", "balance": "", "extra_currencies": [], "code": "", "data": "",
        "last_transaction_id": transaction_id(), "block_id": block_id(), "frozen_hash": "", "sync_utime": 0,
        "@extra": "", "state": "",
    });
    let answer = result(&network, "getAddressInformation", &active);
    assert_shape(&answer, &information, "getAddressInformation");
    assert_eq!(answer["state"], "active");
    Boc::decode_base64(answer["code"].as_str().unwrap()).unwrap();
    let answer = result(&network, "getAddressInformation", &absent);
    assert_shape(&answer, &information, "getAddressInformation");
    assert_eq!(
        (&answer["state"], &answer["balance"], &answer["code"]),
        (&"uninitialized".into(), &"0".into(), &"".into())
    );
    assert_eq!(answer["last_transaction_id"]["lt"], "0");

    let wallet_information = result(&network, "getWalletInformation", &active);
    assert_shape(
        &wallet_information,
        &json!({
            "wallet": true, "balance": "", "account_state": "", "wallet_type": "", "seqno": 0, "wallet_id": 0,
            "last_transaction_id": transaction_id(),
        }),
        "getWalletInformation",
    );
    assert_eq!(
        (&wallet_information["wallet_type"], &wallet_information["seqno"]),
        (&"wallet v5 r1".into(), &1.into())
    );
    assert_eq!(result(&network, "getWalletInformation", &absent)["wallet"], false);
    assert_eq!(result(&network, "getAddressState", &active), "active");
    let extended = result(&network, "getExtendedAddressInformation", &active);
    assert_eq!(extended["account_state"]["@type"], "raw.accountState");
}

#[test]
fn transactions_have_the_public_shape_with_both_kinds_of_message_data() {
    let (network, wallet) = network();
    let mut comment = CellBuilder::new();
    comment.store_u32(0).unwrap();
    comment.store_raw(b"job 42", 48).unwrap();
    let comment = message::internal(&stranger(7), 5, false, None, comment.build().unwrap()).unwrap();
    let boc = wallet.transfer_boc(0, &[(WALLET_MODE, comment), payment(&stranger(8), 6)]);
    send(&network, &boc);
    blocks(&network, 2);

    let transactions = result(
        &network,
        "getTransactions",
        &json!({"address": wallet.address().to_string()}),
    );
    let raw = json!({"@type": "msg.dataRaw", "body": "", "init_state": ""});
    let text = json!({"@type": "msg.dataText", "text": ""});
    let shape = json!({
        "@type": "raw.transaction", "address": {"@type": "accountAddress", "account_address": ""}, "utime": 0,
        "data": "", "transaction_id": transaction_id(), "fee": "", "storage_fee": "", "other_fee": "",
        "in_msg": raw_message(&raw), "out_msgs": [raw_message(&text), raw_message(&raw)],
    });
    let newest = &transactions[0];
    assert_shape(newest, &shape, "getTransactions[0]");
    assert_eq!(newest["in_msg"]["source"], "");
    assert_eq!(newest["out_msgs"][0]["message"], "job 42");
    assert_eq!(newest["out_msgs"][1]["value"], "6");
    assert_eq!(
        newest["out_msgs"][1]["destination"],
        stranger(8).display_base64_url(true).to_string()
    );
    let body = Boc::decode_base64(newest["out_msgs"][1]["msg_data"]["body"].as_str().unwrap()).unwrap();
    assert!(body.bit_len() == 0);
    let cell = Boc::decode_base64(newest["data"].as_str().unwrap()).unwrap();
    assert_eq!(
        BASE64.encode(cell.repr_hash()),
        newest["transaction_id"]["hash"].as_str().unwrap()
    );
    let amount = |name: &str| newest[name].as_str().unwrap().parse::<u128>().unwrap();
    assert_eq!(amount("fee"), amount("storage_fee") + amount("other_fee"));
}

use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};

#[test]
fn transactions_are_paged_by_logical_time_and_hash() {
    let (network, wallet) = network();
    for seqno in 0..4 {
        send(&network, &pay(&wallet, seqno, &stranger(7)));
        blocks(&network, 2);
    }
    let address = wallet.address().to_string();
    let list = |params: Value| {
        result(&network, "getTransactions", &params)
            .as_array()
            .unwrap()
            .clone()
    };
    let all = list(json!({"address": address}));
    assert_eq!(all.len(), 5, "the funding and four transfers");
    let id = |index: usize, name: &str| all[index]["transaction_id"][name].clone();
    assert_eq!(list(json!({"address": address, "limit": 2})), all[..2]);
    let hash = hex::encode(BASE64.decode(id(2, "hash").as_str().unwrap()).unwrap());
    assert_eq!(
        list(json!({"address": address, "lt": id(2, "lt"), "hash": hash})),
        all[2..]
    );
    assert_eq!(
        list(json!({"address": address, "lt": id(2, "lt"), "hash": id(2, "hash"), "limit": 1})),
        all[2..3]
    );
    assert_eq!(
        list(json!({"address": address, "to_lt": id(2, "lt"), "archival": true})),
        all[..2]
    );
    let (status, body) = rpc(
        &network,
        "getTransactions",
        &json!({"address": address, "lt": id(1, "lt"), "hash": id(2, "hash")}),
    );
    assert_eq!((status, &body["ok"]), (500, &json!(false)));

    let located = json!({
        "source": address, "destination": stranger(7).to_string(),
        "created_lt": all[0]["out_msgs"][0]["created_lt"],
    });
    assert_eq!(result(&network, "tryLocateSourceTx", &located), all[0]);
    assert_eq!(
        result(&network, "tryLocateResultTx", &located)["in_msg"],
        all[0]["out_msgs"][0]
    );
}

#[test]
fn a_getters_stack_goes_in_and_out_in_the_public_format() {
    let (network, wallet) = network();
    // DROP: a getter that answers its own arguments.
    let init = contract(&[0x30]);
    let mirror = address_of(&init).to_string();
    let deploy = message::internal(
        &address_of(&init),
        u128::from(TON),
        false,
        Some(init),
        Cell::default(),
    )
    .unwrap();
    send(&network, &wallet.transfer_boc(0, &[(WALLET_MODE, deploy)]));
    blocks(&network, 2);
    let boc = Boc::encode_base64(Cell::default());
    let (number, cell) = (
        json!({"@type": "tvm.stackEntryNumber", "number": {"@type": "tvm.numberDecimal", "number": "7"}}),
        json!({"@type": "tvm.stackEntryCell", "cell": {"@type": "tvm.cell", "bytes": boc}}),
    );
    let list = json!({"@type": "tvm.list", "elements": [number, number]});
    let tuple = json!({"@type": "tvm.tuple", "elements": [number, cell, {"@type": "tvm.stackEntryList", "list": list}]});
    let stack = json!([
        ["num", 5], ["num", "0x1f"], ["num", "-10"], ["tvm.Cell", boc], ["slice", {"bytes": boc}], ["tuple", tuple],
        ["list", list], ["null", null],
    ]);
    let answer = result(
        &network,
        "runGetMethod",
        &json!({"address": mirror, "method": 1, "stack": stack}),
    );
    let object =
        json!({"bytes": boc, "object": {"data": {"b64": "", "len": 0}, "refs": [], "special": false}});
    let expected = json!([
        ["num", "0x5"], ["num", "0x1f"], ["num", "-0xa"], ["cell", object], ["cell", object], ["tuple", tuple],
        ["list", list], ["list", {"@type": "tvm.list", "elements": []}],
    ]);
    assert_eq!(answer["stack"], expected);
    let shape = json!({
        "@type": "smc.runResult", "gas_used": 0, "stack": null, "exit_code": 0, "@extra": "", "block_id": block_id(),
        "last_transaction_id": transaction_id(),
    });
    assert_shape(&answer, &shape, "runGetMethod");

    for bad in [
        json!("x"),
        json!([["num"]]),
        json!([["num", "0xzz"]]),
        json!([["what", 1]]),
        json!([["cell", "?"]]),
    ] {
        let (status, body) = rpc(
            &network,
            "runGetMethod",
            &json!({"address": mirror, "method": "m", "stack": bad}),
        );
        assert_eq!((status, &body["code"]), (422, &json!(422)), "{bad}");
    }
}

#[test]
fn block_methods_have_the_public_shapes() {
    let (network, wallet) = network();
    send(&network, &pay(&wallet, 0, &stranger(7)));
    blocks(&network, 1);
    let info = result(&network, "getMasterchainInfo", &json!({}));
    let shape = json!({"@type": "blocks.masterchainInfo", "last": block_id(), "init": block_id(), "state_root_hash": ""});
    assert_shape(&info, &shape, "getMasterchainInfo");
    let seqno = info["last"]["seqno"].clone();
    let whole = "-9223372036854775808";
    let shards = result(&network, "shards", &json!({"seqno": seqno}));
    assert_shape(
        &shards,
        &json!({"@type": "blocks.shards", "shards": [block_id()]}),
        "shards",
    );
    let id = json!({"workchain": 0, "shard": whole, "seqno": seqno});
    let header = result(&network, "getBlockHeader", &id);
    assert_eq!(
        (&header["id"]["seqno"], &header["global_id"]),
        (&seqno, &json!(-217))
    );
    let listed = result(&network, "getBlockTransactions", &id);
    assert_eq!(
        (
            &listed["incomplete"],
            listed["transactions"].as_array().unwrap().len()
        ),
        (&json!(false), 1)
    );
    assert_eq!(listed["transactions"][0]["account"], wallet.address().to_string());
    let by_time = json!({"workchain": -1, "shard": whole, "unixtime": header["gen_utime"]});
    assert_eq!(result(&network, "lookupBlock", &by_time)["seqno"], seqno);
    let (status, _) = rpc(&network, "shards", &json!({"seqno": 1_000_000}));
    assert_eq!(status, 500);
}

#[test]
fn the_global_id_and_the_prices_can_be_read_from_the_configuration() {
    let (network, _) = network();
    let param = |id: u32| {
        let answer = result(&network, "getConfigParam", &json!({"config_id": id}));
        Boc::decode_base64(answer["config"]["bytes"].as_str().unwrap()).unwrap()
    };
    assert_eq!(param(19).parse::<i32>().unwrap(), -217);
    let prices = param(25)
        .parse::<tycho_types::models::MsgForwardPrices>()
        .unwrap();
    assert_eq!(prices, crate::chain::BASECHAIN_FORWARDING);
    let (status, body) = rpc(&network, "getConfigParam", &json!({"config_id": 9_999}));
    assert_eq!((status, &body["ok"]), (500, &json!(false)));
}

#[test]
fn bad_requests_are_told_what_is_wrong() {
    let (network, _) = network();
    let failure = |method: &str, params: Value| {
        let (status, body) = rpc(&network, method, &params);
        (status, body["error"].as_str().unwrap().to_owned())
    };
    assert_eq!(failure("noSuchMethod", json!({})), (422, "Unknown method".into()));
    assert_eq!(
        failure("getAddressBalance", json!({"address": "x"})),
        (416, "Incorrect address".into())
    );
    assert_eq!(
        failure("getAddressBalance", json!({})),
        (422, "parameter address is required".into())
    );
    assert_eq!(
        failure(
            "getTransactions",
            json!({"address": stranger(1).to_string(), "limit": 101})
        )
        .0,
        422
    );
    assert_eq!(failure("sendBoc", json!({"boc": "%%%"})).0, 422);
    assert_eq!(failure("sendBoc", json!({"boc": "AAAA"})).0, 500);
}
