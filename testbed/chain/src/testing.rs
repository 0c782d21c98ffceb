//! A network inside the process of a test: real chain, real HTTP, its own thread.
//!
//! ```no_run
//! use testbed_chain::testing::{LocalNetwork, Options};
//!
//! let network = LocalNetwork::start(Options::default()).unwrap();
//! network.fund("0:0000000000000000000000000000000000000000000000000000000000000001", 1_000_000_000).unwrap();
//! println!("toncenter v2 at {}", network.base_url());
//! ```

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tycho_types::models::StdAddr;

use crate::chain::{StateError, TESTBED_GLOBAL_ID};
use crate::faults::{FaultChange, Faults};
use crate::network::{FaucetError, Network, NetworkError, Status};
use crate::serve::serve;
use crate::server::parse_address;

/// Blocks that [`LocalNetwork::fund`] makes at most: a payment takes two, and full blocks may delay it.
const FUND_BLOCKS: u32 = 10;

/// Why a test's network does not do as told.
#[derive(Debug, thiserror::Error)]
pub enum TestingError {
    /// The operating system refused something.
    #[error("failed to {attempt}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The network failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The faucet refused.
    #[error(transparent)]
    Faucet(#[from] FaucetError),
    /// Not an address in raw or user-friendly form.
    #[error("{0} is not a TON address")]
    Address(String),
    /// Nothing can arrive while blocks are paused.
    #[error("failed to fund {0}: blocks are paused")]
    Paused(String),
    /// The payment is still under way.
    #[error("failed to fund {0}: the payment has not arrived after {FUND_BLOCKS} blocks")]
    NotArrived(String),
}

/// How a test's network is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The network's global id.
    pub global_id: i32,
    /// Time between blocks; none makes blocks only on [`LocalNetwork::make_block`].
    pub block_interval: Option<Duration>,
    /// Folder of the state; none keeps it in memory.
    pub state: Option<PathBuf>,
    /// Times the usual prices of gas and forwarding; for networks without a folder.
    pub price_factor: u32,
}

impl Default for Options {
    /// The testbed's global id, a block every 50 ms, nothing on disk.
    fn default() -> Self {
        Self {
            global_id: TESTBED_GLOBAL_ID,
            block_interval: Some(Duration::from_millis(50)),
            state: None,
            price_factor: 1,
        }
    }
}

/// A network that stops when dropped.
#[derive(Debug)]
pub struct LocalNetwork {
    network: Arc<Network>,
    server: Server,
}

/// One more endpoint of a [`LocalNetwork`], with faults of its own. Stops when dropped.
#[derive(Debug)]
pub struct LocalEndpoint {
    network: Arc<Network>,
    server: Server,
}

impl LocalEndpoint {
    /// The toncenter v2 base: `http://127.0.0.1:PORT/api/v2`.
    pub fn base_url(&self) -> String {
        format!("http://{}/api/v2", self.server.address)
    }

    /// Changes some of this endpoint's faults and returns all of them.
    pub fn change_faults(&self, change: FaultChange) -> Faults {
        self.network.change_faults(change)
    }
}

