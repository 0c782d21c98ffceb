//! What an endpoint answers that lies: answers of the right shape, with figures that would cost somebody money.

use serde_json::{Value, json};

/// Seconds by which the time of blocks is wrong.
const AHEAD_SECONDS: u64 = 3_600;

/// Numbers of a getter from here on are taken for amounts or times; what lies below are counters and states.
const AMOUNTS: u64 = 1_000_000;

/// What is added to an amount: 0.5 TON.
const INVENTED: u64 = 500_000_000;

/// Changes the answer of a method: time runs ahead, accounts hold more, nothing was ever sent, and a getter's first
/// amount, or its only number, is higher.
pub(super) fn distort(method: &str, answer: &mut Value) {
    match method {
        "getBlockHeader" => {
            if let Some(time) = answer["gen_utime"].as_u64() {
                answer["gen_utime"] = json!(time + AHEAD_SECONDS);
            }
        }
        "getAddressInformation" => {
            answer["balance"] = json!("987654321000");
            answer["last_transaction_id"]["lt"] = json!("0");
        }
        "runGetMethod" => {
            let Some(stack) = answer["stack"].as_array_mut() else {
                return;
            };
            if let [only] = stack.as_mut_slice() {
                raise(&mut only[1], 1);
                return;
            }
            let is_amount = |entry: &Value| number(&entry[1]).is_some_and(|value| value >= AMOUNTS);
            if let Some(amount) = stack.iter_mut().find(|entry| is_amount(entry)) {
                raise(&mut amount[1], INVENTED);
            }
        }
        _ => {}
    }
}

/// A number in hexadecimal digits with prefix.
fn number(value: &Value) -> Option<u64> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    u64::from_str_radix(digits, 16).ok()
}

fn raise(value: &mut Value, more: u64) {
    if let Some(known) = number(value) {
        *value = json!(format!("{:#x}", known.saturating_add(more)));
    }
}
