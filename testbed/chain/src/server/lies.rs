//! What an endpoint answers that lies: answers of the right shape, with figures that would cost somebody money.

use serde_json::{Value, json};

/// Seconds by which the time of blocks is wrong.
const AHEAD_SECONDS: u64 = 3_600;

/// Place of `redeemed` among the values that a channel's getter `channel_state` answers.
const REDEEMED: usize = 3;

/// What a channel claims to have paid beside what it has: 0.5 TON.
const INVENTED: u64 = 500_000_000;

/// Changes the answer of a method: time runs ahead, wallets have used another number, channels have paid more, accounts
/// hold more, and nothing was ever sent.
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
            let stack = answer["stack"].as_array_mut();
            let Some(stack) = stack else { return };
            let (place, more) = if stack.len() > REDEEMED {
                (REDEEMED, INVENTED)
            } else {
                (0, 1)
            };
            if let Some(number) = stack.get_mut(place).and_then(|entry| entry.get_mut(1)) {
                raise(number, more);
            }
        }
        _ => {}
    }
}

/// Adds to a number in hexadecimal digits with prefix.
fn raise(number: &mut Value, more: u64) {
    let read = number.as_str().and_then(|text| text.strip_prefix("0x"));
    if let Some(value) = read.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
        *number = json!(format!("{:#x}", value + more));
    }
}
