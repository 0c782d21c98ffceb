//! The TON side: which endpoint and network, and what a payer does there. Knows nothing of Kubernetes.

pub mod delivery;
pub mod escrow;
pub mod outbox;

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use cocoon_ton::{ChainClient, ChannelReader, ClientError, Network};

use outbox::Outbox;

/// Key of a public endpoint; an argument would show it to everyone on the machine.
const API_KEY_VARIABLE: &str = "COCOON_TON_API_KEY";

/// Between two looks at the chain: about one block.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Seconds after signing at which the wallet refuses a message. Long enough for a slow endpoint, short enough that
/// the fate of a lost message is soon known.
pub const VALIDITY_SECONDS: u32 = 90;

/// Looks at the chain at most while waiting for one thing: a message's validity, the margin after it, and a minute on
/// top, which is what an endpoint may lag, at [`LOOK_INTERVAL`].
const MAX_LOOKS: u32 = (VALIDITY_SECONDS + delivery::EXPIRY_MARGIN_SECONDS + 60) * 2;

/// Where the chain is asked.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// Base address of a toncenter v2 endpoint, such as `https://toncenter.com/api/v2`.
    #[arg(long, env = "COCOON_TON_ENDPOINT", value_name = "URL", hide_env_values = true)]
    endpoint: Option<String>,
    /// Network by name, and by global id where the name is not mainnet, testnet or testbed; otherwise the provider's.
    #[arg(long, env = "COCOON_TON_NETWORK", value_name = "NAME[=ID]", value_parser = network)]
    network: Option<Network>,
    #[command(flatten)]
    outbox: outbox::Arguments,
}

/// One network through one endpoint.
pub struct Chain {
    pub network: Network,
    pub reader: ChannelReader,
    pub outbox: Outbox,
}

impl Arguments {
    /// Whether an endpoint is given at all.
    pub fn has_endpoint(&self) -> bool {
        self.endpoint.is_some()
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

    /// Connects, and makes sure that the endpoint serves `network` before anything can be signed.
    pub async fn connect(&self, network: Network) -> Result<Chain> {
        let endpoint = self.endpoint.as_deref().context(
            "no TON endpoint: give --endpoint URL or set COCOON_TON_ENDPOINT to a toncenter v2 base address",
        )?;
        let key = std::env::var(API_KEY_VARIABLE).ok();
        let client = ChainClient::new(endpoint, key.as_deref())?;
        Chain::connect(client, network, self.outbox.open()?).await
    }
}

impl Chain {
    /// Fails where the endpoint serves another network.
    pub async fn connect(client: ChainClient, network: Network, outbox: Outbox) -> Result<Self> {
        client
            .check_network(&network)
            .await
            .context("nothing was signed")?;
        Ok(Self {
            network,
            reader: ChannelReader::new(client),
            outbox,
        })
    }

    /// Time of the newest block, in Unix seconds.
    pub async fn time(&self) -> Result<u32> {
        Ok(self.reader.client().head().await?.time)
    }
}

/// Waits until `look` finds something, at most [`MAX_LOOKS`] times. `what` completes "waited in vain until …".
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>, ClientError>) -> Result<T> {
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
fn network(text: &str) -> Result<Network, String> {
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
