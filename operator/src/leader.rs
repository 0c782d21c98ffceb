//! Leader election: of several operators one acts, the others wait.
//!
//! A lease does not fence: an old leader may wake up and act for a moment. Whatever must not happen twice is
//! guarded by itself: ledgers by compare-and-swap, settlements by stored bytes and the wallet's seqno, attempts
//! by their number.

use cocoon_api::receipt::Sha256Digest;
use kube::Client;
use kube_lease_manager::{LeaseManagerBuilder, LeaseManagerError};
use tokio::{sync::watch, task::JoinHandle};
use tracing::warn;

use crate::error;

/// Name of the lease in the operator's namespace.
const LEASE_NAME: &str = "cocoon-operator";

/// Digits of a digest that tell lists of namespaces apart.
const DIGITS: usize = 16;

/// Name of the lease of operators that act in these namespaces, or in all where none is listed: two releases of
/// different namespaces are no replicas of each other.
pub fn lease_name(namespaces: &[String]) -> String {
    match namespaces {
        [] => LEASE_NAME.to_owned(),
        [namespace] => format!("{LEASE_NAME}-{namespace}"),
        // Many names would be too long for one.
        namespaces => {
            let mut sorted = namespaces.to_vec();
            sorted.sort();
            let digest = Sha256Digest::of(sorted.join(",").as_bytes()).to_string();
            format!("{LEASE_NAME}-{}", &digest[..DIGITS])
        }
    }
}

/// Seconds after which another may take over from a leader that is silent. A killed leader stops work for this long.
const LEASE_SECONDS: u64 = 10;
/// Seconds before the end of the lease at which the leader renews it.
const GRACE_SECONDS: u64 = 4;

/// This process's place in the election.
pub struct Leadership {
    leading: watch::Receiver<bool>,
    task: JoinHandle<Result<kube_lease_manager::LeaseManager, LeaseManagerError>>,
}

impl Leadership {
    /// Takes part in the election under this identity.
    pub async fn campaign(
        client: Client,
        namespace: &str,
        lease: &str,
        identity: &str,
    ) -> Result<Self, LeaseManagerError> {
        let manager = LeaseManagerBuilder::new(client, lease)
            .with_namespace(namespace)
            .with_identity(identity)
            .with_duration(LEASE_SECONDS)
            .with_grace(GRACE_SECONDS)
            .build()
            .await?;
        let (leading, task) = manager.watch().await;
        Ok(Self { leading, task })
    }

    /// Waits until this process leads; `false` where the election broke off.
    pub async fn won(&mut self) -> bool {
        self.leading.wait_for(|leading| *leading).await.is_ok()
    }

    /// Waits until this process leads no more.
    pub async fn lost(&mut self) {
        // A closed channel means that nobody renews the lease.
        let _ = self.leading.wait_for(|leading| !*leading).await;
    }

    /// Gives the lease back, so that another need not wait for its end.
    pub async fn resign(self) {
        drop(self.leading);
        let released = match self.task.await {
            Ok(Ok(manager)) => manager.release().await,
            Ok(Err(error)) => Err(error),
            Err(_) => return,
        };
        if let Err(error) = released {
            warn!(error = error::chain(&error), "lease was not given back");
        }
    }
}
