//! What every stage of a job shares.

use std::{net::IpAddr, sync::Arc, time::Duration};

use cocoon_api::crd::{InferenceJob, Settlement};
use cocoon_core::agents::AgentPod;
use kube::{Api, ResourceExt as _, runtime::reflector::Store};
use tokio::sync::OnceCell;

use super::certificates::Certificates;
use crate::{
    context::Context,
    dispatch::{AgentClient, Dispatcher},
    error::{Error, Result},
};

/// A job that waits is looked at again after this time, whatever events were missed: an agent whose volumes are not set up in
/// time sends none.
pub(super) const WAITING_INTERVAL: Duration = Duration::from_secs(15);

/// What the job controller needs beside the shared context.
pub(super) struct Jobs {
    pub(super) ctx: Arc<Context>,
    pub(super) dispatcher: Arc<Dispatcher>,
    /// Jobs in memory, without their inputs.
    pub(super) store: Store<InferenceJob>,
    pub(super) settlements: Settlements,
    pub(super) certificates: Certificates,
}

impl Jobs {
    /// Jobs of the namespace.
    pub(super) fn api(&self, job: &InferenceJob) -> Api<InferenceJob> {
        Api::namespaced(self.ctx.client.clone(), &job.namespace().unwrap_or_default())
    }

    /// A client of an agent at this address.
    pub(super) fn agent(
        &self,
        provider: &str,
        namespace: &str,
        pod: &AgentPod,
        address: Option<IpAddr>,
    ) -> Result<AgentClient> {
        let missing = || Error::Incomplete {
            object: format!("Pod {namespace}/{}", pod.name),
            field: "status.podIP",
        };
        self.ctx
            .agent_client(provider, namespace, address.ok_or_else(missing)?)
    }
}

/// Settlements in memory, without their messages: every job that waits to be paid looks through them.
pub(super) struct Settlements {
    store: Store<Settlement>,
    /// A store wakes only the last of those that wait for it: one waits, and the others for that one.
    is_ready: OnceCell<bool>,
}

impl Settlements {
    pub(super) fn new(store: Store<Settlement>) -> Self {
        Self {
            store,
            is_ready: OnceCell::new(),
        }
    }

    /// All of the namespace; none before they were read for the first time, which is waited for.
    pub(super) async fn in_namespace(&self, namespace: &str) -> Result<Vec<Arc<Settlement>>> {
        let fill = || async { self.store.wait_until_ready().await.is_ok() };
        if !*self.is_ready.get_or_init(fill).await {
            return Err(Error::Incomplete {
                object: format!("the watch of settlements in {namespace}"),
                field: "watcher, because the operator stops",
            });
        }
        Ok(self
            .store
            .state_filter(|settlement| settlement.metadata.namespace.as_deref() == Some(namespace)))
    }
}
