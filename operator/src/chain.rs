//! TON networks as the operator reads them: every endpoint of a network is asked, and only what all of them say
//! is acted on.
//!
//! A read that fails or on which endpoints disagree is an [`ChainError::Unavailable`]: nothing is signed and nothing is
//! given up on its account. The global id of every endpoint is checked before its first answer is used, and with
//! every look at the clock.

mod file;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use cocoon_ton::{
    Address, Network,
    client::{ChainClient, ClientError},
    reader::{ChannelOnChain, ChannelReader, Found, WalletOnChain},
};
use futures::future::join_all;
use tokio::time::timeout;

pub use file::{Entry, FileError, parse};

use crate::metrics::Metrics;

/// For how long a wallet's balance is remembered for people to read: half the time between two looks at a quiet channel.
const WALLET_CACHE: Duration = Duration::from_secs(5);

/// How long a look at a wallet for people may take: a good endpoint answers in a tenth of it.
const WALLET_TIMEOUT: Duration = Duration::from_secs(3);

/// Wallets remembered at most, many more than a farm has.
const MAX_CACHED_WALLETS: usize = 1_000;

/// The chain was not read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChainError {
    /// No endpoint is configured for the network, or one serves another network.
    #[error("{0}")]
    WrongNetwork(String),
    /// An endpoint did not answer as it should, or endpoints disagree.
    #[error("{0}")]
    Unavailable(String),
}

/// The networks of the file, by name.
pub struct Networks {
    chains: BTreeMap<String, Arc<Chain>>,
}

impl Networks {
    /// Reads the file. Opens no connection: an endpoint that is down is found out when it is asked.
    pub fn load(path: &Path, metrics: &Arc<Metrics>) -> Result<Arc<Self>, FileError> {
        Self::new(file::read(path)?, metrics).map(Arc::new)
    }

    /// The networks of these entries.
    pub fn new(entries: Vec<Entry>, metrics: &Arc<Metrics>) -> Result<Self, FileError> {
        let chains = entries
            .into_iter()
            .map(|entry| Ok((entry.name.clone(), Arc::new(Chain::new(entry, metrics.clone())?))))
            .collect::<Result<_, FileError>>()?;
        Ok(Self { chains })
    }

    /// The network of this name.
    pub fn get(&self, name: &str) -> Result<Arc<Chain>, ChainError> {
        self.chains.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.chains.keys().map(String::as_str).collect();
            ChainError::WrongNetwork(format!(
                "no endpoint is configured for network {name}, only for {}",
                known.join(", ")
            ))
        })
    }
}

/// One network through all its endpoints.
pub struct Chain {
    network: Network,
    endpoints: Vec<Endpoint>,
    metrics: Arc<Metrics>,
    wallets: Mutex<BTreeMap<Address, Remembered>>,
}

/// A wallet, and when it was seen.
type Remembered = (Instant, Result<WalletOnChain, ChainError>);

struct Endpoint {
    reader: ChannelReader,
    /// Whether its global id was found to be the network's.
    checked: AtomicBool,
}

impl Chain {
    fn new(entry: Entry, metrics: Arc<Metrics>) -> Result<Self, FileError> {
        let Entry {
            name,
            global_id,
            endpoints,
        } = entry;
        let endpoint = |(index, url): (usize, String)| {
            let client = ChainClient::new(&url, None).map_err(|source| FileError::Endpoint {
                network: name.clone(),
                index,
                source,
            })?;
            Ok(Endpoint {
                reader: ChannelReader::new(client),
                checked: AtomicBool::new(false),
            })
        };
        let endpoints = endpoints
            .into_iter()
            .enumerate()
            .map(endpoint)
            .collect::<Result<_, FileError>>()?;
        Ok(Self {
            network: Network::new(name, global_id),
            endpoints,
            metrics,
            wallets: Mutex::default(),
        })
    }

    /// Name and global id.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Time of the newest block, in Unix seconds, as the endpoint says that is furthest behind.
    pub async fn time(&self) -> Result<u32, ChainError> {
        let heads = self
            .ask(|endpoint| async move { endpoint.reader.client().head().await })
            .await?;
        for head in &heads {
            if head.global_id != self.network.global_id() {
                return Err(self.wrong_network(head.global_id));
            }
        }
        heads
            .iter()
            .map(|head| head.time)
            .min()
            .ok_or_else(|| self.disagreement("time"))
    }

    /// What stands at a channel's address.
    pub async fn channel(&self, address: &Address) -> Result<ChannelOnChain, ChainError> {
        let seen = self
            .ask(|endpoint| async move { endpoint.reader.state(address).await })
            .await?;
        // Balance and block tell when each endpoint looked, not what it saw.
        let essence = |channel: &ChannelOnChain| match *channel {
            ChannelOnChain::Channel { state, .. } => Some(state),
            _ => None,
        };
        let agree = seen.windows(2).all(|pair| {
            std::mem::discriminant(&pair[0]) == std::mem::discriminant(&pair[1])
                && essence(&pair[0]) == essence(&pair[1])
        });
        match seen.into_iter().next() {
            Some(channel) if agree => Ok(channel),
            _ => Err(self.disagreement(&format!("channel {address}"))),
        }
    }

