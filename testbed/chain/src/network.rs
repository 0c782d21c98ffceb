//! A running network: one [`Chain`] behind a lock, the clock that moves it, the disk that remembers it, and the
//! endpoints that answer about it, each with its own faults.

mod error;
mod status;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tycho_types::models::StdAddr;
use tycho_types::prelude::HashBytes;

pub use self::error::{FaucetError, NetworkError, SendError};
pub use self::status::Status;
use crate::chain::{Chain, ExternalMessage, StateError};
use crate::faults::{FaultChange, Faults, strikes};
use crate::store::{Store, StoreError};

/// The longest step of `/testbed/advance`: ten years, so that sums of steps stay far from the end of 32-bit time.
pub const LONGEST_ADVANCE: u32 = 10 * 366 * 24 * 3600;

/// What the faucet keeps for its own fees, in nanoTON: 1 TON pays for more than a thousand payments.
const FAUCET_RESERVE: u128 = 1_000_000_000;

/// A network that makes blocks, through one of its endpoints.
#[derive(Debug)]
pub struct Network {
    shared: Arc<Shared>,
    /// Locked before the state, where both are needed.
    endpoint: Mutex<Endpoint>,
}

/// What all endpoints of a network answer about.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    head: watch::Sender<u32>,
}

/// What one endpoint makes of it.
#[derive(Debug, Default)]
struct Endpoint {
    faults: Faults,
    /// What reads see while [`Faults::stale_reads`] is on.
    stale: Option<Box<Chain>>,
}

#[derive(Debug)]
struct State {
    chain: Chain,
    store: Option<Store>,
    /// Seconds that chain time is ahead of the machine's clock.
    ahead: u32,
    paused: bool,
    nonce: u64,
}

impl Network {
    /// Opens the network whose state is in a folder, or starts a new one there, or one that is kept in memory only.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be used, is in use, or holds another network.
    pub fn open(global_id: i32, state: Option<&Path>) -> Result<Self, NetworkError> {
        let wall = wall_clock()?;
        let (chain, store) = match state {
            None => (Chain::genesis(global_id, wall)?, None),
            Some(path) => {
                let (mut store, stored) = Store::open(path)?;
                let chain = match stored {
                    Some(chain) if chain.global_id() == global_id => chain,
                    Some(chain) => {
                        return Err(NetworkError::OtherNetwork {
                            path: path.display().to_string(),
                            found: chain.global_id(),
                            expected: global_id,
                        });
                    }
                    None => Chain::genesis(global_id, wall)?,
                };
                store.compact(&chain)?;
                (chain, Some(store))
            }
        };
        Ok(Self::of(chain, store, wall))
    }

    /// Starts a network that is kept in memory only, at so many times the basechain's prices of gas and forwarding.
    ///
    /// # Errors
    ///
    /// Fails if the first state cannot be built.
    pub fn at_prices(global_id: i32, price_factor: u32) -> Result<Self, NetworkError> {
        let wall = wall_clock()?;
        let chain = Chain::genesis_at(global_id, wall, price_factor)?;
        Ok(Self::of(chain, None, wall))
    }

