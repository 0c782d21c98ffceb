//! `getTransactions` and `tryLocate…Tx`.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use tycho_types::error::Error as CellError;
use tycho_types::models::{AnyAddr, IntAddr, Message, MsgInfo, StdAddr, Transaction, TxInfo};
use tycho_types::prelude::*;

use super::accounts::{friendly, transaction_id};
use super::envelope::ApiError;
use super::params::Params;
use crate::chain::{Chain, TransactionRecord};
use crate::network::Network;

/// Transactions in one answer when the client names no number, and at most; the public endpoint's own.
const DEFAULT_LIMIT: usize = 10;
const LIMIT: usize = 100;

pub(super) fn list(network: &Network, params: &Params) -> Result<Value, ApiError> {
    let address = params.address("address")?;
    let limit = params.integer("limit")?.unwrap_or(DEFAULT_LIMIT);
    if !(1..=LIMIT).contains(&limit) {
        return Err(ApiError::validation(format!(
            "parameter limit must be between 1 and {LIMIT}"
        )));
    }
    let from = match (params.integer("lt")?, params.hash("hash")?) {
        (Some(lt), Some(hash)) => Some((lt, hash)),
        _ => None,
    };
    let to_lt: u64 = params.integer("to_lt")?.unwrap_or(0);
    network.read(|chain| {
        if let Some((lt, hash)) = from {
            locate(chain, &address, lt, &hash)?;
        }
        chain
            .transactions(&address, from.map(|(lt, _)| lt))
            .take_while(|record| record.lt > to_lt)
            .take(limit)
            .map(|record| render(record))
            .collect()
    })
}

/// Finds the transaction that received the message sent by `source` at `created_lt`.
pub(super) fn locate_result(network: &Network, params: &Params) -> Result<Value, ApiError> {
    let (source, destination, created_lt) = message_id(params)?;
    network.read(|chain| {
        find(chain, &destination, |transaction| {
            let Some(Ok(info)) = transaction.in_msg.as_ref().map(message_info) else {
                return false;
            };
            is_message(&info, &source, &destination, created_lt)
        })
    })
}

/// Finds the transaction that sent the message to `destination` at `created_lt`.
pub(super) fn locate_source(network: &Network, params: &Params) -> Result<Value, ApiError> {
    let (source, destination, created_lt) = message_id(params)?;
    network.read(|chain| {
        find(chain, &source, |transaction| {
            transaction
                .iter_out_msgs()
                .flatten()
                .any(|message| is_message(&message.info, &source, &destination, created_lt))
        })
    })
}

fn message_id(params: &Params) -> Result<(StdAddr, StdAddr, u64), ApiError> {
    Ok((
        params.address("source")?,
        params.address("destination")?,
        params.required_integer("created_lt")?,
    ))
}

fn is_message(info: &MsgInfo, source: &StdAddr, destination: &StdAddr, created_lt: u64) -> bool {
    let MsgInfo::Int(info) = info else { return false };
    info.created_lt == created_lt
        && info.src == IntAddr::Std(source.clone())
        && info.dst == IntAddr::Std(destination.clone())
}

fn find(chain: &Chain, address: &StdAddr, matches: impl Fn(&Transaction) -> bool) -> Result<Value, ApiError> {
    let found = chain.transactions(address, None).find(|record| {
        record
            .cell
            .parse::<Transaction>()
            .is_ok_and(|transaction| matches(&transaction))
    });
    match found {
        Some(record) => render(record),
        None => Err(ApiError::lite_server("transaction was not found")),
    }
}

fn locate(chain: &Chain, address: &StdAddr, lt: u64, hash: &HashBytes) -> Result<(), ApiError> {
    match chain.transactions(address, Some(lt)).next() {
        Some(record) if record.lt == lt && record.hash() == hash => Ok(()),
        Some(record) if record.lt == lt => Err(ApiError::lite_server("transaction hash mismatch")),
        Some(_) | None => Err(ApiError::lite_server(
            "cannot locate transaction in block with specified logical time",
        )),
    }
}

fn render(record: &TransactionRecord) -> Result<Value, ApiError> {
    render_transaction(record).map_err(|error| {
        ApiError::lite_server(format_args!(
            "transaction {} of {} cannot be read: {error}",
            record.lt, record.address
        ))
    })
}

