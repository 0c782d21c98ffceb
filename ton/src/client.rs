//! The chain client: one toncenter v2 HTTP endpoint, asked by JSON-RPC.
//!
//! An endpoint may drop, delay, duplicate and lie. Answers are limited in size, checked in shape, and transactions
//! are taken from their bags of cells, whose hashes must link up. Which of two endpoints tells the truth is the
//! caller's question.

mod answers;
mod api_key;
mod error;
mod transport;
mod wire;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

pub use answers::{Account, AccountState, GetterResult, Head, TransactionId};
pub use api_key::ApiKey;
pub use error::ClientError;
pub use transport::{ATTEMPTS, CONNECT_TIMEOUT, MAX_RESPONSE_BYTES, REQUEST_TIMEOUT};
pub use wire::MAX_STACK_ENTRIES;

use crate::prices::{FORWARD_PARAM, GAS_PARAM, Prices};
use crate::transaction::Transaction;
use crate::{Address, Cell, Network};

/// Most transactions asked for at once. A wallet transaction with 255 redeems takes about 300 KB of answer, most
/// others 4 KB; 32 stay within [`MAX_RESPONSE_BYTES`] even where every one of them is large.
pub const MAX_TRANSACTIONS_PER_PAGE: u32 = 32;

/// One toncenter v2 endpoint. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct ChainClient {
    transport: transport::Transport,
}

/// Reads bytes as the answer to every method; what it finds does not matter.
#[cfg(feature = "fuzzing")]
pub fn read_as_every_answer(body: &[u8], address: &Address) {
    if let Ok(value) = serde_json::from_slice(body) {
        wire::read_all(&value, address);
    }
}

impl ChainClient {
    /// A client of the endpoint with the base address `url`, like `https://toncenter.com/api/v2` or
    /// `http://127.0.0.1:18081/api/v2`. Opens no connection yet.
    ///
    /// Anything but https is refused, since whoever sits on the way could answer in the endpoint's place. Plain http is
    /// for loopback addresses, and for endpoints of the testbed's network that ask for no key: its coins are nobody's
    /// money.
    pub fn new(network: &Network, url: &str, api_key: Option<&ApiKey>) -> Result<Self, ClientError> {
        Ok(Self {
            transport: transport::Transport::new(network, url, api_key)?,
        })
    }

    /// The endpoint's host, with its port where the scheme has another one: what people and metrics call it. Paths are
    /// left out, since providers put keys there.
    pub fn endpoint(&self) -> &str {
        self.transport.endpoint()
    }

    /// Whether both ask the same endpoint, however its address was written.
    pub(crate) fn asks_as(&self, other: &Self) -> bool {
        self.transport.is_same(&other.transport)
    }

    /// Number, time and network of the newest block.
    pub async fn head(&self) -> Result<Head, ClientError> {
        let block = wire::masterchain_block(&self.transport.call("getMasterchainInfo", &json!({})).await?)?;
        let params = json!({ "workchain": block.workchain, "shard": block.shard, "seqno": block.seqno });
        let header = self.transport.call("getBlockHeader", &params).await?;
        wire::head(&header, block.seqno)
    }

    /// The network's global id: config parameter 19.
    pub async fn global_id(&self) -> Result<i32, ClientError> {
        wire::global_id(&self.config_param(19).await?)
    }

    /// What gas and messages cost in the basechain: config parameters 21 and 25.
    pub async fn prices(&self) -> Result<Prices, ClientError> {
        let gas = self.config_param(GAS_PARAM).await?;
        let forward = self.config_param(FORWARD_PARAM).await?;
        Prices::parse(&gas, &forward).map_err(|_| ClientError::BadResponse {
            method: "getConfigParam",
            what: "prices",
        })
    }

    async fn config_param(&self, id: u32) -> Result<Cell, ClientError> {
        let answer = self
            .transport
            .call("getConfigParam", &json!({ "config_id": id }))
            .await?;
        wire::config_param(&answer)
    }

    /// Fails where the endpoint serves another network. Ask once at start, before anything is signed.
    pub async fn check_network(&self, network: &Network) -> Result<(), ClientError> {
        let found = self.global_id().await?;
        if found == network.global_id() {
            return Ok(());
        }
        Err(ClientError::WrongNetwork {
            endpoint: self.endpoint().to_owned(),
            expected: network.global_id(),
            name: network.name().to_owned(),
            found,
        })
    }

    /// An account's balance, code hash and last transaction.
    pub async fn account(&self, address: &Address) -> Result<Account, ClientError> {
        let params = json!({ "address": address.to_string() });
        wire::account(&self.transport.call("getAddressInformation", &params).await?)
    }

    /// Runs a getter without arguments.
    pub async fn run_get_method(&self, address: &Address, method: &str) -> Result<GetterResult, ClientError> {
        let params = json!({ "address": address.to_string(), "method": method, "stack": [] });
        wire::getter(&self.transport.call("runGetMethod", &params).await?)
    }

    /// Hands a signed message to the network.
    ///
    /// Success says that the endpoint took it, [`ClientError::Rejected`] that the contract refused it on the state
    /// that the endpoint knows, which also happens where an earlier copy was processed. Neither tells anything about
    /// payment.
    pub async fn send_boc(&self, boc: &[u8]) -> Result<(), ClientError> {
        self.transport
            .call("sendBoc", &json!({ "boc": STANDARD.encode(boc) }))
            .await
            .map(drop)
    }

    /// Transactions of an account, newest first: from its last one, or from `from` (included) backwards. At most
    /// `limit` of them, and at most [`MAX_TRANSACTIONS_PER_PAGE`].
    ///
    /// Every transaction is parsed from its cells, belongs to the account, and is the predecessor that the one
    /// before it names; otherwise the answer is a [`ClientError::BadResponse`].
    pub async fn transactions(
        &self,
        address: &Address,
        from: Option<TransactionId>,
        limit: u32,
    ) -> Result<Vec<Transaction>, ClientError> {
        let limit = limit.min(MAX_TRANSACTIONS_PER_PAGE);
        let mut params = json!({ "address": address.to_string(), "limit": limit });
        if let (Some(from), Value::Object(fields)) = (from, &mut params) {
            fields.insert("lt".to_owned(), json!(from.lt.to_string()));
            fields.insert("hash".to_owned(), json!(STANDARD.encode(from.hash)));
        }
        let answer = self.transport.call("getTransactions", &params).await?;
        wire::transactions(&answer, address, from, limit)
    }
}
