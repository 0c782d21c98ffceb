//! One endpoint of a network: its client, how many calls it gets at once, and how it did.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::error::{Dissent, Trouble};
use crate::client::{ApiKey, ChainClient, ClientError};
use crate::{ChannelReader, Network};

/// Reads that one endpoint works on at once. A public endpoint allows ten requests a second to the holder of a key and
/// answers in a tenth of a second, so that eight keep it busy; one that hangs holds eight connections and no more.
pub const MAX_CALLS: usize = 8;

/// How often a read that has its majority still waits for an endpoint in trouble, to find out that it is well again. At
/// one second of waiting, a dead endpoint slows one read in half a minute.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(30);

/// Where and how an endpoint is asked.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// Its base address, as [`ChainClient::new`] takes it.
    pub url: String,
    /// Its API key.
    pub api_key: Option<ApiKey>,
}

impl EndpointConfig {
    /// An endpoint that asks for no key.
    pub fn open(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            api_key: None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Endpoint {
    name: String,
    reader: ChannelReader,
    /// Whether its global id was found to be the network's.
    is_checked: AtomicBool,
    calls: Semaphore,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    trouble: Option<(Trouble, String)>,
    /// When a read last waited for it although it was in trouble.
    probed: Option<Instant>,
}

impl Endpoint {
    /// Whether both are one, however its address was written.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.reader.client().asks_as(other.reader.client())
    }

    /// Endpoints of one host, which only their paths tell apart, are numbered in the order of configuration.
    pub(super) fn open(
        network: &Network,
        config: &EndpointConfig,
        before: &[Self],
    ) -> Result<Self, ClientError> {
        let client = ChainClient::new(network, &config.url, config.api_key.as_ref())?;
        let host = client.endpoint();
        let alike = before.iter().filter(|it| it.reader.client().endpoint() == host);
        let name = match alike.count() {
            0 => host.to_owned(),
            earlier => format!("{host}#{}", earlier + 1),
        };
        Ok(Self {
            name,
            reader: ChannelReader::new(client),
            is_checked: AtomicBool::new(false),
            calls: Semaphore::new(MAX_CALLS),
            health: Mutex::default(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A reader of it, once it has a call to spare and is known to serve the network. The permit is held for the call.
    pub(super) async fn admit(
        &self,
        network: &Network,
    ) -> Result<(ChannelReader, tokio::sync::SemaphorePermit<'_>), ClientError> {
        let call = self
            .calls
            .acquire()
            .await
            .expect("the semaphore lives as long as its endpoint and is never closed");
        if !self.is_checked.load(Ordering::Relaxed) {
            self.reader.client().check_network(network).await?;
            self.is_checked.store(true, Ordering::Relaxed);
        }
        Ok((self.reader.clone(), call))
    }

    /// Whether a read that could go on without it waits for it.
    pub(super) fn is_waited_for(&self) -> bool {
        let mut health = self.health();
        if health.trouble.is_none() {
            return true;
        }
        let is_due = health
            .probed
            .is_none_or(|probed| probed.elapsed() >= PROBE_INTERVAL);
        if is_due {
            health.probed = Some(Instant::now());
        }
        is_due
    }

    /// Remembers how it did.
    pub(super) fn note(&self, trouble: Option<(Trouble, String)>) {
        let mut health = self.health();
        if trouble.is_none() {
            health.probed = None;
        } else if health.trouble.is_none() {
            // It was waited for just now.
            health.probed = Some(Instant::now());
        }
        health.trouble = trouble;
    }

    /// What was wrong with it when it was last asked.
    pub(super) fn trouble(&self) -> Option<Dissent> {
        let (trouble, words) = self.health().trouble.clone()?;
        Some(self.dissent(trouble, words))
    }

    /// It, and what is wrong with it.
    pub(super) fn dissent(&self, trouble: Trouble, words: String) -> Dissent {
        Dissent {
            endpoint: self.name.clone(),
            trouble,
            words,
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health
            .lock()
            .expect("no thread panicked while it held an endpoint's health")
    }
}
