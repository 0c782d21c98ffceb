//! Methods about blocks and the configuration. Every block of the basechain has a block of the masterchain with the
//! same sequence number; the masterchain's own accounts live in the same blocks.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use tycho_types::prelude::*;

use super::envelope::ApiError;
use super::params::Params;
use super::send;
use crate::chain::{BlockHeader, Chain};
use crate::network::Network;

/// The whole workchain as one shard, as the endpoint writes it.
const WHOLE_SHARD: &str = "-9223372036854775808";

/// Transactions of one block that one answer lists; the public endpoint's own default.
const BLOCK_TRANSACTIONS_LISTED: usize = 40;

pub(super) fn masterchain_info(network: &Network, _params: &Params) -> Result<Value, ApiError> {
    network.read(|chain| {
        let first = chain.blocks().next().unwrap_or_else(|| chain.head());
        Ok(json!({
            "@type": "blocks.masterchainInfo",
            "last": masterchain_id(chain.head()),
            "state_root_hash": BASE64_STANDARD.encode(chain.head().root_hash),
            "init": masterchain_id(first),
            "@extra": format!("{}:0:{}", chain.head().utime, chain.head().seqno),
        }))
    })
}

pub(super) fn shards(network: &Network, params: &Params) -> Result<Value, ApiError> {
    let seqno = params.required_integer("seqno")?;
    network.read(|chain| {
        let header = known_block(chain, seqno)?;
        Ok(json!({"@type": "blocks.shards", "shards": [block_id(header, 0)]}))
    })
}

pub(super) fn header(network: &Network, params: &Params) -> Result<Value, ApiError> {
    let workchain = workchain(params)?;
    let seqno: u32 = params.required_integer("seqno")?;
    network.read(|chain| {
        let header = known_block(chain, seqno)?;
        let previous: Vec<_> = seqno
            .checked_sub(1)
            .and_then(|seqno| chain.block(seqno))
            .map(|header| block_id(header, workchain))
            .into_iter()
            .collect();
        Ok(json!({
            "@type": "blocks.header",
            "id": block_id(header, workchain),
            "global_id": chain.global_id(),
            "version": 0,
            "flags": 1,
            "after_merge": false,
            "after_split": false,
            "before_split": false,
            "want_merge": false,
            "want_split": false,
            "validator_list_hash_short": 0,
            "catchain_seqno": 0,
            "min_ref_mc_seqno": seqno.saturating_sub(1),
            "is_key_block": false,
            "prev_key_block_seqno": 0,
            "start_lt": header.start_lt.to_string(),
            "end_lt": header.end_lt.to_string(),
            "gen_utime": header.utime,
            "prev_blocks": previous,
        }))
    })
}

pub(super) fn lookup(network: &Network, params: &Params) -> Result<Value, ApiError> {
    let workchain = workchain(params)?;
    let seqno: Option<u32> = params.integer("seqno")?;
    let lt: Option<u64> = params.integer("lt")?;
    let utime: Option<u32> = params.integer("unixtime")?;
    network.read(|chain| {
        let found = match (seqno, lt, utime) {
            (Some(seqno), _, _) => chain.block(seqno),
            (None, Some(lt), _) => chain.blocks().find(|header| header.end_lt > lt),
            (None, None, Some(utime)) => chain.blocks().rev().find(|header| header.utime <= utime),
            (None, None, None) => {
                return Err(ApiError::validation("one of seqno, lt and unixtime is required"));
            }
        };
        found
            .map(|header| block_id(header, workchain))
            .ok_or_else(unknown_block)
    })
}

pub(super) fn transactions(network: &Network, params: &Params) -> Result<Value, ApiError> {
    let workchain = workchain(params)?;
    let seqno = params.required_integer("seqno")?;
    let count = params.integer("count")?.unwrap_or(BLOCK_TRANSACTIONS_LISTED);
    let after: u64 = params.integer("after_lt")?.unwrap_or(0);
    network.read(|chain| {
        let header = known_block(chain, seqno)?;
        let all = chain.block_transactions(seqno);
        let mut left = all
            .iter()
            .filter(|record| i32::from(record.address.workchain) == workchain && record.lt > after);
        let listed: Vec<_> = left
            .by_ref()
            .take(count)
            .map(|record| {
                json!({
                    "@type": "blocks.shortTxId",
                    "mode": 135,
                    "account": record.address.to_string(),
                    "lt": record.lt.to_string(),
                    "hash": BASE64_STANDARD.encode(record.hash()),
                })
            })
            .collect();
        Ok(json!({
            "@type": "blocks.transactions",
            "id": block_id(header, workchain),
            "req_count": count,
            "incomplete": left.next().is_some(),
            "transactions": listed,
        }))
    })
}

pub(super) fn config_param(network: &Network, params: &Params) -> Result<Value, ApiError> {
    let id = match params.integer("config_id")? {
        Some(id) => id,
        None => params.required_integer("param")?,
    };
    let cell = network.read(|chain| chain.config().raw.params.get_raw_cell(id));
    match cell {
        Ok(Some(cell)) => Ok(json!({
            "@type": "configInfo",
            "config": {"@type": "tvm.cell", "bytes": Boc::encode_base64(cell)},
            "@extra": send::extra(network),
        })),
        Ok(None) => Err(ApiError::lite_server(format_args!(
            "configuration parameter {id} does not exist"
        ))),
        Err(error) => Err(ApiError::lite_server(error)),
    }
}

fn workchain(params: &Params) -> Result<i32, ApiError> {
    match params.required_integer("workchain")? {
        workchain @ (-1 | 0) => Ok(workchain),
        other => Err(ApiError::lite_server(format_args!(
            "workchain {other} does not exist"
        ))),
    }
}

fn known_block(chain: &Chain, seqno: u32) -> Result<&BlockHeader, ApiError> {
    chain.block(seqno).ok_or_else(unknown_block)
}

fn unknown_block() -> ApiError {
    ApiError::new(
        axum::http::StatusCode::INTERNAL_SERVER_ERROR,
        "LITE_SERVER_NOTREADY: block is not in db",
    )
}

/// `ton.blockIdExt` of the masterchain's block.
pub(super) fn masterchain_id(header: &BlockHeader) -> Value {
    block_id(header, -1)
}

fn block_id(header: &BlockHeader, workchain: i32) -> Value {
    json!({
        "@type": "ton.blockIdExt",
        "workchain": workchain,
        "shard": WHOLE_SHARD,
        "seqno": header.seqno,
        "root_hash": BASE64_STANDARD.encode(header.root_hash),
        "file_hash": BASE64_STANDARD.encode(header.file_hash()),
    })
}