    /// The wallet at the address, with the lowest balance that an endpoint shows.
    pub async fn wallet(&self, address: &Address) -> Result<WalletOnChain, ChainError> {
        let seen = self
            .ask(|endpoint| async move { endpoint.reader.wallet(address).await })
            .await?;
        let agree = seen
            .windows(2)
            .all(|pair| (pair[0].seqno, pair[0].deployed) == (pair[1].seqno, pair[1].deployed));
        match seen.into_iter().min_by_key(|wallet| wallet.balance) {
            Some(wallet) if agree => {
                self.remember(*address, Ok(wallet));
                Ok(wallet)
            }
            _ => Err(self.disagreement(&format!("wallet {address}"))),
        }
    }

    /// The wallet as it was a few seconds ago or is now: for people, not to sign with. An endpoint that does not answer is
    /// not waited for, and not asked again at once: whoever writes a status has more to do.
    pub async fn wallet_lately(&self, address: &Address) -> Result<WalletOnChain, ChainError> {
        if let Some((at, seen)) = self.remembered().get(address).cloned()
            && at.elapsed() < WALLET_CACHE
        {
            return seen;
        }
        let seen = timeout(WALLET_TIMEOUT, self.wallet(address))
            .await
            .unwrap_or_else(|_| {
                let network = self.network.name();
                Err(ChainError::Unavailable(format!(
                    "an endpoint of network {network} takes too long to answer"
                )))
            });
        self.remember(*address, seen.clone());
        seen
    }

    /// The wallet's transaction of the message with this normalised hash since the Unix second `since`, with those after it;
    /// none unless every endpoint knows it.
    pub async fn transaction(
        &self,
        wallet: &Address,
        message_hash: &[u8; 32],
        since: u32,
    ) -> Result<Option<Found>, ChainError> {
        let found = self
            .ask(|endpoint| async move { endpoint.reader.find_message(wallet, message_hash, since).await })
            .await?;
        let found: Vec<Found> = match found.into_iter().collect::<Option<_>>() {
            Some(found) => found,
            None => return Ok(None),
        };
        if found
            .windows(2)
            .any(|pair| pair[0].transaction.hash != pair[1].transaction.hash)
        {
            return Err(self.disagreement(&format!("the transactions of {wallet}")));
        }
        // What came later, all of them have seen as far as the one that is furthest behind.
        Ok(found.into_iter().min_by_key(|found| found.later.len()))
    }

    /// Hands a signed message to every endpoint. What they answer says nothing about payment, so that an error only tells
    /// a person why a message may not have arrived.
    pub async fn send(&self, boc: &[u8]) -> Result<(), ChainError> {
        let answers = join_all(
            self.endpoints
                .iter()
                .map(|endpoint| endpoint.reader.client().send_boc(boc)),
        )
        .await;
        let mut refusal = None;
        let mut taken = false;
        for answer in answers {
            match self.count(answer) {
                Ok(()) => taken = true,
                Err(error) => refusal = Some(error),
            }
        }
        match refusal {
            Some(error) if !taken => Err(error),
            _ => Ok(()),
        }
    }

    /// Asks every endpoint; all must answer.
    async fn ask<'a, T, F>(&'a self, question: impl Fn(&'a Endpoint) -> F) -> Result<Vec<T>, ChainError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let answers = join_all(self.endpoints.iter().map(|endpoint| {
            let answer = question(endpoint);
            async {
                if !endpoint.checked.load(Ordering::Relaxed) {
                    endpoint.reader.client().check_network(&self.network).await?;
                    endpoint.checked.store(true, Ordering::Relaxed);
                }
                answer.await
            }
        }));
        answers
            .await
            .into_iter()
            .map(|answer| self.count(answer))
            .collect()
    }

    fn count<T>(&self, answer: Result<T, ClientError>) -> Result<T, ChainError> {
        let (label, answer) = match answer {
            Ok(answer) => ("ok", Ok(answer)),
            Err(ClientError::WrongNetwork { found, .. }) => ("wrong_network", Err(self.wrong_network(found))),
            Err(error) => {
                let label = if error.is_transient() {
                    "unavailable"
                } else {
                    "refused"
                };
                (label, Err(ChainError::Unavailable(error.to_string())))
            }
        };
        self.metrics
            .chain_requests
            .with_label_values(&[self.network.name(), label])
            .inc();
        answer
    }

    fn wrong_network(&self, found: i32) -> ChainError {
        ChainError::WrongNetwork(format!(
            "an endpoint of network {} serves the network with global id {found}, not {}",
            self.network.name(),
            self.network.global_id()
        ))
    }

    fn disagreement(&self, about: &str) -> ChainError {
        self.metrics
            .chain_requests
            .with_label_values(&[self.network.name(), "disagree"])
            .inc();
        ChainError::Unavailable(format!(
            "the endpoints of network {} disagree about {about}",
            self.network.name()
        ))
    }

    fn remember(&self, address: Address, wallet: Result<WalletOnChain, ChainError>) {
        let mut wallets = self.remembered();
        if wallets.len() >= MAX_CACHED_WALLETS {
            wallets.clear();
        }
        wallets.insert(address, (Instant::now(), wallet));
    }

    fn remembered(&self) -> MutexGuard<'_, BTreeMap<Address, Remembered>> {
        self.wallets
            .lock()
            .expect("no thread panicked while it held the remembered wallets")
    }
}
