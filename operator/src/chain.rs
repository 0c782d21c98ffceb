//! TON networks as the operator reads them: what a majority of a network's endpoints says is acted on, and the others
//! are named in metrics and conditions.
//!
//! Where no majority agrees, a read is a [`ChainError::Unavailable`]: nothing is signed and nothing is given up on its
//! account.

mod file;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use cocoon_api::{NanoTon, crd::provider::Payout};
use cocoon_core::settlement::{REDEEM_FEE, claimed_by};
use cocoon_ton::{
    Address, Network, Prices, Quorum, QuorumError, Reading,
    on_chain::{ChannelOnChain, Found, WalletOnChain},
    prices::{ClaimedBy, MAX_REDEEM_FEE},
    quorum::Dissent,
};
use tokio::time::timeout;

pub use file::{Endpoint, Entry, FileError, parse};

use crate::metrics::Metrics;

/// For how long a wallet's balance is remembered for people to read: half the time between two looks at a quiet
/// channel.
const WALLET_CACHE: Duration = Duration::from_secs(5);

/// How long a look at a wallet for people may take: a good endpoint answers in a tenth of it.
const WALLET_TIMEOUT: Duration = Duration::from_secs(3);

/// For how long the chain's prices are good: validators vote about them for hours, and change them once in years.
const PRICES_LIFETIME: Duration = Duration::from_mins(10);

/// Wallets remembered at most, many more than a farm has.
const MAX_CACHED_WALLETS: usize = 1_000;

/// The chain was not read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChainError {
    /// No endpoint is configured for the network, or they serve another one.
    #[error("{0}")]
    WrongNetwork(String),
    /// No majority of the endpoints says the same.
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
            ChainError::WrongNetwork(if known.is_empty() {
                format!(
                    "no TON network is configured, so that network {name} cannot be asked: name its endpoints in the chart's \
                     ton.networks; until then only what is free is served"
                )
            } else {
                format!(
                    "no endpoint is configured for network {name}, only for {}",
                    known.join(", ")
                )
            })
        })
    }

    /// What one claim cost on a provider's network when its prices were last read; see [`Chain::last_redeem_fee`].
    pub fn last_redeem_fee(&self, payout: &Payout) -> NanoTon {
        self.chains
            .get(&payout.network)
            .map_or(REDEEM_FEE, |chain| chain.last_redeem_fee(claimed_by(payout)))
    }
}

/// One network through all its endpoints.
pub struct Chain {
    quorum: Quorum,
    metrics: Arc<Metrics>,
    wallets: Mutex<BTreeMap<Address, Remembered>>,
    /// The chain's prices, and when they were read.
    prices: Mutex<Option<(Instant, Prices)>>,
}

/// A wallet, and when it was seen.
type Remembered = (Instant, Result<WalletOnChain, ChainError>);

impl Chain {
    fn new(entry: Entry, metrics: Arc<Metrics>) -> Result<Self, FileError> {
        let quorum = entry.open()?;
        if let Some(warning) = quorum.warning() {
            tracing::warn!(network = quorum.network().name(), "{warning}");
        }
        let chain = Self {
            quorum,
            metrics,
            wallets: Mutex::default(),
            prices: Mutex::default(),
        };
        chain.show_health();
        Ok(chain)
    }

    /// Name and global id.
    pub fn network(&self) -> &Network {
        self.quorum.network()
    }

    /// The endpoints that do not say what the others say, for people; none where all are well.
    pub fn troubled(&self) -> Option<String> {
        let troubled: Vec<String> = self.quorum.troubled().iter().map(Dissent::brief).collect();
        (!troubled.is_empty()).then(|| troubled.join(", "))
    }

    /// Time of the newest block that a majority has reached, in Unix seconds. What is read after it is at least as new.
    pub async fn time(&self) -> Result<u32, ChainError> {
        let head = self.quorum.head().await;
        self.count(head).map(|head| head.time)
    }

    /// What stands at a channel's address.
    pub async fn channel(&self, address: &Address) -> Result<ChannelOnChain, ChainError> {
        let seen = self.quorum.channel(address).await;
        self.count(seen)
    }