/// `raw.transaction`: `fee` is what the account paid for it, forwarding of its messages included, and is split into
/// `storage_fee` and `other_fee`.
fn render_transaction(record: &TransactionRecord) -> Result<Value, CellError> {
    let transaction = record.cell.parse::<Transaction>()?;
    let mut fee = transaction.total_fees.tokens.into_inner();
    let mut out_messages = Vec::new();
    for cell in transaction.out_msgs.values() {
        let cell = cell?;
        if let MsgInfo::Int(info) = message_info(&cell)? {
            fee = fee.saturating_add(info.fwd_fee.into_inner());
        }
        out_messages.push(render_message(&cell)?);
    }
    let storage_fee = storage_fee(&transaction)?;
    let mut answer = json!({
        "@type": "raw.transaction",
        "address": {"@type": "accountAddress", "account_address": friendly(&record.address)},
        "account": record.address.to_string(),
        "utime": transaction.now,
        "data": Boc::encode_base64(&record.cell),
        "transaction_id": transaction_id(record.lt, record.hash()),
        "fee": fee.to_string(),
        "storage_fee": storage_fee.to_string(),
        "other_fee": fee.saturating_sub(storage_fee).to_string(),
    });
    if let Some(cell) = &transaction.in_msg {
        answer["in_msg"] = render_message(cell)?;
    }
    answer["out_msgs"] = Value::from(out_messages);
    Ok(answer)
}

fn storage_fee(transaction: &Transaction) -> Result<u128, CellError> {
    let phase = match transaction.load_info()? {
        TxInfo::Ordinary(info) => info.storage_phase,
        TxInfo::TickTock(info) => Some(info.storage_phase),
    };
    Ok(phase.map_or(0, |phase| phase.storage_fees_collected.into_inner()))
}

fn message_info(cell: &Cell) -> Result<MsgInfo, CellError> {
    MsgInfo::load_from(&mut cell.as_slice_allow_exotic())
}

/// `raw.message`
fn render_message(cell: &Cell) -> Result<Value, CellError> {
    let message = cell.parse::<Message<'_>>()?;
    let header = Header::of(&message.info);
    let body = CellBuilder::build_from(message.body)?;
    let init = message.init.as_ref().map(CellBuilder::build_from).transpose()?;
    let (data, text) = render_data(&body, init.as_ref());
    Ok(json!({
        "@type": "raw.message",
        "hash": BASE64_STANDARD.encode(cell.repr_hash()),
        "source": header.source,
        "destination": header.destination,
        "value": header.value.to_string(),
        "extra_currencies": [],
        "fwd_fee": header.forward_fee.to_string(),
        "ihr_fee": "0",
        "created_lt": header.created_lt.to_string(),
        "body_hash": BASE64_STANDARD.encode(body.repr_hash()),
        "msg_data": data,
        "message": text,
    }))
}

/// The members of a message's header, empty or zero where its kind has none.
#[derive(Default)]
struct Header {
    source: String,
    destination: String,
    value: u128,
    forward_fee: u128,
    created_lt: u64,
}

impl Header {
    fn of(info: &MsgInfo) -> Self {
        match info {
            MsgInfo::Int(info) => Self {
                source: internal_address(&info.src),
                destination: internal_address(&info.dst),
                value: info.value.tokens.into_inner(),
                forward_fee: info.fwd_fee.into_inner(),
                created_lt: info.created_lt,
            },
            MsgInfo::ExtIn(info) => Self {
                destination: internal_address(&info.dst),
                ..Self::default()
            },
            MsgInfo::ExtOut(info) => Self {
                source: internal_address(&info.src),
                destination: info
                    .dst
                    .as_ref()
                    .map(|dst| AnyAddr::Ext(dst.clone()))
                    .map_or_else(String::new, |dst| match dst {
                        AnyAddr::Ext(address) => address.to_string(),
                        AnyAddr::None | AnyAddr::Std(_) | AnyAddr::Var(_) => String::new(),
                    }),
                created_lt: info.created_lt,
                ..Self::default()
            },
        }
    }
}

fn internal_address(address: &IntAddr) -> String {
    match address {
        IntAddr::Std(address) => friendly(address),
        IntAddr::Var(_) => String::new(),
    }
}

/// `msg_data` and `message`: a text comment (op 0) as text, everything else as cells.
fn render_data(body: &Cell, init: Option<&Cell>) -> (Value, String) {
    match comment(body) {
        Some(text) => (
            json!({"@type": "msg.dataText", "text": BASE64_STANDARD.encode(&text)}),
            text,
        ),
        None => (
            json!({
                "@type": "msg.dataRaw",
                "body": Boc::encode_base64(body),
                "init_state": init.map(Boc::encode_base64).unwrap_or_default(),
            }),
            // The endpoint wraps this one at the end of a line.
            format!("{}\n", BASE64_STANDARD.encode(body.data())),
        ),
    }
}

/// The text of a comment: op 0, then UTF-8 along the chain of first references.
fn comment(body: &Cell) -> Option<String> {
    let mut slice = body.as_slice().ok()?;
    if slice.load_u32().ok()? != 0 {
        return None;
    }
    let mut bytes = Vec::new();
    loop {
        let length = usize::from(slice.size_bits() / 8);
        if slice.size_bits() % 8 != 0 || slice.size_refs() > 1 {
            return None;
        }
        let start = bytes.len();
        bytes.resize(start + length, 0);
        slice.load_raw(&mut bytes[start..], slice.size_bits()).ok()?;
        match slice.load_reference() {
            Ok(next) => slice = next.as_slice().ok()?,
            Err(_) => return String::from_utf8(bytes).ok(),
        }
    }
}
