use proptest::prelude::*;
use serde_json::json;

use super::*;

/// JSON of any shape, with the names that the readers look for mixed in.
fn any_json() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "last",
        "seqno",
        "shard",
        "workchain",
        "id",
        "gen_utime",
        "global_id",
        "config",
        "bytes",
        "balance",
        "state",
        "code",
        "last_transaction_id",
        "lt",
        "hash",
        "block_id",
        "stack",
        "exit_code",
        "data",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        prop::sample::select(vec![
            "active",
            "frozen",
            "uninitialized",
            "num",
            "cell",
            "0x1",
            "-0x0",
            "te6cckEBAQEAAgAAAEysuc0="
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..8).prop_map(|fields| Value::Object(
                fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect()
            )),
        ]
    })
}

#[test]
fn numbers_are_read_as_text_and_as_numbers() {
    for seqno in [json!(7), json!("7")] {
        let value = json!({ "last": { "workchain": -1, "shard": "-9223372036854775808", "seqno": seqno } });
        assert_eq!(masterchain_block(&value).map(|block| block.seqno).ok(), Some(7));
    }
}

#[test]
fn an_account_that_does_not_exist_may_have_a_balance_of_minus_one() {
    let value = json!({
        "balance": -1, "state": "uninitialized", "code": "",
        "last_transaction_id": { "lt": "0", "hash": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" },
        "block_id": { "seqno": 1 },
    });
    assert_eq!(
        account(&value).map(|account| account.balance).ok(),
        Some(NanoTon::ZERO)
    );
}

#[test]
fn the_header_of_another_block_is_refused() {
    let value = json!({ "id": { "seqno": 8 }, "gen_utime": 1, "global_id": -239 });
    assert!(head(&value, 8).is_ok());
    assert!(head(&value, 9).is_err());
}

#[test]
fn numbers_of_257_bits_are_read() {
    let text = format!("-0x1{}", "0".repeat(64));
    let Some(StackEntry::Number {
        negative: true,
        magnitude,
    }) = number(&text)
    else {
        panic!("a number")
    };
    assert_eq!((magnitude.len(), magnitude[0]), (33, 1));
}

proptest! {
    #[test]
    fn no_answer_makes_reading_panic(value in any_json()) {
        read_all(&value, &Address { workchain: 0, account: [0; 32] });
        let _ = stack_entry(&value);
    }

    #[test]
    fn no_text_makes_reading_a_number_panic(text in "-?(0x)?[0-9a-zA-Z]{0,70}") {
        let _ = number(&text);
    }
}