    /// The wallet at the address, with the lowest balance that one of the majority shows.
    pub async fn wallet(&self, address: &Address) -> Result<WalletOnChain, ChainError> {
        let seen = self.quorum.wallet(address).await;
        let wallet = self.count(seen)?;
        self.remember(*address, Ok(wallet));
        Ok(wallet)
    }

    /// The wallet as it was a few seconds ago or is now: for people, not to sign with. Endpoints that do not answer are
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
                let network = self.network().name();
                Err(ChainError::Unavailable(format!(
                    "the endpoints of network {network} take too long to answer"
                )))
            });
        self.remember(*address, seen.clone());
        seen
    }

    /// The wallet's transaction of the message with this normalised hash since the Unix second `since`, with those
    /// after it.
    pub async fn transaction(
        &self,
        wallet: &Address,
        message_hash: &[u8; 32],
        since: u32,
    ) -> Result<Option<Found>, ChainError> {
        let found = self.quorum.find_message(wallet, message_hash, since).await;
        self.count(found)
    }

    /// What one claim costs at the chain's prices; none where it costs more than it may, which is logged.
    pub async fn redeem_fee(&self, by: ClaimedBy) -> Result<Option<NanoTon>, ChainError> {
        let known = *self.known_prices();
        let prices = match known {
            Some((at, prices)) if at.elapsed() < PRICES_LIFETIME => prices,
            _ => {
                let read = self.quorum.prices().await;
                let prices = self.count(read)?;
                *self.known_prices() = Some((Instant::now(), prices));
                prices
            }
        };
        let network = self.network().name();
        let fee = prices.redeem_fee(by);
        Ok(fee.inspect_err(|error| tracing::error!(network, "{error}")).ok())
    }

    /// What one claim cost when the prices were last read, however long ago: asks nobody. The settlement controller
    /// reads them whenever it looks at a provider, and until then the usual fee counts. Where a claim costs more than
    /// it may, this is the most that it may: nothing is claimed, and what would be worth that much is still waited for.
    pub fn last_redeem_fee(&self, by: ClaimedBy) -> NanoTon {
        self.known_prices().map_or(REDEEM_FEE, |(_, prices)| {
            prices.redeem_fee(by).unwrap_or(MAX_REDEEM_FEE)
        })
    }

    /// Hands a signed message to every endpoint. What they answer says nothing about payment, so that an error only
    /// tells a person why a message may not have arrived.
    pub async fn send(&self, boc: &[u8]) -> Result<(), ChainError> {
        let sent = self.quorum.send(boc).await.map(|sent| Reading {
            value: (),
            dissent: sent.dissent,
        });
        self.count(sent)
    }

    /// Counts a read and whoever differs from it.
    fn count<T>(&self, reading: Result<Reading<T>, QuorumError>) -> Result<T, ChainError> {
        let network = self.network().name();
        let (label, dissent, answer) = match reading {
            Ok(reading) => ("ok", reading.dissent, Ok(reading.value)),
            Err(error) => {
                tracing::warn!(network, %error, "no majority of the chain's endpoints agrees");
                // What goes into conditions stays the same while nothing changes.
                let words = error.brief();
                let (label, answer) = match &error {
                    QuorumError::WrongNetwork { .. } => ("wrong_network", ChainError::WrongNetwork(words)),
                    QuorumError::NotTaken { .. } => ("refused", ChainError::Unavailable(words)),
                    QuorumError::NoMajority { .. } => ("no_majority", ChainError::Unavailable(words)),
                };
                (label, error.said().to_vec(), Err(answer))
            }
        };
        self.metrics
            .chain_requests
            .with_label_values(&[network, label])
            .inc();
        for it in &dissent {
            let labels = [network, &it.endpoint, it.trouble.label()];
            self.metrics.chain_dissent.with_label_values(&labels).inc();
        }
        self.show_health();
        answer
    }

    fn show_health(&self) {
        let troubled = self.quorum.troubled();
        for name in self.quorum.endpoints() {
            let is_well = troubled.iter().all(|it| it.endpoint != name);
            self.metrics
                .chain_endpoint_agrees
                .with_label_values(&[self.network().name(), name])
                .set(i64::from(is_well));
        }
    }

    fn known_prices(&self) -> MutexGuard<'_, Option<(Instant, Prices)>> {
        self.prices
            .lock()
            .expect("no thread panicked while it held the prices")
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