/// A listener on a free port of the loopback interface, in a thread of its own.
#[derive(Debug)]
struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl LocalNetwork {
    /// Starts a network on a free port of the loopback interface.
    ///
    /// # Errors
    ///
    /// Fails if the state folder cannot be used or no port can be bound.
    pub fn start(options: Options) -> Result<Self, TestingError> {
        let Options {
            global_id,
            block_interval,
            state,
            price_factor,
        } = options;
        let network = Arc::new(match &state {
            None => Network::at_prices(global_id, price_factor)?,
            Some(state) => Network::open(global_id, Some(state))?,
        });
        let server = Server::start(network.clone(), block_interval)?;
        Ok(Self { network, server })
    }

    /// Opens one more endpoint, which has no faults yet and makes no blocks of its own.
    ///
    /// # Errors
    ///
    /// Fails if no port can be bound.
    pub fn open_endpoint(&self) -> Result<LocalEndpoint, TestingError> {
        let network = Arc::new(self.network.another_endpoint());
        let server = Server::start(network.clone(), None)?;
        Ok(LocalEndpoint { network, server })
    }

    /// The toncenter v2 base: `http://127.0.0.1:PORT/api/v2`.
    pub fn base_url(&self) -> String {
        format!("http://{}/api/v2", self.server.address)
    }

    /// The root of the server, for the faucet and the test surface: `http://127.0.0.1:PORT`.
    pub fn root_url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// The network itself.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Pays from the faucet, makes the blocks that this takes, and returns when the payment has arrived.
    ///
    /// # Errors
    ///
    /// Fails if the address or amount is unusable, or if blocks are paused.
    pub fn fund(&self, address: &str, nano: u64) -> Result<(), TestingError> {
        let destination = parsed(address)?;
        let status = self.network.status()?;
        if status.paused {
            return Err(TestingError::Paused(address.to_owned()));
        }
        let message = self.network.faucet(&destination, u128::from(nano))?;
        for _ in 0..FUND_BLOCKS {
            self.make_block()?;
            if self.network.faucet_paid(&message)? {
                return Ok(());
            }
        }
        Err(TestingError::NotArrived(address.to_owned()))
    }

    /// An account's balance in nanoTON, whatever the faults.
    ///
    /// # Errors
    ///
    /// Fails if the address is malformed.
    pub fn balance(&self, address: &str) -> Result<u128, TestingError> {
        let address = parsed(address)?;
        Ok(self.network.read_current(|chain| chain.balance(&address))?)
    }

    /// Makes blocks, paused or not, until the one of this number is there.
    ///
    /// # Errors
    ///
    /// Fails if a block cannot be stored.
    pub fn make_blocks_up_to(&self, seqno: u32) -> Result<(), TestingError> {
        while self.status()?.seqno < seqno {
            self.network.make_block()?;
        }
        Ok(())
    }

    /// Makes one block now and returns its number.
    ///
    /// # Errors
    ///
    /// Fails if the block cannot be stored.
    pub fn make_block(&self) -> Result<u32, TestingError> {
        Ok(self.network.make_block()?)
    }

    /// Moves chain time forward and makes a block, unless paused.
    ///
    /// # Errors
    ///
    /// Fails if the block cannot be stored.
    pub fn advance(&self, seconds: u32) -> Result<(), TestingError> {
        Ok(self.network.advance(seconds)?)
    }

    /// Stops or resumes the making of blocks; messages are let in all the same.
    pub fn pause(&self, paused: bool) {
        self.network.pause(paused);
    }

    /// Changes some of the faults and returns all of them.
    pub fn change_faults(&self, change: FaultChange) -> Faults {
        self.network.change_faults(change)
    }

    /// The network's condition.
    ///
    /// # Errors
    ///
    /// Fails if the state cannot be read.
    pub fn status(&self) -> Result<Status, TestingError> {
        Ok(self.network.status()?)
    }
}

impl Server {
    fn start(network: Arc<Network>, block_interval: Option<Duration>) -> Result<Self, TestingError> {
        let listener =
            TcpListener::bind("127.0.0.1:0").map_err(failed("bind a loopback port for the network"))?;
        let address = listener.local_addr().map_err(failed("read the network's port"))?;
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(failed("start the network's runtime"))?;
        let thread = std::thread::Builder::new()
            .name("testbed-chain".to_owned())
            .spawn({
                let stop = stop.clone();
                move || {
                    let served = runtime.block_on(serve(network, vec![listener], block_interval, stop));
                    if let Err(error) = served {
                        tracing::error!(error = &error as &dyn std::error::Error, "the network stopped");
                    }
                }
            });
        let thread = thread.map_err(failed("start the network's thread"))?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the network's thread panicked");
        }
    }
}

fn parsed(address: &str) -> Result<StdAddr, TestingError> {
    parse_address(address).ok_or_else(|| TestingError::Address(address.to_owned()))
}

fn failed(attempt: &'static str) -> impl FnOnce(io::Error) -> TestingError {
    move |source| TestingError::Io { attempt, source }
}
