//! Several endpoints of one network, of which a majority decides.
//!
//! One endpoint may lag, lie or be gone. Every read asks all of them at once and takes what more than half say; the
//! others are named in the [`Reading`] and stop nothing. Where no majority agrees, the [`QuorumError`] names who said
//! what.
//!
//! What a majority has shown stays the floor: an answer from a block before the newest one that [`Quorum::head`]
//! brought is no vote. So whoever reads the time first knows that everything read after it is at least as new.

mod answer;
mod ask;
mod endpoint;
mod error;
mod judge;
mod tally;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use answer::Answer;
pub use ask::{SEND_WAIT, STRAGGLER_WAIT};
pub use endpoint::{EndpointConfig, MAX_CALLS, PROBE_INTERVAL};
pub use error::{Dissent, QuorumError, Trouble};

use crate::client::{ClientError, Head};
use crate::on_chain::{ChannelOnChain, Found, WalletOnChain};
use crate::prices::Prices;
use crate::reader::{ChannelReader, Dated};
use crate::transaction::Transaction;
use crate::{Address, Network};
use ask::{Said, Until, ask_all, majority};
use endpoint::Endpoint;

/// Endpoints of one network at most: every read asks all of them, and five already outvote two that lie.
pub const MAX_ENDPOINTS: usize = 8;

/// How long one read waits for a majority: one call of the client takes 37 s where its endpoint fails three times as
/// slowly as it may, and most reads take two.
pub const READ_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a search through an account's transactions waits for a majority: at most 64 pages, of which a good endpoint
/// sends two a second.
pub const SEARCH_TIMEOUT: Duration = Duration::from_mins(2);

/// Reads one after another where endpoints answer and no majority agrees: each saw another block, which a moment later
/// is over. What still differs after two more blocks is a disagreement.
pub const ROUNDS: u32 = 3;

/// Between two rounds: a little more than a block.
const ROUND_WAIT: Duration = Duration::from_millis(500);

/// Seconds that the time of one endpoint's newest block may differ from the majority's before it is named: twenty-five
/// blocks, where good endpoints are two or three apart.
pub const MAX_SPREAD_SECONDS: u32 = 10;

/// Blocks by which a majority's newest block may lie behind an earlier one before it is taken for a network that began
/// again: seven minutes.
const RESTART_BLOCKS: u32 = 1_000;

/// What a majority says.
#[derive(Debug, Clone)]
pub struct Reading<T> {
    /// What it says.
    pub value: T,
    /// The endpoints that say something else, or nothing.
    pub dissent: Vec<Dissent>,
}

/// A message was handed to the network.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Endpoints that took it.
    pub taken: usize,
    /// Endpoints that did not.
    pub dissent: Vec<Dissent>,
}

/// One network through all its endpoints.
#[derive(Debug)]
pub struct Quorum {
    network: Network,
    endpoints: Vec<Arc<Endpoint>>,
    /// Number of the newest block that a majority has shown.
    floor: AtomicU32,
}

impl Quorum {
    /// The network through these endpoints, of which more than half decide. Opens no connection: an endpoint that is
    /// down or serves another network is found out when it is asked.
    pub fn new(network: Network, endpoints: &[EndpointConfig]) -> Result<Self, ClientError> {
        let invalid = |reason: String| ClientError::InvalidEndpoint { reason };
        if !(1..=MAX_ENDPOINTS).contains(&endpoints.len()) {
            return Err(invalid(format!(
                "network {} has {} endpoints, from 1 to {MAX_ENDPOINTS} are possible",
                network.name(),
                endpoints.len()
            )));
        }
        let mut opened: Vec<Endpoint> = Vec::with_capacity(endpoints.len());
        for config in endpoints {
            let endpoint = Endpoint::open(&network, config, &opened)?;
            if opened.iter().any(|before| before.is_same(&endpoint)) {
                return Err(invalid(format!(
                    "an endpoint of network {} is named twice: it would outvote the others",
                    network.name()
                )));
            }
            opened.push(endpoint);
        }
        Ok(Self {
            network,
            endpoints: opened.into_iter().map(Arc::new).collect(),
            floor: AtomicU32::new(0),
        })
    }

    /// Name and global id.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Endpoints that must agree: more than half of those configured.
    pub fn needed(&self) -> usize {
        majority(self.endpoints.len())
    }

