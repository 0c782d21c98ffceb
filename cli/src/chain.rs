//! The TON side: which endpoints and network, and what a payer does there. Knows nothing of Kubernetes.

pub mod delivery;
pub mod escrow;
pub mod outbox;

use std::{
    collections::BTreeSet,
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use cocoon_ton::{
    Address, ApiKey, ChannelOnChain, EndpointConfig, Network, Quorum, QuorumError, Reading,
    on_chain::WalletOnChain,
    sender::{EXPIRY_MARGIN_SECONDS, HISTORY_SECONDS, VALID_SECONDS},
};

use outbox::Outbox;

/// Keys of the endpoints, in their order, separated by commas; empty where an endpoint asks for none. An argument would
/// show them to everyone on the machine.
const API_KEYS_VARIABLE: &str = "COCOON_TON_API_KEY";

/// Between two looks at the chain: about one block.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Looks at the chain at most while waiting for one thing: a message's validity, the margin and the history after it,
/// and a minute on top, which is what an endpoint may lag, at [`LOOK_INTERVAL`].
const MAX_LOOKS: u32 = (VALID_SECONDS + EXPIRY_MARGIN_SECONDS + HISTORY_SECONDS + 60) * 2;

/// Where the chain is asked.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// Base address of a toncenter v2 endpoint, such as `https://toncenter.com/api/v2`. Give several, separated by
    /// commas: what more than half of them say counts. Their keys, in the same order, go into the variable
    /// `COCOON_TON_API_KEY`.
    #[arg(
        long,
        env = "COCOON_TON_ENDPOINT",
        value_name = "URL",
        value_delimiter = ',',
        hide_env_values = true
    )]
    endpoint: Vec<String>,
    /// Network by name, and by global id where the name is not mainnet, testnet or testbed; otherwise the provider's.
    #[arg(long, env = "COCOON_TON_NETWORK", value_name = "NAME[=ID]", value_parser = network)]
    network: Option<Network>,
    #[command(flatten)]
    outbox: outbox::Arguments,
}

/// One network through its endpoints, and the messages under way there.
pub struct Chain {
    pub quorum: Quorum,
    pub outbox: Outbox,
    /// What was said about endpoints already.
    told: Mutex<BTreeSet<String>>,
}

impl Arguments {
    /// Whether an endpoint is given at all.
    pub fn has_endpoint(&self) -> bool {
        !self.endpoint.is_empty()
    }

    /// The network that `name` means: the one given by `--network`, which must have this name, or a well-known one.
    pub fn network(&self, name: &str) -> Result<Network> {
        match &self.network {
            Some(network) if network.name() == name => Ok(network.clone()),
            Some(network) => bail!(
                "the channel is on network {name}, and --network (or COCOON_TON_NETWORK) says {}",
                network.name()
            ),
            None => Network::by_name(name).with_context(|| {
                format!("network {name} is not known by name: give its global id with --network {name}=ID")
            }),
        }
    }

    /// The network that was named, which a contract's address alone does not tell.
    pub fn named_network(&self) -> Result<Network> {
        self.network.clone().context(
            "an address is the same on every network: name one with --network NAME[=ID] or COCOON_TON_NETWORK",
        )
    }

    /// Connects, and makes sure that a majority of the endpoints serves `network` before anything can be signed.
    pub async fn connect(&self, network: Network) -> Result<Chain> {
        ensure!(
            self.has_endpoint(),
            "no TON endpoint: give --endpoint URL or set COCOON_TON_ENDPOINT to a toncenter v2 base address"
        );
        let keys = std::env::var(API_KEYS_VARIABLE).unwrap_or_default();
        let quorum = Quorum::new(network, &endpoints(&self.endpoint, &keys)?)?;
        if let Some(warning) = quorum.warning() {
            eprintln!("warning: {warning}");
        }
        Chain::connect(quorum, self.outbox.open()?).await
    }
}

impl Chain {
    /// Fails where no majority serves the network.
    pub async fn connect(quorum: Quorum, outbox: Outbox) -> Result<Self> {
        let chain = Self {
            quorum,
            outbox,
            told: Mutex::default(),
        };
        chain.time().await.context("nothing was signed")?;
        Ok(chain)
    }

    /// Name and global id.
    pub fn network(&self) -> &Network {
        self.quorum.network()
    }

    /// Time of the newest block that a majority has reached, in Unix seconds.
    pub async fn time(&self) -> Result<u32, QuorumError> {
        Ok(self.told(self.quorum.head().await?).time)
    }

    /// What stands at a channel's address.
    pub async fn state(&self, address: &Address) -> Result<ChannelOnChain, QuorumError> {
        Ok(self.told(self.quorum.channel(address).await?))
    }

    /// The wallet at the address.
    pub async fn wallet(&self, address: &Address) -> Result<WalletOnChain, QuorumError> {
        Ok(self.told(self.quorum.wallet(address).await?))
    }

    /// What the majority says. Who says something else is named to the person, once.
    fn told<T>(&self, reading: Reading<T>) -> T {
        for dissent in &reading.dissent {
            let is_new = self
                .told
                .lock()
                .is_ok_and(|mut told| told.insert(dissent.brief()));
            if is_new {
                eprintln!("warning: of the chain's endpoints, {}", dissent.brief());
            }
        }
        reading.value
    }
}

/// The machine's clock, in Unix seconds.
fn clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Each endpoint with its key. One key too few or too many would go to the wrong endpoint.
fn endpoints(urls: &[String], keys: &str) -> Result<Vec<EndpointConfig>> {
    let keys: Vec<&str> = if keys.trim().is_empty() {
        vec![""; urls.len()]
    } else {
        keys.split(',').collect()
    };
    ensure!(
        keys.len() == urls.len(),
        "{API_KEYS_VARIABLE} holds {} keys for {} endpoints: give one for each, in the same order, empty where one asks for none",
        keys.len(),
        urls.len()
    );
    let with_key = |(url, key): (&String, &str)| {
        let api_key = match key.trim() {
            "" => None,
            key => Some(ApiKey::parse(key)?),
        };
        Ok(EndpointConfig {
            url: url.clone(),
            api_key,
        })
    };
    urls.iter().zip(keys).map(with_key).collect()
}

/// Waits until `look` finds something, at most [`MAX_LOOKS`] times. `what` completes "waited in vain until …".
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>, QuorumError>) -> Result<T> {
    let mut trouble = None;
    for _ in 0..MAX_LOOKS {
        match look().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => trouble = None,
            Err(error) if error.is_transient() => trouble = Some(error),
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    let waited = anyhow::anyhow!("waited in vain until {what}: run the same command again to go on");
    Err(match trouble {
        Some(error) => anyhow::Error::from(error).context(waited),
        None => waited,
    })
}

/// `testbed=-217`, or the name alone of a network that is known by name.
pub fn network(text: &str) -> Result<Network, String> {
    parse_network(text).map_err(|error| error.to_string())
}

fn parse_network(text: &str) -> Result<Network> {
    let Some((name, id)) = text.split_once('=') else {
        return Network::by_name(text).context("is no known network: write NAME=ID with its global id");
    };
    ensure!(!name.is_empty(), "must be NAME=ID");
    let id: i32 = id
        .parse()
        .context("the global id must be a whole number such as -239")?;
    let public = [Network::MAINNET, Network::TESTNET];
    if let Some(known) = public.iter().find(|network| network.name() == name) {
        ensure!(
            known.global_id() == id,
            "{name} has the global id {}, not {id}",
            known.global_id()
        );
    }
    Ok(Network::new(name, id))
}

#[cfg(test)]
mod tests;
