//! Methods about one account.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use tycho_types::models::{Account, AccountState, StateInit, StdAddr};
use tycho_types::prelude::*;

use super::envelope::ApiError;
use super::params::Params;
use super::{blocks, send, stack};
use crate::chain::{Chain, method_id};
use crate::network::Network;

/// Hash of the code of wallet v5r1.
const WALLET_V5R1: &str = "20834b7b72b112147e1b2fb457b84e74d1a30f04f737d4f62a668e9552d2b72f";
/// Hash of the code of wallet v4r2.
const WALLET_V4R2: &str = "feb5ff6820e2ff0d9483e7e0d62c817d846789fb4ae580c878866d959dabd5c0";
/// Hash of the code of wallet v3r2.
const WALLET_V3R2: &str = "84dafa449f98a6987789ba232358072bc0f76dc4524002a5d0918b9a75d2d599";

pub(super) fn balance(network: &Network, params: &Params) -> Result<Value, ApiError> {
    let address = params.address("address")?;
    Ok(Value::from(
        network.read(|chain| chain.balance(&address))?.to_string(),
    ))
}

pub(super) fn state(network: &Network, params: &Params) -> Result<Value, ApiError> {
    let address = params.address("address")?;
    let account = network.read(|chain| chain.account(&address))?;
    Ok(Value::from(state_name(account.as_ref())))
}

pub(super) fn information(network: &Network, params: &Params) -> Result<Value, ApiError> {
    let address = params.address("address")?;
    network.read(|chain| {
        let account = chain.account(&address)?;
        let (code, data) = code_and_data(account.as_ref());
        Ok(json!({
            "@type": "raw.fullAccountState",
            "balance": balance_of(account.as_ref()),
            "extra_currencies": [],
            "code": code,
            "data": data,
            "last_transaction_id": last_transaction(chain, &address),
            "block_id": blocks::masterchain_id(chain.head()),
            "frozen_hash": frozen_hash(account.as_ref()),
            "sync_utime": chain.head().utime,
            "@extra": format!("{}:0:{}", chain.head().utime, chain.head().seqno),
            "state": state_name(account.as_ref()),
        }))
    })
}

pub(super) fn extended_information(network: &Network, params: &Params) -> Result<Value, ApiError> {
    let address = params.address("address")?;
    network.read(|chain| {
        let account = chain.account(&address)?;
        let (code, data) = code_and_data(account.as_ref());
        let frozen_hash = frozen_hash(account.as_ref());
        let account_state = if state_name(account.as_ref()) == "uninitialized" {
            json!({"@type": "uninited.accountState", "frozen_hash": frozen_hash})
        } else {
            json!({"@type": "raw.accountState", "code": code, "data": data, "frozen_hash": frozen_hash})
        };
        Ok(json!({
            "@type": "fullAccountState",
            "address": {"@type": "accountAddress", "account_address": friendly(&address)},
            "balance": balance_of(account.as_ref()),
            "extra_currencies": [],
            "last_transaction_id": last_transaction(chain, &address),
            "block_id": blocks::masterchain_id(chain.head()),
            "sync_utime": chain.head().utime,
            "account_state": account_state,
            "revision": 0,
        }))
    })
}

pub(super) fn wallet_information(network: &Network, params: &Params) -> Result<Value, ApiError> {
    let address = params.address("address")?;
    network.read(|chain| {
        let account = chain.account(&address)?;
        let mut answer = json!({
            "wallet": false,
            "balance": balance_of(account.as_ref()),
            "extra_currencies": [],
            "account_state": state_name(account.as_ref()),
            "last_transaction_id": last_transaction(chain, &address),
        });
        if let Some(wallet) = account.as_ref().and_then(active).and_then(Wallet::recognise) {
            answer["wallet"] = true.into();
            answer["wallet_type"] = wallet.name.into();
            answer["seqno"] = wallet.seqno.into();
            answer["wallet_id"] = wallet.id.into();
        }
        Ok(answer)
    })
}