    /// Names of the endpoints, in the order in which they were configured.
    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.endpoints.iter().map(|endpoint| endpoint.name())
    }

    /// What people should know about the number of endpoints; none where one of them may fail.
    pub fn warning(&self) -> Option<String> {
        let name = self.network.name();
        match self.endpoints.len() {
            1 => Some(format!(
                "network {name} has one endpoint: nobody contradicts it where it lies, and nothing works while it is gone; configure three"
            )),
            2 => Some(format!(
                "network {name} has two endpoints, of which both must agree: nothing works while either is gone; configure three"
            )),
            _ => None,
        }
    }

    /// The endpoints that were in trouble when they were last asked.
    pub fn troubled(&self) -> Vec<Dissent> {
        self.endpoints
            .iter()
            .filter_map(|endpoint| endpoint.trouble())
            .collect()
    }

    /// The newest block that a majority has reached: of the endpoints' blocks, the highest that so many have passed.
    ///
    /// A minority can neither hold this time back nor run ahead with it.
    pub async fn head(&self) -> Result<Reading<Head>, QuorumError> {
        let question = |reader: ChannelReader| async move { reader.client().head().await };
        let said = ask_all(
            &self.network,
            &self.endpoints,
            READ_TIMEOUT,
            Until::Majority,
            question,
        )
        .await;
        let reading = self.judge_heads(said)?;
        self.raise_floor(reading.value.seqno);
        Ok(reading)
    }

    /// What stands at a channel's address.
    pub async fn channel(&self, address: &Address) -> Result<Reading<ChannelOnChain>, QuorumError> {
        let address = *address;
        self.agree(
            READ_TIMEOUT,
            &format!("channel {address}"),
            move |reader| async move { reader.channel(&address).await },
        )
        .await
    }

    /// The wallet v5r1 at the address, with the lowest balance that one of the majority shows.
    pub async fn wallet(&self, address: &Address) -> Result<Reading<WalletOnChain>, QuorumError> {
        let address = *address;
        self.agree(
            READ_TIMEOUT,
            &format!("wallet {address}"),
            move |reader| async move {
                let value = reader.wallet(&address).await?;
                Ok(Dated {
                    block_seqno: value.block_seqno,
                    value,
                })
            },
        )
        .await
    }

    /// The wallet's transaction of the message with this normalised hash since the unix second `since`, with those
    /// after it, as far as the one of the majority goes that is furthest behind.
    pub async fn find_message(
        &self,
        wallet: &Address,
        hash: &[u8; 32],
        since: u32,
    ) -> Result<Reading<Option<Found>>, QuorumError> {
        let (wallet, hash) = (*wallet, *hash);
        self.agree(
            SEARCH_TIMEOUT,
            &format!("the transactions of {wallet}"),
            move |reader| async move {
                let is_it = |it: &Transaction| it.external_message_hash() == Some(hash);
                reader.find(&wallet, since, is_it).await
            },
        )
        .await
    }

    /// The receiver's transaction for a message with this body from `source`, since the unix second `since`.
    pub async fn find_arrival(
        &self,
        receiver: &Address,
        source: &Address,
        body_hash: [u8; 32],
        since: u32,
    ) -> Result<Reading<Option<Found>>, QuorumError> {
        let (receiver, source) = (*receiver, *source);
        self.agree(
            SEARCH_TIMEOUT,
            &format!("the transactions of {receiver}"),
            move |reader| async move {
                let is_it = |it: &Transaction| it.comes_from(&source) && it.body_hash() == Some(body_hash);
                reader.find(&receiver, since, is_it).await
            },
        )
        .await
    }

    /// What gas and messages cost in the basechain. An old block's prices are as good as a new one's.
    pub async fn prices(&self) -> Result<Reading<Prices>, QuorumError> {
        self.agree(READ_TIMEOUT, "the chain's prices", |reader| async move {
            let value = reader.client().prices().await?;
            Ok(Dated {
                value,
                block_seqno: u32::MAX,
            })
        })
        .await
    }

    /// Hands a signed message to every endpoint. What they answer says nothing about payment; it is an error where none
    /// took the message, which tells people why it may not have arrived.
    pub async fn send(&self, boc: &[u8]) -> Result<Sent, QuorumError> {
        let boc: Arc<[u8]> = boc.into();
        let question = move |reader: ChannelReader| {
            let boc = boc.clone();
            async move { reader.client().send_boc(&boc).await }
        };
        let said: Vec<Said<()>> = ask_all(
            &self.network,
            &self.endpoints,
            READ_TIMEOUT,
            Until::Everybody,
            question,
        )
        .await;
        let taken = said.iter().filter(|said| said.answer.is_ok()).count();
        let dissent: Vec<Dissent> = said.into_iter().filter_map(Said::into_dissent).collect();
        if taken == 0 {
            let network = self.network.name().to_owned();
            return Err(QuorumError::NotTaken {
                network,
                said: dissent,
            });
        }
        Ok(Sent { taken, dissent })
    }

    fn raise_floor(&self, seqno: u32) {
        let floor = self.floor.load(Ordering::Relaxed);
        if seqno > floor || seqno.saturating_add(RESTART_BLOCKS) < floor {
            self.floor.store(seqno, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