    fn of(chain: Chain, store: Option<Store>, wall: u32) -> Self {
        let seqno = chain.head().seqno;
        let ahead = chain.head().utime.saturating_sub(wall);
        let state = State {
            chain,
            store,
            ahead,
            paused: false,
            // A restarted faucet must not repeat the bytes of a request that still waits somewhere.
            nonce: u64::from(seqno) << 32,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                head: watch::Sender::new(seqno),
            }),
            endpoint: Mutex::default(),
        }
    }

    /// The same network through one more endpoint, which has no faults yet.
    #[must_use]
    pub fn another_endpoint(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            endpoint: Mutex::default(),
        }
    }

    /// Makes blocks at this interval, unless paused, until cancelled.
    ///
    /// # Errors
    ///
    /// Stops at the first block that cannot be stored.
    pub async fn make_blocks(
        self: Arc<Self>,
        interval: Duration,
        cancelled: CancellationToken,
    ) -> Result<(), NetworkError> {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancelled.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            if !self.lock().paused {
                tokio::task::block_in_place(|| self.make_block())?;
            }
        }
    }

    /// Makes one block now, paused or not, and returns its sequence number.
    ///
    /// # Errors
    ///
    /// Fails if the block cannot be stored; the state then stays as it was.
    pub fn make_block(&self) -> Result<u32, NetworkError> {
        let mut state = self.lock();
        let now = wall_clock()?.saturating_add(state.ahead);
        let record = state.chain.plan_block(now)?;
        if let Some(store) = &mut state.store {
            store.append(&record)?;
        }
        state.chain.apply(record)?;
        state.compact_if_due()?;
        let seqno = state.chain.head().seqno;
        drop(state);
        self.shared.head.send_replace(seqno);
        Ok(seqno)
    }

    /// Sequence numbers of new blocks as they are made.
    pub fn blocks(&self) -> watch::Receiver<u32> {
        self.shared.head.subscribe()
    }

    /// Answers a question from the current state, or from an old one while [`Faults::stale_reads`] is on.
    pub fn read<T>(&self, question: impl FnOnce(&Chain) -> T) -> T {
        let endpoint = self.endpoint();
        match &endpoint.stale {
            Some(stale) => question(stale),
            None => question(&self.lock().chain),
        }
    }

    /// Answers a question from the current state, whatever the faults.
    pub fn read_current<T>(&self, question: impl FnOnce(&Chain) -> T) -> T {
        question(&self.lock().chain)
    }

    /// Checks an external message and lets it wait for the next block.
    ///
    /// # Errors
    ///
    /// See [`Chain::check`] and [`Chain::submit`].
    pub fn send(&self, boc: &[u8]) -> Result<ExternalMessage, SendError> {
        let message = ExternalMessage::parse(boc)?;
        let mut endpoint = self.endpoint();
        let mut state = self.lock();
        state.chain.check(&message)?;
        if strikes(&mut endpoint.faults.drop_sends) {
            return Ok(message);
        }
        if strikes(&mut endpoint.faults.duplicate_sends) {
            state.chain.submit_twice(message.clone())?;
        } else {
            state.chain.submit(message.clone())?;
        }
        if strikes(&mut endpoint.faults.lost_replies) {
            return Err(SendError::ReplyLost);
        }
        Ok(message)
    }

    /// Makes the faucet pay; returns the hash of the external message that does it.
    ///
    /// # Errors
    ///
    /// Fails if the amount is zero or more than the faucet holds, or if too many messages wait.
    pub fn faucet(&self, destination: &StdAddr, nano: u128) -> Result<HashBytes, FaucetError> {
        let mut state = self.lock();
        let balance = state.chain.balance(state.chain.faucet())?;
        if nano == 0 || nano > balance.saturating_sub(FAUCET_RESERVE) {
            return Err(FaucetError::Amount { nano, balance });
        }
        state.nonce = state.nonce.wrapping_add(1);
        let message = state.chain.faucet_request(destination, nano, state.nonce)?;
        let hash = *message.hash();
        state.chain.submit(message)?;
        Ok(hash)
    }

    /// True once a payment of the faucet has arrived.
    ///
    /// # Errors
    ///
    /// Fails if the state cannot be read.
    pub fn faucet_paid(&self, message: &HashBytes) -> Result<bool, StateError> {
        self.read_current(|chain| chain.settled(chain.faucet(), message))
    }

    /// Stops or resumes the making of blocks.
    pub fn pause(&self, paused: bool) {
        self.lock().paused = paused;
    }

    /// Moves chain time forward and, unless paused, makes a block so that reads see it.
    ///
    /// # Errors
    ///
    /// Fails if the block cannot be stored.
    pub fn advance(&self, seconds: u32) -> Result<(), NetworkError> {
        let mut state = self.lock();
        state.ahead = state.ahead.saturating_add(seconds.min(LONGEST_ADVANCE));
        let paused = state.paused;
        drop(state);
        if !paused {
            self.make_block()?;
        }
        Ok(())
    }

    /// Changes some of this endpoint's faults and returns all of them.
    pub fn change_faults(&self, change: FaultChange) -> Faults {
        let mut endpoint = self.endpoint();
        endpoint.faults = endpoint.faults.changed(change);
        match (endpoint.faults.stale_reads, endpoint.stale.is_some()) {
            (true, false) => endpoint.stale = Some(Box::new(self.lock().chain.clone())),
            (false, true) => endpoint.stale = None,
            (true, true) | (false, false) => {}
        }
        endpoint.faults
    }

    /// True if the request at hand must be answered with 503.
    pub(crate) fn unavailable(&self) -> bool {
        strikes(&mut self.endpoint().faults.unavailable)
    }

    /// True if this endpoint answers falsely.
    pub(crate) fn lies(&self) -> bool {
        self.endpoint().faults.lies
    }

    /// The network's condition.
    ///
    /// # Errors
    ///
    /// Fails if the faucet's state cannot be read.
    pub fn status(&self) -> Result<Status, StateError> {
        let faults = self.endpoint().faults;
        let state = self.lock();
        Status::of(&state.chain, state.ahead, state.paused, faults)
    }

    /// Writes the whole state to disk in one piece, if the network has a disk.
    ///
    /// # Errors
    ///
    /// Fails if the disk does.
    pub fn flush(&self) -> Result<(), NetworkError> {
        let state = &mut *self.lock();
        if let Some(store) = &mut state.store {
            store.compact(&state.chain)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .expect("no thread panicked while it held the network's state")
    }

    fn endpoint(&self) -> MutexGuard<'_, Endpoint> {
        self.endpoint
            .lock()
            .expect("no thread panicked while it held an endpoint's faults")
    }
}

impl State {
    fn compact_if_due(&mut self) -> Result<(), StoreError> {
        match &mut self.store {
            Some(store) if store.compaction_due() => store.compact(&self.chain),
            Some(_) | None => Ok(()),
        }
    }
}

fn wall_clock() -> Result<u32, NetworkError> {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| NetworkError::Clock)?;
    u32::try_from(since_epoch.as_secs()).map_err(|_| NetworkError::Clock)
}