pub(super) fn run_get_method(network: &Network, params: &Params) -> Result<Value, ApiError> {
    let address = params.address("address")?;
    let method = match params.required("method")? {
        Value::String(name) => match name.parse() {
            Ok(number) => number,
            Err(_) => method_id(name),
        },
        Value::Number(_) => params.required_integer("method")?,
        _ => {
            return Err(ApiError::validation(
                "parameter method must be a name or a number",
            ));
        }
    };
    let arguments = match params.get("stack") {
        Some(stack) => stack::parse(stack)?,
        None => Vec::new(),
    };
    let (output, block, last) = network.read(|chain| {
        let output = chain.run_get_method(&address, method, &arguments)?;
        Ok::<_, ApiError>((
            output,
            blocks::masterchain_id(chain.head()),
            last_transaction(chain, &address),
        ))
    })?;
    Ok(json!({
        "@type": "smc.runResult",
        "gas_used": output.gas_used,
        "stack": stack::render(&output.stack),
        "exit_code": output.exit_code,
        "@extra": send::extra(network),
        "block_id": block,
        "last_transaction_id": last,
    }))
}

/// The bounceable form in which the endpoint names accounts.
pub(super) fn friendly(address: &StdAddr) -> String {
    address.display_base64_url(true).to_string()
}

fn state_name(account: Option<&Account>) -> &'static str {
    match account.map(|account| &account.state) {
        Some(AccountState::Active(_)) => "active",
        Some(AccountState::Frozen(_)) => "frozen",
        Some(AccountState::Uninit) | None => "uninitialized",
    }
}

fn balance_of(account: Option<&Account>) -> String {
    account
        .map_or(0, |account| account.balance.tokens.into_inner())
        .to_string()
}

fn active(account: &Account) -> Option<&StateInit> {
    match &account.state {
        AccountState::Active(init) => Some(init),
        AccountState::Frozen(_) | AccountState::Uninit => None,
    }
}

fn code_and_data(account: Option<&Account>) -> (String, String) {
    let boc = |cell: &Option<Cell>| cell.as_ref().map(Boc::encode_base64).unwrap_or_default();
    account
        .and_then(active)
        .map(|init| (boc(&init.code), boc(&init.data)))
        .unwrap_or_default()
}

fn frozen_hash(account: Option<&Account>) -> String {
    match account.map(|account| &account.state) {
        Some(AccountState::Frozen(hash)) => BASE64_STANDARD.encode(hash),
        Some(AccountState::Active(_) | AccountState::Uninit) | None => String::new(),
    }
}

fn last_transaction(chain: &Chain, address: &StdAddr) -> Value {
    let (lt, hash) = chain.last_transaction(address);
    transaction_id(lt, &hash)
}

/// `internal.transactionId`
pub(super) fn transaction_id(lt: u64, hash: &HashBytes) -> Value {
    json!({"@type": "internal.transactionId", "lt": lt.to_string(), "hash": BASE64_STANDARD.encode(hash)})
}

/// A wallet contract of a known kind.
struct Wallet {
    name: &'static str,
    seqno: u32,
    id: u32,
}

impl Wallet {
    fn recognise(init: &StateInit) -> Option<Self> {
        let code = init.code.as_ref()?.repr_hash().to_string();
        let mut data = init.data.as_ref()?.as_slice().ok()?;
        let name = match code.as_str() {
            WALLET_V5R1 => {
                // is_signature_allowed precedes seqno and wallet_id.
                data.load_bit().ok()?;
                "wallet v5 r1"
            }
            WALLET_V4R2 => "wallet v4 r2",
            WALLET_V3R2 => "wallet v3 r2",
            _ => return None,
        };
        Some(Self {
            name,
            seqno: data.load_u32().ok()?,
            id: data.load_u32().ok()?,
        })
    }
}
